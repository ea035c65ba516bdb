"""Each way from a table of PostgreSQL to Delta, as a process of its own: `python engines.py ENGINE URL FOLDER JARS`.

The peers do what their documentation shows first: they convert, check, tokenise and compare nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

TABLE = "hues.push_log"


def spark(url: str, folder: Path, jars: str) -> None:
    """`spark.read.jdbc` over one connection, into Delta; prints the CPU seconds of its JVM, which ends later."""
    from urllib.parse import urlsplit

    import psutil
    from pyspark.sql import SparkSession

    parts = urlsplit(url)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.extraClassPath", jars)
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .getOrCreate()
    )
    rows = session.read.jdbc(
        f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}",
        TABLE,
        properties={
            "user": parts.username or "",
            "password": parts.password or "",
            "driver": "org.postgresql.Driver",
            "fetchsize": "50000",
        },
    )
    rows.write.format("delta").save(str(folder / "spark"))
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    print(sum(time.user + time.system for time in times))
    session.stop()


def dlt(url: str, folder: Path, _jars: str) -> None:
    """A bare pipeline with the Arrow backend, into Delta files."""
    import dlt as engine
    from dlt.sources.sql_database import sql_table

    schema, table = TABLE.split(".")
    credentials = url.replace("postgresql://", "postgresql+psycopg2://")
    rows = sql_table(credentials=credentials, schema=schema, table=table, backend="pyarrow", chunk_size=50_000)
    place = engine.destinations.filesystem(bucket_url=(folder / "dlt").as_uri())
    pipeline = engine.pipeline("bench", pipelines_dir=str(folder / "state"), destination=place, dataset_name="bench")
    pipeline.run(rows, table_format="delta", write_disposition="replace")


def connectorx(url: str, folder: Path, _jars: str) -> None:
    """Connectorx into Arrow in memory, delta-rs into Delta."""
    import connectorx as engine
    from deltalake import write_deltalake

    rows = engine.read_sql(url, f"select * from {TABLE}", return_type="arrow")
    write_deltalake(str(folder / "connectorx"), rows)


if __name__ == "__main__":
    {"spark": spark, "dlt": dlt, "connectorx": connectorx}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), sys.argv[4])
