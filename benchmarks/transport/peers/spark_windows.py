"""The peer in Spark Structured Streaming: parse, drop duplicates within the watermark, windows, keyed Kafka sink.

    spark-submit-free: python spark_windows.py BOOTSTRAP PREFIX CHECKPOINTS JARS all|windows

Reads PREFIX.raw.lane_minute from its beginning to the end that it has at the start (Trigger.AvailableNow), 500,000
records a batch, state in RocksDB. `windows`: one query to PREFIX.agg.lane_flow_1min. `all`: the 5-minute windows, the
rows themselves without duplicates and the refused bytes too, each a query of its own, as Spark has one sink a query.
"""

from __future__ import annotations

import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

SCHEMA = (
    "detector_id STRING, lane_no INT, observed_at TIMESTAMP, vehicle_count INT, mean_speed_kmh DECIMAL(9,3),"
    " occupancy_pct DECIMAL(9,3), travel_time_s DECIMAL(9,3), queue_m DECIMAL(9,3), origin STRING, revision INT,"
    " _corrupt STRING"
)
KEY = ["detector_id", "lane_no", "observed_at"]
BATCH_RECORDS = 500_000
OPTIONS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "3g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.metricsEnabled": "false",
}


def windows(readings: DataFrame, minutes: int) -> DataFrame:
    """One row per lane and window, as transport.sql makes them."""
    speed = f.try_divide(f.sum(f.col("mean_speed_kmh") * f.col("weight")), f.sum("weight"))
    weight = f.when(f.col("mean_speed_kmh").isNotNull(), f.coalesce("vehicle_count", f.lit(1)))
    grouped = readings.withColumn("weight", weight).groupBy(
        f.window("observed_at", f"{minutes} minutes"), "detector_id", "lane_no"
    )
    return grouped.agg(
        f.count("*").alias("reading_count"),
        f.sum("vehicle_count").alias("vehicle_count"),
        speed.cast("decimal(9,3)").alias("mean_speed_kmh"),
        f.avg("occupancy_pct").cast("decimal(9,3)").alias("occupancy_pct"),
        f.avg("travel_time_s").cast("decimal(9,3)").alias("travel_time_s"),
        f.max("queue_m").alias("queue_m"),
        f.min("origin").alias("lowest"),
        f.max("origin").alias("highest"),
        f.max("received_at").alias("received_at"),
    ).select(
        "detector_id",
        "lane_no",
        f.col("window.start").alias("window_start_at"),
        f.col("window.end").alias("window_end_at"),
        "reading_count",
        "vehicle_count",
        "mean_speed_kmh",
        "occupancy_pct",
        "travel_time_s",
        "queue_m",
        f.when(f.col("lowest") == f.col("highest"), f.col("lowest")).otherwise("mixed").alias("origin"),
        "received_at",
    )


def main(bootstrap: str, prefix: str, checkpoints: str, jars: str, outputs: str) -> None:
    """Run the queries to their end."""
    builder = SparkSession.builder.appName("transport-peer").config("spark.jars", jars)
    for name, value in OPTIONS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    raw = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", f"{prefix}.raw.lane_minute")
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", BATCH_RECORDS)
        .load()
    )
    parsed = raw.select(
        f.from_json(
            f.col("value").cast("string"), SCHEMA, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt"}
        ).alias("r"),
        "value",
        f.col("timestamp").alias("received_at"),
    )
    readings = (
        parsed.where("r._corrupt IS NULL AND r.observed_at IS NOT NULL")
        .select("r.*", "received_at")
        .drop("_corrupt")
        .withWatermark("observed_at", "130 seconds")
        .dropDuplicatesWithinWatermark(KEY)
    )
    key = f.concat_ws("|", "detector_id", f.col("lane_no").cast("string"))

    def write(name: str, rows: DataFrame, topic: str) -> None:
        queries.append(
            rows.writeStream.format("kafka")
            .queryName(name)
            .outputMode("append")
            .option("kafka.bootstrap.servers", bootstrap)
            .option("kafka.compression.type", "lz4")
            .option("kafka.linger.ms", "5")
            .option("topic", f"{prefix}.{topic}")
            .option("checkpointLocation", f"{checkpoints}/{name}")
            .trigger(availableNow=True)
            .start()
        )

    queries: list = []
    for minutes in (1,) if outputs == "windows" else (1, 5):
        rows = windows(readings, minutes)
        body = f.to_json(f.struct("*")).alias("value")
        write(f"windows_{minutes}", rows.select(key.alias("key"), body), f"agg.lane_flow_{minutes}min")
    if outputs == "all":
        write("clean", readings.select(key.alias("key"), f.to_json(f.struct("*")).alias("value")), "clean.lane_minute")
        write("refused", parsed.where("r._corrupt IS NOT NULL OR r.observed_at IS NULL").select("value"), "dead_letter")
    for query in queries:
        query.awaitTermination()
    print("DONE", flush=True)
    sys.stdin.readline()  # the parent reads our CPU time before we go


if __name__ == "__main__":
    main(*sys.argv[1:])
