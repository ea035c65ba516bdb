"""Lineage of the stream jobs, read from their SQL: the generated conform part and the files of the domains."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from pipelines.contracts import qc
from pipelines.contracts.model import SCENARIO_JOB, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import flink
from pipelines.publishing.lineage.flows import TOPIC_COLUMNS
from pipelines.publishing.lineage.functions import Functions, load_functions
from pipelines.publishing.lineage.recorder import Recorder
from pipelines.publishing.lineage.sql import Dependency, Relation, Untraceable, parse, select
from pipelines.streaming.job import job_statements

_METADATA = {"_received_at": "received_at", "_partition": "raw_partition", "_offset": "raw_offset"}
"""Column of the generated source table → what it is on the topic."""


def record_streams(recorder: Recorder, registry: Registry) -> None:
    """Record the edges of every job; a statement that cannot be followed leaves edges between tables."""
    functions = load_functions()
    for stream in registry.streams():
        process = f"flink {stream.domain}"
        try:
            _conform(recorder, registry, stream, functions, process)
        except Untraceable as error:
            recorder.untraced(process, f"{stream.id}: {error}", [f"raw.{stream.id}"], f"clean.{stream.id}", process)
    _scenarios(recorder, registry)
    derived = [d for d in registry.datasets if d.derived and d.derived.job != SCENARIO_JOB]
    for job in sorted({dataset.derived.job for dataset in derived if dataset.derived}):
        _domain(recorder, registry, job, [d for d in derived if d.derived and d.derived.job == job], functions)


def _scenarios(recorder: Recorder, registry: Registry) -> None:
    """What the scenarios judge, whether they are on or not; which columns, their rules say, and those are data."""
    known = {dataset.id: dataset for dataset in registry.datasets}
    named = {name for scenario in registry.scenarios for name in scenario.datasets}
    read = sorted(str(known[name].topic) for name in named if name in known)
    for table in registry.derived(SCENARIO_JOB):
        for topic in read:
            recorder.rows(topic, str(table.topic), f"flink {SCENARIO_JOB}")


def _conform(recorder: Recorder, registry: Registry, stream: Dataset, functions: Functions, process: str) -> None:
    known = {f"raw_{stream.id}": _raw(stream)}
    for statement in flink.conform(stream, registry):
        known = _view(statement, known, functions)
    name = f"{stream.id}__conformed"
    limits = tuple(_limits(stream, registry))
    flags = {column: (*known[name].columns[column], *limits) for column in ("qc_flag", "qc_detail")}
    known = {**known, name: Relation({**known[name].columns, **flags}, known[name].rows)}
    _insert(recorder, flink.clean_insert(stream), known, functions, f"clean.{stream.id}", process)


def _limits(stream: Dataset, registry: Registry) -> Iterator[Dependency]:
    """The limits that the generated text took from code lists; it holds their numbers only."""
    for name in qc.limit_lists(stream):
        for column in registry.code_list(name).columns:
            if column.name in qc.LOW_HIGH:
                yield Dependency(f"codelist.{name}", column.name, "condition", ("limits of the quality tests",))


def _raw(stream: Dataset) -> Relation:
    """The generated source table over the raw topic."""
    topic = f"raw.{stream.id}"
    columns: dict[str, tuple[Dependency, ...]] = {
        name: (Dependency(topic, name),) for name in (*(f.name for f in stream.fields), "origin", "revision")
    }
    columns |= {name: (Dependency(topic, known),) for name, known in _METADATA.items()}
    times = (str(stream.event_time), "received_at")
    columns["_rowtime"] = tuple(Dependency(topic, name, "expression", ("event time or arrival",)) for name in times)
    # What the decoder says of bytes that are no record: it reads them all, no column of it.
    columns |= dict.fromkeys(("_raw", "_err"), ())
    assert set(_METADATA.values()) == set(TOPIC_COLUMNS)
    return Relation(columns, (Dependency(topic, "*", "table"),))


def _domain(recorder: Recorder, registry: Registry, job: str, tables: list[Dataset], functions: Functions) -> None:
    process = f"flink {job}"
    known = {f"{stream.id}__conformed": _conformed(recorder, stream) for stream in registry.streams(job)}
    topics = {table.id: table.derived.topic for table in tables if table.derived}
    written: set[str] = set()
    reason = f"sql/{job}.sql writes no such table"
    try:
        for statement in job_statements(job, registry):
            if statement.upper().startswith("INSERT"):
                written.add(_insert(recorder, statement, known, functions, topics, process))
            else:
                known = _view(statement, known, functions)
    except Untraceable as error:
        reason = str(error)
    for table in tables:
        if table.id not in written and table.derived:
            inputs = [registry.dataset(name).topic or f"silver.{name}" for name in table.derived.inputs]
            recorder.untraced(process, f"{table.id}: {reason}", inputs, table.derived.topic, process)


def _conformed(recorder: Recorder, stream: Dataset) -> Relation:
    """The view that a domain's file begins with. The clean topic holds exactly its rows, so it is said to be read."""
    relation = recorder.relation(f"clean.{stream.id}")
    rowtime = Dependency(f"clean.{stream.id}", str(stream.event_time))
    return Relation({**relation.columns, "rowtime": (rowtime,)}, relation.rows)


def _view(statement: str, known: dict[str, Relation], functions: Functions) -> dict[str, Relation]:
    """Follow a CREATE VIEW; returns the relations with the view among them."""
    text, relations = functions.take_out(statement, known)
    created = parse(text)
    if not isinstance(created, exp.Create) or not isinstance(created.expression, exp.Query):
        raise Untraceable(f"neither a view nor an insert: {statement.splitlines()[0]}")
    name = created.this.name if isinstance(created.this, exp.Table) else created.this.this.name
    return {**known, name: select(created.expression, relations)}


def _insert(
    recorder: Recorder,
    statement: str,
    known: dict[str, Relation],
    functions: Functions,
    target: str | dict[str, str],
    process: str,
) -> str:
    """Follow an INSERT and record it; ``target`` is its dataset, or maps the table's name to it. Returns that name."""
    text, relations = functions.take_out(statement, known)
    inserted = parse(text)
    if not isinstance(inserted, exp.Insert) or not isinstance(inserted.this, exp.Schema):
        raise Untraceable(f"an insert without its columns: {statement.splitlines()[0]}")
    name = inserted.this.this.name
    if isinstance(target, dict) and name not in target:
        raise Untraceable(f"{name} is no derived table of this job")
    query = inserted.expression
    columns = [column.name for column in inserted.this.expressions]
    for position, projection in enumerate(query.selects):
        # By position, as INSERT means it: an expression has no name of its own.
        query.selects[position].replace(exp.alias_(projection.unalias().copy(), f"c{position}"))
    relation = select(query, relations)
    # The record key is no column: it repeats some of them.
    names = {column: f"c{position}" for position, column in enumerate(columns) if column != "_key"}
    recorder.select(target[name] if isinstance(target, dict) else target, names, relation, process)
    return str(name)
