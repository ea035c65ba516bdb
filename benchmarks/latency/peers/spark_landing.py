"""The peer of `lake landing`: Spark Structured Streaming from the raw topics into Delta tables of the same columns.

    python spark_landing.py BOOTSTRAP PREFIX SILVER_ROOT CHECKPOINTS JARS DATASET=FIELDS[:PARTITION] …

FIELDS are columns (`station_id STRING;observed_at TIMESTAMP;…`). Of each dataset the records are parsed and
appended once a second or as soon as the batch before is done, without duplicates within ten minutes; nothing is
corrected, refused or flagged, and no outcome is written: qc_flag is 2, not tested. Prints READY when every query has
written, and runs until it is ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

OPTIONS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The log of a table of a few files is read in one task, not in fifty.
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}
TRIGGER = "1 second"


def main(bootstrap: str, prefix: str, silver: str, checkpoints: str, jars: str, *datasets: str) -> None:
    """Start a query for each dataset."""
    builder = SparkSession.builder.appName("landing-peer").config("spark.jars", jars)
    for name, value in OPTIONS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    queries = []
    for text in datasets:
        dataset, _, rest = text.partition("=")
        fields, _, partition = rest.partition(":")
        schema = fields.replace(";", ", ")
        names = [column.split()[0] for column in fields.split(";")]
        read = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", bootstrap)
            .option("subscribe", f"{prefix}.raw.{dataset}")
            .option("startingOffsets", "earliest")
            .load()
        )
        parsed = read.select(
            f.from_json(f.col("value").cast("string"), f"{schema}, origin STRING, revision INT").alias("r"),
            f.col("timestamp").alias("received_at"),
            f.col("partition").alias("raw_partition"),
            f.col("offset").alias("raw_offset"),
        ).select(
            *(f"r.{name}" for name in names),
            f.lit(2).alias("qc_flag"),
            f.lit(None).cast("string").alias("qc_detail"),
            "r.origin",
            f.coalesce("r.revision", f.lit(0)).alias("revision"),
            "received_at",
            "raw_partition",
            "raw_offset",
            f.to_date("r.observed_at").alias("observed_date"),
        )
        rows = parsed.withWatermark("received_at", "10 minutes").dropDuplicatesWithinWatermark(
            [name for name in names if name in {"detector_id", "lane_no", "station_id", "observed_at"}]
        )
        write = rows.writeStream.format("delta").outputMode("append").trigger(processingTime=TRIGGER)
        if partition:
            write = write.partitionBy(partition)
        path = Path(silver) / dataset
        queries.append(write.option("checkpointLocation", f"{checkpoints}/{dataset}").start(str(path)))
    for query in queries:
        while not (query.recentProgress and query.isActive):
            query.awaitTermination(1)
    print("READY", flush=True)
    spark.streams.awaitAnyTermination()


if __name__ == "__main__":
    main(*sys.argv[1:])
