"""The servers of an installation, in the order in which people name them."""

from pipelines.runtime.servers.airflow import AIRFLOW
from pipelines.runtime.servers.connect import CONNECT
from pipelines.runtime.servers.flink import FLINK
from pipelines.runtime.servers.kafka import KAFKA
from pipelines.runtime.servers.postgres import POSTGRES
from pipelines.runtime.servers.spark import SPARK
from pipelines.runtime.servers.trino import TRINO
from pipelines.runtime.service import ServiceSpec

SPECS: tuple[ServiceSpec, ...] = (KAFKA, *FLINK, SPARK, TRINO, POSTGRES, *AIRFLOW, CONNECT)
