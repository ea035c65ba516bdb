"""Loads of sector tables: a whole table beside three peers, what a night of few changes costs, and many small tables.

    lake up --only postgres
    python benchmarks/ingestion/run.py --postgres URL [--what full,incremental,small] [--connectorx FOLDER]

`full`: 2 million rows of 9 columns from PostgreSQL into Delta, ours with contract, checks, bronze and silver, the peers
copying. `incremental`: nothing new, 2,000 changed rows and 1 %, at 200,000 and at 20 million rows. `small`: 100 tables
of 1,000 rows, in one process. CPU seconds are those of the loading process and its children; PostgreSQL's stand beside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry, load_registry
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.load import ingest
from pipelines.runtime.install import cache_dir
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TABLE = "hues.push_log"
COLUMNS = """
    push_id text primary key, pushed_at timestamptz, contact_channel text, message_kind text, agency_id text,
    recipient_count integer, delivered_count integer, read_count integer, updated_at timestamptz
"""
ROWS = """
    select 'ZOA-' || lpad(n::text, 9, '0'), timestamptz '2024-01-01 00:00:00+07' + n * interval '3 s', 'zalo_oa',
        (array['task', 'meeting', 'news', 'report', 'warning'])[1 + n % 5], 'H57.VP', 100 + n % 50, 90 + n % 10, n % 90,
        timestamptz '2024-01-01 00:30:00+07' + n * interval '3 s'
    from generate_series({first}, {last}) n
"""


def contract(registry: Registry) -> Registry:
    """The contract of the pushes with room for 20 million numbers, in one partition as the peers write it."""
    dataset = registry.dataset("push_log")
    rules = tuple(
        rule.model_copy(update={"pattern": "ZOA-[0-9]{9}"}) if rule.rule == "pattern" else rule
        for rule in dataset.quality
    )
    changed = dataset.model_copy(update={"quality": rules, "partition": None})
    return replace(registry, datasets=tuple(changed if one is dataset else one for one in registry.datasets))


class Source:
    """The table in a database of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def run(self, *statements: str) -> None:
        """Execute statements in one transaction."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def fill(self, rows: int) -> None:
        """The table with so many rows, and an index on its cursor."""
        self.run("drop schema if exists hues cascade", "create schema hues", f"create table {TABLE} ({COLUMNS})")
        for first in range(1, rows + 1, 1_000_000):
            self.run(f"insert into {TABLE} {ROWS.format(first=first, last=min(rows, first + 999_999))}")
        self.run(f"create index on {TABLE} (updated_at)", f"analyze {TABLE}")


def server_cpu_s(url: str) -> float:
    """CPU seconds of PostgreSQL's sessions that have ended."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        row = cursor.fetchone()
        assert row is not None
        times = psutil.Process(psutil.Process(row[0]).ppid()).cpu_times()
    connection.close()
    return float(times.children_user + times.children_system)


