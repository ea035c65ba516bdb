"""The real servers: they answer as ours, listen on loopback only, come back after a kill and end completely."""

import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines.runtime import kafka, services, spark, status, trino
from pipelines.runtime.airflow import AirflowClient
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.flink import Cluster
from pipelines.runtime.forget import forget_namespace
from pipelines.runtime.ports import is_free, service_folder
from pipelines.runtime.process import service_processes
from pipelines.runtime.settings import Settings

WaitUntil = Callable[..., None]
LIMIT_BYTES = 9 * 2**30


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int
    config: tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def everything(lake_services) -> Settings:
    """The settings of the installation with all services running."""
    lake_services.need()
    return lake_services.settings


def state_of(settings: Settings, name: str) -> status.ServiceStatus:
    return next(found for found in status.service_statuses(settings) if found.name == name)


def test_all_services_are_ready_and_small_enough(everything: Settings) -> None:
    found = status.service_statuses(everything)
    assert {service.name: service.state for service in found if service.state != "ready"} == {}
    assert sum(service.rss_bytes for service in found) < LIMIT_BYTES


def test_a_second_up_changes_nothing(everything: Settings) -> None:
    before = services.running(everything)
    services.up(everything)
    assert services.running(everything) == before


def test_only_loopback_is_listened_on(everything: Settings) -> None:
    checked = 0
    for name in services.running(everything):
        for process in service_processes(service_folder(everything, name)):
            for connection in process.net_connections(kind="inet"):
                if connection.status != psutil.CONN_LISTEN:
                    continue
                address = ipaddress.ip_address(connection.laddr.ip)
                mapped = getattr(address, "ipv4_mapped", None)
                assert (mapped or address).is_loopback, f"{name} listens on {connection.laddr}"
                checked += 1
    assert checked >= 8


def test_topics_are_made_once_and_brought_up_to_date(everything: Settings) -> None:
    drill = everything.with_namespace("rt_topics")
    topic = Topic("raw.x", 2, (("retention.ms", "-1"),))
    assert kafka.ensure_topics(drill, [topic]) == ("rt_topics.raw.x",)
    assert kafka.ensure_topics(drill, [topic]) == ()
    assert kafka.ensure_topics(drill, [Topic("raw.x", 2, (("retention.ms", "60000"),))]) == ()
    with pytest.raises(ServiceError, match=r"rt_topics\.raw\.x has 2 partitions, its contract asks for 3"):
        kafka.ensure_topics(drill, [Topic("raw.x", 3, ())])
    assert kafka.delete_topics(drill) == ("rt_topics.raw.x",)


def test_a_misspelt_topic_fails_instead_of_being_made(everything: Settings) -> None:
    outcomes: list[str] = []

    def delivered(error: object, _message: object) -> None:
        outcomes.append("delivered" if error is None else "refused")

    producer = kafka.producer(everything, {"message.timeout.ms": 3000, "log_level": 0})
    producer.produce("rt.no_such_topic", b"x", on_delivery=delivered)
    producer.flush(15)
    assert outcomes == ["refused"]


def test_spark_writes_delta_and_keeps_its_catalogue_to_the_lake(everything: Settings) -> None:
    drill = everything.with_namespace("rt_spark")
    session = spark.session(drill)
    try:
        location = drill.table_path("gold", "t")
        session.sql("create database if not exists rt_spark_gold")
        session.sql(f"create or replace table rt_spark_gold.t (v int) using delta location '{location}'")
        session.sql("insert into rt_spark_gold.t values (1), (2)")
        assert session.table("rt_spark_gold.t").count() == 2
        assert (location / "_delta_log").is_dir()
        assert (
            session.sql("show tblproperties rt_spark_gold.t ('delta.enableExpiredLogCleanup')").collect()[0][1]
            == "false"
        )
        assert session.conf.get("spark.sql.session.timeZone") == "UTC"
        session.sql("drop database rt_spark_gold cascade")
    finally:
        session.stop()


def test_every_namespace_has_its_catalog_and_people_read_published_only(everything: Settings) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    drill = everything.with_namespace("rt_trino")
    url = services.endpoints(drill).trino
    assert trino.ensure_catalog(drill) == trino.ensure_catalog(drill) == "lake_rt_trino"
    path = drill.table_path("silver", "t")
    write_deltalake(path, pa.table({"v": [1, 2]}))

    def platform(statement: str) -> object:
        return trino.execute_at(url, "platform", statement)

    platform("create schema if not exists lake_rt_trino.silver")
    platform("create schema if not exists lake_rt_trino.published")
    platform("call lake_rt_trino.system.register_table('silver', 't', 'local:///silver/t')")
    platform("create view lake_rt_trino.published.t as select v from lake_rt_trino.silver.t for version as of 0")
    write_deltalake(path, pa.table({"v": [3]}), mode="append")

    def person(statement: str) -> object:
        return trino.execute_at(url, "binh", statement)

    assert person("select count(*) from lake_rt_trino.published.t") == [[2]], "the view pins its version"
    assert platform("select count(*) from lake_rt_trino.silver.t") == [[3]], "a new commit shows at once"
    assert person("show schemas from lake_rt_trino") == [["information_schema"], ["published"]] or person(
        "show schemas from lake_rt_trino"
    ) == [["published"]]
    for forbidden in (
        "select * from lake_rt_trino.silver.t",
        "insert into lake_rt_trino.silver.t values (9)",
        "drop view lake_rt_trino.published.t",
        "create catalog other using memory",
        "call lake_rt_trino.system.unregister_table('silver', 't')",
        "select * from table(lake_rt_trino.system.table_changes('silver', 't', 0))",
        "select * from system.runtime.queries",
    ):
        with pytest.raises(ServiceError, match="Access Denied"):
            person(forbidden)
    platform('drop catalog "lake_rt_trino"')


