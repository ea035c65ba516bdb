"""A dry run: what a scenario would have done, told by the engine's own classes over the history in silver.

DuckDB puts the facts in the order of their arrival; a JVM judges them with the logic that runs in the job. Silver holds
the last version of every row: where a reading was corrected, the job saw its first value as well.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Scenario
from pipelines.contracts.scenario_places import lag
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.errors import LakeError
from pipelines.runtime.java import NEVER_OPTIMISING, java_home_17
from pipelines.runtime.servers.flink import lib_jars
from pipelines.runtime.settings import Settings

_MAIN = "vn.hue.lake.scenario.DryRun"
_HEAP = "-Xmx512m"
# Without its extension for time zones DuckDB shows every instant in UTC, on every machine.
_NO_EXTENSIONS = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_SYSTEM = ("qc_flag", "origin", "raw_partition", "raw_offset")


@dataclass(frozen=True)
class DryRun:
    """``rows``: topic → what the job would have written to it, in order, as JSON objects. ``facts``: by dataset how
    many were judged."""

    rows: Mapping[str, tuple[Mapping[str, Any], ...]]
    facts: Mapping[str, int]

    @property
    def runs(self) -> tuple[Mapping[str, Any], ...]:
        """Every run in its last state, in the order of beginning."""
        last = {row["run_id"]: row for row in self.rows.get("alert.scenario_run", ())}
        return tuple(last.values())


def dry_run(settings: Settings, registry: Registry, scenario: Scenario, begin: datetime, end: datetime) -> DryRun:
    """Judge the facts whose event time lies from ``begin`` up to ``end`` (UTC), as if the scenario had been switched on
    then; the arrival clock goes on to ``end`` at least.

    Raises:
        LakeError: there are no facts to judge, or the engine failed.
    """
    if begin >= end:
        raise LakeError("Khoảng thời gian trống: --from phải trước --to.", "Give --from before --to.")
    with TemporaryDirectory(prefix="scenario-") as folder:
        rule, facts = Path(folder) / "rule.json", Path(folder) / "facts.tsv"
        counts = _write_facts(settings, registry, scenario, begin, end, facts)
        if not any(counts.values()):
            raise LakeError(*_no_facts(settings, registry, scenario, begin, end))
        compiled = compile_rule(scenario, registry)
        record = {
            "enabled": True,
            "rule_hash": compiled.rule_hash,
            "from": dict.fromkeys(scenario.datasets),
            "rule": compiled.rule,
        }
        rule.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
        return DryRun(_judge(settings, rule, facts, end, scenario.id), counts)


def _judge(
    settings: Settings, rule: Path, facts: Path, end: datetime, scenario: str
) -> Mapping[str, tuple[Mapping[str, Any], ...]]:
    command = [
        str(java_home_17() / "bin" / "java"),
        _HEAP,
        *NEVER_OPTIMISING,
        "-cp",
        ":".join(str(jar) for jar in lib_jars(settings)),
        _MAIN,
        str(rule),
        str(facts),
        str(int(end.timestamp() * 1000)),
        scenario,
    ]
    finished = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if finished.returncode != 0:
        raise LakeError(
            f"The dry run failed: {finished.stderr.strip()[-600:]}",
            "Is the streaming module built? `lake install` builds it.",
        )
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for line in finished.stdout.splitlines():
        content = json.loads(line)
        rows.setdefault(content["topic"], []).append(content["value"])
    return {topic: tuple(found) for topic, found in rows.items()}


def _write_facts(
    settings: Settings, registry: Registry, scenario: Scenario, begin: datetime, end: datetime, path: Path
) -> Mapping[str, int]:
    """Write the facts of all datasets in the order of their arrival; returns how many of each."""
    with duckdb.connect(config=_NO_EXTENSIONS) as db:
        selects, counts = [], {}
        for name in scenario.datasets:
            dataset = registry.dataset(name)
            table = _table(settings, dataset)
            if table is None:
                counts[name] = 0
                continue
            db.register(f"silver_{name}", arrow_dataset(table))
            select = _select(scenario, dataset, begin, end)
            counts[name] = db.sql(f"SELECT count(*) FROM ({select})").fetchall()[0][0]
            selects.append(select)
        if any(counts.values()):
            ordered = f"{' UNION ALL '.join(selects)} ORDER BY arrived, topic, place, number"
            columns = "topic, place, number, received, record"
            # Without a quote sign a record is written as it is; JSON holds neither tabs nor line breaks.
            options = "DELIMITER '\t', QUOTE '', ESCAPE '', HEADER false"
            db.execute(f"COPY (SELECT {columns} FROM ({ordered})) TO {literal(str(path))} ({options})")
    return counts


def _table(settings: Settings, dataset: Dataset) -> DeltaTable | None:
    path = str(settings.table_path("silver", dataset.id))
    return DeltaTable(path) if DeltaTable.is_deltatable(path) else None


def _select(scenario: Scenario, dataset: Dataset, begin: datetime, end: datetime) -> str:
    """One dataset's facts as the job reads them: topic, place, arrival clock and the record."""
    schema = arrow_schema(dataset, "silver")
    event = double_quote(str(dataset.event_time))
    fields = []
    for column in schema:
        if column.name in dataset.has or column.name in _SYSTEM:
            value = double_quote(column.name)
            is_instant = str(column.type).startswith("timestamp")
            fields.append(f"{double_quote(column.name)} := {_instant(value) if is_instant else value}")
    place, number = ("raw_partition", "raw_offset") if "raw_offset" in schema.names else ("0", "0")
    lag_ms = int(lag(dataset).total_seconds() * 1000)
    between = f"{event} >= {_timestamp(begin)} AND {event} < {_timestamp(end)}"
    return (
        f"SELECT {literal(str(dataset.topic))} AS topic, {place} AS place, {number} AS number, "
        f"epoch_ms(received_at) AS received, epoch_ms(received_at) + {lag_ms} AS arrived, "
        f"to_json(struct_pack({', '.join(fields)})) AS record "
        f"FROM {double_quote('silver_' + dataset.id)} WHERE {between}"
    )


def _instant(value: str) -> str:
    return f"strftime(make_timestamp(epoch_us({value})), '%Y-%m-%dT%H:%M:%S.%gZ')"


def _timestamp(moment: datetime) -> str:
    return f"TIMESTAMPTZ {literal(moment.isoformat())}"


def _no_facts(
    settings: Settings, registry: Registry, scenario: Scenario, begin: datetime, end: datetime
) -> tuple[str, str]:
    """The sentence and the remedy: which of its datasets has facts of what time."""
    found = []
    for name in scenario.datasets:
        dataset = registry.dataset(name)
        table = _table(settings, dataset)
        if table is None:
            found.append(f"silver.{name} does not exist")
            continue
        event = double_quote(str(dataset.event_time))
        with duckdb.connect(config=_NO_EXTENSIONS) as db:
            db.register("silver", arrow_dataset(table))
            low, high = db.sql(
                f"SELECT {_instant(f'min({event})')}, {_instant(f'max({event})')} FROM silver"
            ).fetchall()[0]
        found.append(f"silver.{name} has {low} … {high}" if low else f"silver.{name} is empty")
    return (
        f"Không có dữ liệu để thử từ {begin.isoformat()} đến {end.isoformat()}: {'; '.join(found)}.",
        "Choose --from and --to within what is there, or another LAKE_NAMESPACE.",
    )