@contextmanager
def measured(url: str, into: dict[str, Any], who: int) -> Iterator[None]:
    """Adds wall and CPU seconds of what runs inside: `who` is RUSAGE_SELF or RUSAGE_CHILDREN."""
    before, server, began = resource.getrusage(who), server_cpu_s(url), time.monotonic()
    yield
    after = resource.getrusage(who)
    into["wall_s"] = round(time.monotonic() - began, 2)
    into["cpu_s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    into["server_cpu_s"] = round(server_cpu_s(url) - server, 2)


def ours(url: str, folder: Path, run: str, rows: int | None = None) -> dict[str, Any]:
    """One load by a process of its own, as Airflow starts it."""
    command = [sys.executable, str(Path(__file__)), "--postgres", url, "--load", run, "--folder", str(folder)]
    found: dict[str, Any] = {}
    with measured(url, found, resource.RUSAGE_CHILDREN):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found |= json.loads(done.stdout.splitlines()[-1])
    if rows is not None:
        found["rows_per_cpu_s"] = round(rows / found["cpu_s"])
    return found


def load(url: str, folder: Path, run: str) -> None:
    """The load itself; prints what it counted and its peak memory."""
    settings = _settings(folder)
    os.environ[variable_of("sector_hues")] = url
    done = ingest(settings, contract(load_registry(HOME / "schemas").only(None)), "push_log", run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    phases = {name: getattr(done, name) for name in ("extract_s", "judge_s", "bronze_s", "silver_s")}
    counted = {name: getattr(done, name) for name in ("rows_extracted", "inserted", "updated", "unchanged")}
    print(json.dumps({**counted, **phases, "peak_rss_mib": peak}))


def _settings(folder: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(folder / "state"), "LAKE_NAMESPACE": "bench"})


def full(source: Source, rows: int, connectorx: str | None) -> dict[str, Any]:
    """A whole table, each way in a process of its own; the counts of all are compared."""
    source.fill(rows)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["ours"] = ours(source.url, folder, "full", rows)
        assert found["ours"]["inserted"] == rows, found["ours"]
        for engine in ("spark", "dlt", *(["connectorx"] if connectorx else [])):
            found[engine] = _peer(engine, source.url, folder, connectorx)
            table = next(path.parent for path in folder.glob(f"{engine}/**/_delta_log"))
            assert DeltaTable(str(table)).count() == rows
            found[engine]["rows_per_cpu_s"] = round(rows / found[engine]["cpu_s"])
            shutil.rmtree(folder / engine)
    for engine in found.keys() - {"ours"}:
        found[engine]["ours_is_times"] = {
            name: round(found[engine][name] / found["ours"][name], 2) for name in ("wall_s", "cpu_s")
        }
    return found


def _peer(engine: str, url: str, folder: Path, connectorx: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    path = os.pathsep.join([str(HOME), *([connectorx] if connectorx else [])])
    environment = {**os.environ, "PYTHONPATH": path, "RUNTIME__DLTHUB_TELEMETRY": "false"}
    command = [sys.executable, str(HERE / "engines.py"), engine, url, str(folder), _jars() if engine == "spark" else ""]
    with measured(url, found, resource.RUSAGE_CHILDREN):
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    if engine == "spark":
        found["cpu_s"] = round(found["cpu_s"] + float(done.stdout.split()[-1]), 2)
    return found


def _jars() -> str:
    folder = cache_dir() / "benchmarks" / "jdbc"
    if not list(folder.glob("*.jar")):
        pom = str(HERE / "jars-pom.xml")
        subprocess.run(["mvn", "-B", "-q", "-f", pom, "package", f"-Djars={folder}"], check=True)
    delta = Settings.load().dist / "jars" / "spark"
    return os.pathsep.join(str(path) for path in (*folder.glob("*.jar"), *delta.glob("*.jar")))


def incremental(source: Source, rows: int) -> dict[str, Any]:
    """A load with nothing new, one of the newest 2,000 rows changed, of 2,000 anywhere, and of 1 % anywhere."""
    source.fill(rows)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["first"] = ours(source.url, folder, "first", rows)
        found["nothing new"] = ours(source.url, folder, "nothing")
        changes = {
            "2,000 newest": f"push_id > 'ZOA-{rows - 2_000:09}'",
            "2,000 anywhere": f"substr(push_id, 5)::integer % {rows // 2_000} = 7",
            "1 % anywhere": "substr(push_id, 5)::integer % 100 = 13",
        }
        for title, where in changes.items():
            source.run(
                f"update {TABLE} set read_count = read_count + 1, recipient_count = recipient_count + 1, "
                f"delivered_count = delivered_count + 1, updated_at = (select max(updated_at) from {TABLE}) "
                f"+ interval '1 day' where {where}"
            )
            found[title] = ours(source.url, folder, title.replace(" ", "_"))
    return found


def small(source: Source, tables: int, rows: int) -> dict[str, Any]:
    """Many small tables of as many contracts, whole, by one process; then the same with nothing new."""
    registry = contract(load_registry(HOME / "schemas"))
    source.run("drop schema if exists hues cascade", "create schema hues")
    datasets: list[Dataset] = []
    for number in range(tables):
        name = f"push_log_{number:03}"
        filled = ROWS.format(first=1, last=rows)
        source.run(f"create table hues.{name} ({COLUMNS})", f"insert into hues.{name} {filled}")
        dataset = registry.dataset("push_log")
        assert dataset.sector is not None
        sector = dataset.sector.model_copy(update={"table": name})
        datasets.append(dataset.model_copy(update={"id": name, "sector": sector}))
    wider = replace(registry, datasets=(*registry.datasets, *datasets))
    os.environ[variable_of("sector_hues")] = source.url
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        settings = _settings(Path(name))
        for title in ("first", "nothing new"):
            found[title] = {}
            with measured(source.url, found[title], resource.RUSAGE_SELF):
                for dataset in datasets:
                    ingest(settings, wider, dataset.id, title.replace(" ", "_"))
    return found


def main() -> None:
    """Run what was asked and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", required=True, help="URL of a server whose database `bench` may be made")
    parser.add_argument("--what", default="full,incremental,small")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--sizes", default="200000,20000000")
    parser.add_argument("--connectorx", help="the folder in which peers/connectorx.txt is installed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        load(args.postgres, args.folder, args.load)
        return
    base, _, _ = args.postgres.rpartition("/")
    admin = psycopg2.connect(args.postgres)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("drop database if exists bench")
        cursor.execute("create database bench")
    source = Source(f"{base}/bench")
    runs: dict[str, Callable[[], Any]] = {
        "full": lambda: full(source, args.rows, args.connectorx),
        "incremental": lambda: {size: incremental(source, int(size)) for size in args.sizes.split(",")},
        "small": lambda: small(source, 100, 1_000),
    }
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "rows": args.rows,
    }
    if args.out and args.out.exists():
        result = {**json.loads(args.out.read_text(encoding="utf-8")), **result}
    for what in args.what.split(","):
        result[what] = runs[what]()
        text = json.dumps(result, indent=1, ensure_ascii=False)
        if args.out:
            args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    with admin.cursor() as cursor:
        cursor.execute("drop database if exists bench")


if __name__ == "__main__":
    main()