def test_a_forgotten_namespace_leaves_nothing(everything: Settings) -> None:
    drill = everything.with_namespace("rt_forget")
    kafka.ensure_topics(drill, [Topic("raw.x", 1, ())])
    trino.ensure_catalog(drill)
    services.start_daemon(drill, "landing", [sys.executable, "-c", "import time\nwhile True: time.sleep(0.2)"])
    # What would make a namespace of the same name go on where this one was: a job's record, a table's cursor.
    remembered = [
        drill.state / path for path in ("jobs/rt_forget/flood.json", "dlt/rt_forget/s", "landing/rt_forget.json")
    ]
    neighbour = drill.state / "jobs" / "rt_forget_not" / "flood.json"
    for path in (*remembered, neighbour):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    session = spark.session(drill)
    try:
        session.sql("create database rt_forget_gold")
        location = drill.table_path("gold", "t")
        session.sql(f"create table rt_forget_gold.t using delta location '{location}' as select 1 as v")
        forget_namespace(drill)
        assert [row[0] for row in session.sql("show databases like 'rt_forget*'").collect()] == []
    finally:
        session.stop()
    url = services.endpoints(drill).trino
    assert ["lake_rt_forget"] not in trino.execute_at(url, "platform", "show catalogs")
    assert "rt_forget.raw.x" not in kafka.admin(drill).list_topics(timeout=10).topics
    assert "rt_forget.landing" not in services.running(drill)
    assert not (drill.lake_root / "rt_forget").exists()
    assert list((drill.state / "services").glob("rt_forget.*")) == []
    assert [path for path in remembered if path.exists()] == [] and neighbour.exists()


def test_airflow_gives_a_token_and_reads_the_dags_without_errors(everything: Settings) -> None:
    with AirflowClient(services.endpoints(everything).airflow) as client:
        assert client.import_errors() == []


def test_postgres_has_both_databases(everything: Settings) -> None:
    import psycopg2

    for database in ("airflow", "sector"):
        connection = psycopg2.connect(services.endpoints(everything).postgres_dsn(database))
        try:
            with connection.cursor() as cursor:
                cursor.execute("select current_database(), current_setting('timezone')")
                assert cursor.fetchone() == (database, "UTC")
        finally:
            connection.close()


@pytest.mark.parametrize("name", ["flink-taskmanager", "flink-jobmanager", "kafka", "airflow-scheduler", "postgres"])
def test_a_killed_server_comes_back_by_itself(everything: Settings, name: str, wait_until: WaitUntil) -> None:
    before = services.running(everything)[name]
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: services.running(everything).get(name, before).pid != before.pid, 30, f"a new process of {name}")
    wait_until(lambda: state_of(everything, name).state == "ready", 120, f"{name} ready again")
    again = services.running(everything)[name]
    # PostgreSQL refuses while the dead one's entry is in the process table, and is begun once more.
    assert again.restarts > before.restarts
    assert again.ports == before.ports
    log = (service_folder(everything, "supervisor") / "log").read_text(encoding="utf-8")
    assert f"restarted service={name} " in log


def test_after_the_kills_the_cluster_is_whole(everything: Settings, wait_until: WaitUntil) -> None:
    wait_until(lambda: state_of(everything, "flink-taskmanager").state == "ready", 120, "the slots of the TaskManager")
    with Cluster(services.endpoints(everything).flink_rest) as cluster:
        assert cluster.jobs() == ()


def test_down_ends_what_a_killed_up_had_begun(lake_services, tmp_path: Path, wait_until: WaitUntil) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path / "state"), "LAKE_DIST": str(lake_services.settings.dist)})
    command = [sys.executable, "-m", "pipelines.runtime", "up", "--only", "kafka,postgres"]
    process = subprocess.Popen(command, env={**os.environ, **settings.environment()}, stdout=subprocess.DEVNULL)
    wait_until(lambda: {"kafka", "postgres", "supervisor"} <= set(services.running(settings)), 60, "the servers' begin")
    process.kill()
    process.wait()
    found = services.running(settings)
    outcome = services.down(settings)
    assert {name for name, what in outcome.items() if what != "was not running"} >= {"kafka", "postgres", "supervisor"}
    assert services.running(settings) == {}
    for record in found.values():
        assert not psutil.pid_exists(record.pid) or record.process() is None
        assert all(is_free(port) for port in record.ports.values())
    assert "kafka" in services.running(lake_services.settings), "another installation's servers are left alone"
