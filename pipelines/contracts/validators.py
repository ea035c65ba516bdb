"""Validators: small registered generators that yield findings with file and line.

Each looks at one dataset inside its registry. A rule's docstring is its message to the person who broke it; an
exception inside a validator is a finding too, so that one broken rule hides no other. Those of the quality tests stand
in :mod:`pipelines.contracts.qc_validators`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

from pipelines.contracts import durations, format_rules, qc_validators  # noqa: F401 - the latter registers its validators
from pipelines.contracts.collectors import check_collectors
from pipelines.contracts.errors import ContractError, ContractErrors, Finding, Location
from pipelines.contracts.findings import VALIDATORS, field_pointer, validator
from pipelines.contracts.model import (
    CLASSIFICATIONS,
    WHOLE_NUMBERS,
    After,
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    FieldDefinition,
    Pattern,
    Product,
    RequiredTogether,
    Rule,
    Sector,
    Share,
    Total,
    Unique,
    next_major,
)
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario_checks import check_scenarios
from pipelines.contracts.schedules import CRON_HINT, longest_pause, times_of_day
from pipelines.contracts.sources import CAPTURED, DATABASES, INBOXES, SERVICES, SectorSource, check_sources
from pipelines.contracts.targets.delta import arrow_schema, clean_schema
from pipelines.contracts.targets.flink import ROWTIME
from pipelines.contracts.targets.trino import LABEL_COLUMN, granted_columns, is_live
from pipelines.contracts.words import is_unwritten

UNIT_SUFFIXES: dict[str, str] = {
    "m": "_m",
    "mm": "_mm",
    "km/h": "_kmh",
    "m/h": "_mh",
    "%": "_pct",
    "s": "_s",
    "h": "_h",
    "m³/s": "_m3s",
    "km²": "_km2",
    "° (WGS84)": "_deg",
    "đồng (VND)": "_vnd",
    "cm": "_cm",
    "km": "_km",
    "m²": "_m2",
    "ha": "_ha",
    "ms": "_ms",
    "min": "_min",
    "°C": "_c",
    "µg/m³": "_ugm3",
    "mg/L": "_mgl",
    "dB": "_db",
    "V": "_v",
    "A": "_a",
    "kW": "_kw",
    "kWh": "_kwh",
    "Mbit/s": "_mbps",
    "GB": "_gb",
    "TB": "_tb",
    "PB": "_pb",
    "px": "_px",
    "veh/h": "_vehh",
    "PCU/h": "_pcuh",
    "MCU/h": "_mcuh",
    "veh/km": "_vehkm",
}
"""Units that a field's name must end with; other units (vehicles, points, ratios) are said by the noun itself."""

PERSONAL_DAYS = 7
"""A personal stream's topic and its copy in bronze keep rows no longer, so that an erasure has an end."""

CURSOR_TYPES = ("timestamp", "date", *WHOLE_NUMBERS)
"""The types of which the newest value can be remembered and asked for."""

TELLING_TYPES = ("boolean", "timestamp", "date")
"""The types of which a value says that a row is deleted: TRUE, or when it was."""

UNCHECKABLE = frozenset({"exists", "interval", "not", "null", "struct", "trim"})
"""Delta's Rust engine writes the check of a key without quotes, and reads these as SQL; found by trying every word."""

INSTANT_SUFFIXES: dict[str, tuple[str, ...]] = {"timestamp": ("_at",), "date": ("_date", "valid_from", "valid_to")}


@validator
def key_is_made_of_required_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every key field is a field of the dataset and is required."""
    for name in dataset.key:
        if name not in dataset.has:
            yield Finding(f"key field {name!r} is not among its fields", ("key",), "list it under `fields`")
        elif not dataset.field(name).required:
            hint = f"write `- {name}: {{required: true}}`"
            yield Finding(f"key field {name!r} is not required", field_pointer(dataset, name), hint)


@validator
def event_time_is_a_required_timestamp(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The event time is a required timestamp of the dataset."""
    timed = dataset.stream or dataset.derived
    if timed is None:
        return
    pointer = ("stream" if dataset.stream else "derived", "event_time")
    if timed.event_time not in dataset.has:
        yield Finding(f"event time {timed.event_time!r} is not among its fields", pointer)
        return
    item = dataset.field(timed.event_time)
    if item.type.name != "timestamp" or not item.required:
        yield Finding(f"event time {item.name!r} must be a required timestamp", pointer)


@validator
def partition_follows_from_the_event_time(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A `<event>_date` partition is the UTC day of the timestamp field `<event>_at`: of a live table the event time."""
    if dataset.partition is None or dataset.partition in dataset.has:
        return
    source = dataset.partition_source or ""
    timed = dataset.stream or dataset.derived
    if not dataset.partition.endswith("_date") or source not in dataset.has:
        hint = "name it <event>_date after a timestamp field <event>_at, or name a field of the dataset"
        yield Finding(f"partition {dataset.partition!r} is derived from no field", ("partition",), hint)
    elif dataset.field(source).type.name != "timestamp" or not dataset.field(source).required:
        yield Finding(f"partition {dataset.partition!r} needs {source!r} to be a required timestamp", ("partition",))
    elif timed and source != timed.event_time:
        day = f"{timed.event_time.removesuffix('_at')}_date"
        message = f"partition {dataset.partition!r} is not the day of the event time {timed.event_time!r}"
        yield Finding(message, ("partition",), f"write `partition: {day}`")


@validator
def column_names_are_free(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """No field has the name of another field or of a column that the platform adds, in any layer, topic or view."""
    layers = () if dataset.mart else ("silver",) if dataset.derived else ("bronze", "silver")
    names = [arrow_schema(dataset, layer).names for layer in layers] or [[f.name for f in dataset.fields]]
    if dataset.stream:
        names.append([*clean_schema(dataset).names, ROWTIME])
    if is_live(dataset):
        names.append([*granted_columns(dataset), LABEL_COLUMN])
    for name in sorted({name for columns in names for name in columns if columns.count(name) > 1}):
        hint = "give the field another name; those of system columns are in contracts/system.py"
        yield Finding(
            f"column {name!r} would stand twice in its tables, topics or views", field_pointer(dataset, name), hint
        )


@validator
def classification_covers_its_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset is classified at least as high as its highest field."""
    for item in dataset.fields:
        if CLASSIFICATIONS.index(item.classification) > CLASSIFICATIONS.index(dataset.classification):
            message = f"is {dataset.classification}, but its field {item.name!r} is {item.classification}"
            yield Finding(message, ("classification",), f"write `classification: {item.classification}`")


@validator
def classification_covers_its_code_lists(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A field is classified at least as high as the codes that it may hold."""
    lists = {code_list.id: code_list for code_list in registry.code_lists}
    for item in dataset.fields:
        if item.code_list not in lists:
            continue
        code_list = lists[item.code_list]
        level = next((c.classification for c in code_list.columns if c.name == code_list.key), item.classification)
        if CLASSIFICATIONS.index(item.classification) < CLASSIFICATIONS.index(level):
            message = f"field {item.name!r} is {item.classification}, the codes of {code_list.id!r} are {level}"
            hint = f"write `classification: {level}` at {item.name} in schemas/fields.yaml"
            yield Finding(message, field_pointer(dataset, item.name), hint)


_WRITE = "say it for those who know neither the source nor the table"


@validator
def texts_are_written(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Title, purpose and grain are a person's words, not what a draft leaves to be written."""
    said = dataset.description
    texts: list[tuple[tuple[str | int, ...], str | None]] = [
        (("grain",), dataset.grain),
        (("description", "usage"), said.usage),
        (("description", "limitations"), said.limitations),
    ]
    for pointer, both in (
        (("title",), dataset.title),
        (("description", "purpose"), said.purpose),
        (("personal_purpose",), dataset.personal_purpose),
    ):
        texts += [((*pointer, "vi"), both.vi), ((*pointer, "en"), both.en)] if both else []
    for place, text in texts:
        if text is not None and is_unwritten(text):
            yield Finding(f"{'.'.join(map(str, place))} is still to be written: {text!r}", place, _WRITE)


@validator
def protected_bronze_is_short(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Bronze of a protected stream ends with its topic; that of a protected table never outlives silver."""
    kept, pointer = dataset.retention.bronze, ("retention", "bronze")
    if not dataset.is_protected:
        return
    if dataset.stream and kept > timedelta(days=PERSONAL_DAYS):
        message = f"keeps personal payloads in bronze for {kept.days} days, their topic for {PERSONAL_DAYS}"
        yield Finding(message, pointer, f"write at most `bronze: {PERSONAL_DAYS} d`")
    elif dataset.sector and kept > dataset.retention.silver:
        yield Finding("keeps personal rows longer in bronze than in silver", pointer, "silver is the longest")


@validator
def shorter_retention_is_listed(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """`retention.by` names a text field, a code list and its column of days; no code is kept longer than silver."""
    by, pointer = dataset.retention.by, ("retention", "by")
    if by is None:
        return
    if not (dataset.stream or dataset.derived):
        # A mart is built anew from its inputs, a source that still holds the row gives it again the next night.
        yield Finding("`retention.by` is for live tables: from a source or a mart the rows come back", pointer)
    if by.field not in dataset.has or dataset.field(by.field).type.name != "string":
        yield Finding(f"`retention.by` needs a text field, {by.field!r} is none", (*pointer, "field"))
    found = next((item for item in registry.code_lists if item.id == by.code_list), None)
    column = next((item for item in found.columns if item.name == by.days), None) if found else None
    if found is None or column is None or column.type.name != "integer":
        yield Finding(f"{by.code_list}.{by.days} is no column of whole days in a code list", pointer)
        return
    for row in found.rows:
        days = row[by.days]
        if days is None or not 0 < days <= dataset.retention.silver.days:
            message = f"{by.code_list} keeps {row[found.key]} for {days} days, silver {dataset.retention.silver.days}"
            yield Finding(message, pointer)


@validator
def personal_data_has_purpose_and_basis(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset with a personal or sensitive field names its purpose and its legal basis."""
    if dataset.is_protected and dataset.personal_purpose is None:
        yield Finding("holds personal data without `personal_purpose`", ("classification",))
    if dataset.is_protected and not dataset.legal_basis:
        yield Finding("holds personal data without `legal_basis`", ("classification",))


@validator
def systems_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every system id is listed in `schemas/systems.yaml`."""
    known = {system.id for system in registry.systems}
    for index, number in enumerate(dataset.systems):
        if number not in known:
            yield Finding(f"system {number} is not in schemas/systems.yaml", ("systems", index))


@validator
def legal_bases_are_listed(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every legal basis is a code of the list `legal_bases`, and no layer keeps rows longer than one of them allows."""
    rows = {row["code"]: row for row in registry.code_list("legal_bases").rows}
    for index, code in enumerate(dataset.legal_basis):
        if code not in rows:
            hint = f"allowed: {', '.join(rows)}"
            yield Finding(f"legal basis {code!r} is not listed", ("legal_basis", index), hint)
            continue
        longest = rows[code]["max_retention_d"]
        for layer in ("bronze", "silver") if longest is not None else ():
            kept = getattr(dataset.retention, layer).days
            if kept > longest:
                message = f"keeps {layer} for {kept} days, {code} allows {longest}"
                yield Finding(message, ("retention", layer))


@validator
def references_lead_to_keys(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A referenced field belongs to the key of another dataset and has the same type."""
    known = {d.id: d for d in registry.datasets}
    for item in dataset.fields:
        if item.references is None:
            continue
        pointer = field_pointer(dataset, item.name)
        target = known.get(item.references.dataset)
        if target is None or item.references.field not in target.key:
            yield Finding(f"field {item.name!r} references {item.references}, which is no key", pointer)
        elif target.field(item.references.field).type != item.type:
            yield Finding(f"field {item.name!r} is not of the type of {item.references}", pointer)


@validator
def tokens_that_rotate_join_nothing(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A token with `joins: false` changes with the key: it is no key, no reference, and no two years are told by it."""
    unique = {name for rule in dataset.quality if isinstance(rule, Unique) for name in rule.fields}
    for item in dataset.fields:
        if item.tokenise is None or item.tokenise.joins:
            continue
        if item.name in unique | {*dataset.key} or item.references is not None:
            message = f"field {item.name!r} joins rows, but its tokens change when the key is rotated"
            hint = f"leave `joins: false` out at {item.name} in schemas/fields.yaml, or join by another field"
            yield Finding(message, field_pointer(dataset, item.name), hint)


@validator
def samples_name_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A sample draws values of fields that the source has, and its conditions name fields of the dataset."""
    for name, value in (dataset.sample.fields if dataset.sample else {}).items():
        pointer = ("sample", "fields", name)
        if name not in dataset.has:
            yield Finding(f"sample names the absent field {name!r}", pointer)
        others = [*value.only_when, *([value.field] if isinstance(value, After | Product) else [])]
        for other in others:
            if other not in dataset.has:
                yield Finding(f"the sample of {name!r} names the absent field {other!r}", pointer)


@validator
def code_lists_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every code column names a code list that is loaded."""
    known = {code_list.id for code_list in registry.code_lists}
    for item in dataset.fields:
        if item.code_list is not None and item.code_list not in known:
            hint = f"there are: {', '.join(sorted(known))}"
            yield Finding(
                f"field {item.name!r} names code list {item.code_list!r}, which does not exist",
                field_pointer(dataset, item.name),
                hint,
            )


@validator
def owner_is_an_agency(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The owner is a code of the list `agencies`."""
    codes = registry.code_list("agencies").codes
    if dataset.owner not in codes:
        yield Finding(f"owner {dataset.owner!r} is not an agency", ("owner",), f"allowed: {', '.join(codes)}")


def rule_fields(rule: Rule) -> tuple[str, ...]:
    """The fields that a quality rule speaks of; none for a rule of the whole table."""
    match rule:
        case Comparison():
            return (rule.left, rule.right)
        case RequiredTogether():
            return (rule.field, rule.when)
        case Completeness() | Pattern() | Share():
            return (rule.field,)
        case Unique():
            return rule.fields
        case Total():
            return (rule.field, *rule.by)
        case _:
            return ()


@validator
def rules_name_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A quality rule speaks of fields that the dataset has."""
    for index, rule in enumerate(dataset.quality):
        for name in rule_fields(rule):
            if name not in dataset.has:
                yield Finding(f"rule {rule.rule} names the absent field {name!r}", ("quality", index))


@validator
def times_agree(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Cadence ≤ freshness; dedupe and watermark ≤ rebuild; personal topics keep at most 7 days."""
    stream = dataset.stream
    if stream is None:
        return
    if dataset.sla.freshness < stream.cadence:
        yield Finding("promises to be fresher than its cadence", ("sla", "freshness"))
    for name, value in (("dedupe", stream.dedupe), ("watermark", stream.watermark)):
        if value > stream.rebuild:
            yield Finding(
                f"{name} looks further back than rebuild", ("stream", name), "the raw topic would not hold it"
            )
    if dataset.is_protected and stream.rebuild > timedelta(days=PERSONAL_DAYS):
        message = f"rebuild looks further back than a personal stream's topic, which keeps {PERSONAL_DAYS} days"
        yield Finding(message, ("stream", "rebuild"), f"write at most `rebuild: {PERSONAL_DAYS} d`")


@validator
def source_is_of_the_owner(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A sector table is read from a database of the agency that owns it."""
    if dataset.sector is None:
        return
    source, pointer = registry.source_of(dataset), ("sector", "source")
    if source.agency != dataset.owner:
        own = ", ".join(s.id for s in registry.sector_sources if s.agency == dataset.owner) or "none"
        message = f"is owned by {dataset.owner}, but its source {source.id!r} is of {source.agency}"
        yield Finding(message, pointer, f"sources of {dataset.owner}: {own}")
    said, kinds = "names a table", DATABASES
    if dataset.sector.file is not None:
        said, kinds = "is written in files", INBOXES
    elif dataset.sector.request is not None:
        said, kinds = "is asked of a service", SERVICES
    if source.kind not in kinds:
        message = f"{said}, but its source {source.id!r} is of the kind {source.kind}"
        hint = f"kinds for that: {', '.join(kinds)}; files are said in `file`, services in `request`"
        yield Finding(message, pointer, hint)


@validator
def files_are_told_apart(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Headings and keys mean columns that are read, and no other dataset of a source has files of the same name."""
    if dataset.sector is None:
        return
    read = {item.source_name for item in dataset.fields}
    for part, said in (("file", dataset.sector.file), ("request", dataset.sector.request)):
        for heading, column in said.columns.items() if said else ():
            if column not in read:
                message = f"{heading!r} means {column}, which is none of its columns"
                yield Finding(message, ("sector", part, "columns", heading), f"its columns: {', '.join(sorted(read))}")
    if dataset.sector.file is None:
        return
    for other in registry.sector_tables():
        same = other.sector is not None and other.sector.source == dataset.sector.source and other.sector.file
        if other.id != dataset.id and same and same.name == dataset.sector.file.name:
            message = f"files called {same.name} are those of {other.id} already"
            yield Finding(message, ("sector", "file", "name"), "give the files of each dataset a name of their own")


@validator
def cursor_can_be_remembered(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A cursor is a timestamp, a date or a whole number among the fields; only one that is a time has a lag."""
    if dataset.sector is None or dataset.sector.cursor is None:
        return
    name, pointer = dataset.sector.cursor, ("sector", "cursor")
    if name not in dataset.has:
        yield Finding(f"cursor {name!r} is not among its fields", pointer, "list it under `fields`")
        return
    kind = dataset.field(name).type
    if kind.name not in CURSOR_TYPES:
        hint = f"allowed: {', '.join(CURSOR_TYPES)}; without such a field write `mode: snapshot`"
        yield Finding(f"cursor {name!r} is a {kind}, which cannot say what is newer", pointer, hint)
    elif dataset.cursor_counts and dataset.sector.lag:
        hint = "leave `lag` out: each read begins with the newest number of the one before"
        yield Finding(f"cursor {name!r} is a number, from which no lag of time can be taken", ("sector", "lag"), hint)


@validator
def whole_reads_keep_to_the_window(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A table that is read as a whole is read in the window of its source; one with a cursor burdens nobody."""
    if dataset.sector is None or dataset.sector.mode != "snapshot":
        return
    source, schedule = registry.source_of(dataset), dataset.sector.schedule
    try:
        outside = source.window.outside(schedule) if source.window else None
    except ValueError:
        return
    if outside:
        message = f"is read as a whole at {outside:%H:%M} ({schedule}), outside of the window {source.window}"
        hint = f"read it in the window of schemas/sources/{source.id}.yaml, or by a cursor; times are those of Huế"
        yield Finding(message, ("sector", "schedule"), hint)


@validator
def deletes_can_be_told(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A field that says that a row is deleted is a truth value, a time or a day, and not always known; keys that are
    compared apart from the rows are read in the window of their source."""
    sector = dataset.sector
    if sector is None:
        return
    pointer, every = ("sector", "deletes"), ("sector", "deletes_every")
    if sector.deletes_every is not None and (sector.cursor is None or not sector.compares_keys):
        hint = "leave it out, or write `deletes: keys` with `mode: cursor`"
        yield Finding("`deletes_every` is for keys that are read apart from the rows", every, hint)
    if sector.deletes is None:
        return
    name = sector.deletes.column
    if name is None and sector.mode == "changes":
        hint = "write `deletes: {column: <field>}`, or have whole tables delivered (`mode: snapshot`)"
        yield Finding("files of changes do not say which keys there are", pointer, hint)
    elif name is None:
        yield from _keys_are_read(sector, registry.source_of(dataset), pointer)
    elif name not in dataset.has:
        hint = "list it under `fields`"
        yield Finding(f"field {name!r}, which tells deleted rows, is not among its fields", (*pointer, "column"), hint)
    elif dataset.field(name).type.name not in TELLING_TYPES:
        hint = f"allowed: {', '.join(TELLING_TYPES)}; without such a field write `deletes: keys`"
        message = f"field {name!r} is a {dataset.field(name).type}, which cannot say that a row is deleted"
        yield Finding(message, (*pointer, "column"), hint)
    elif dataset.field(name).required and dataset.field(name).type.name != "boolean":
        message = f"field {name!r} is always known, so that every row would be a deleted one"
        yield Finding(message, (*pointer, "column"), f"write `- {name}` under `fields`, without `required`")


@validator
def capture_carries_nothing_personal(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A captured table is one of PostgreSQL, and holds nothing of a person: Kafka has its rows as the source wrote
    them, before anything becomes a token."""
    if dataset.sector is None or dataset.sector.mode != "capture":
        return
    pointer = ("sector", "mode")
    source = registry.source_of(dataset)
    if source.kind != CAPTURED:
        message = f"is captured, but its source {source.id!r} is of the kind {source.kind}"
        yield Finding(message, pointer, f"only {CAPTURED} is captured; write `mode: cursor` or `mode: snapshot`")
    fields = sorted(f.name for f in dataset.fields if f.tokenise or f.classification in {"personal", "sensitive"})
    if dataset.is_protected or fields:
        held = f"its fields {', '.join(fields)} hold" if fields else f"it is {dataset.classification} and holds"
        message = f"would lie in Kafka before it is protected: {held} what belongs to persons"
        yield Finding(message, pointer, "write `mode: cursor` or `mode: snapshot`; see docs/decisions/0025")


@validator
def history_is_kept(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """What a row once said is read from bronze: it is kept as long as silver, and its view's name is nobody else's."""
    if dataset.sector is None or not dataset.sector.history:
        return
    pointer, kept = ("sector", "history"), dataset.retention
    if kept.bronze < kept.silver:
        message = "its history would end where bronze ends, before silver does"
        yield Finding(message, pointer, f"write `bronze: {durations.words(kept.silver).en}` under `retention`")
    name = f"{dataset.id}_history"
    if any(other.id == name for other in registry.datasets):
        yield Finding(f"its history would be read as {name!r}, which is a dataset", pointer, "rename one of them")


def _keys_are_read(sector: Sector, source: SectorSource, pointer: tuple[str, ...]) -> Iterator[Finding]:
    """Keys alone are a read of the whole table: outside of the window a load leaves them out."""
    try:
        times = list(times_of_day(sector.schedule))
    except ValueError:
        return
    if sector.cursor and source.window and not any(map(source.window.holds, times)):
        message = f"is never read in the window {source.window}, outside of which no keys are compared"
        yield Finding(message, pointer, f"let `schedule` reach the window of schemas/sources/{source.id}.yaml")


@validator
def schedule_keeps_the_freshness(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A sector table is read at least as often as it promises to be fresh."""
    if dataset.sector is None:
        return
    pointer = ("sector", "schedule")
    try:
        pause = longest_pause(dataset.sector.schedule)
    except ValueError as error:
        yield Finding(f"{dataset.sector.schedule!r} is no cron line: {error}", pointer, CRON_HINT)
        return
    if pause > dataset.sla.freshness:
        message = f"is read every {pause} at the longest, but promises to be at most {dataset.sla.freshness} old"
        yield Finding(message, pointer, "read it more often, or promise less at `sla.freshness`")


@validator
def one_dedupe_horizon_per_job(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """All streams of a keyed job share one state lifetime: their dedupe horizons are equal."""
    if dataset.stream is None or not dataset.is_keyed:
        return
    horizons = {d.stream.dedupe for d in registry.streams(dataset.job) if d.stream}
    if len(horizons) > 1:
        peers = ", ".join(d.id for d in registry.streams(dataset.job))
        yield Finding(f"dedupe differs within the job {dataset.job!r} ({peers})", ("stream", "dedupe"))


@validator
def inputs_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Inputs of a derived table or a mart are datasets, or code lists as `code_<list>`."""
    known = {d.id for d in registry.datasets} | {f"code_{c.id}" for c in registry.code_lists}
    part = dataset.derived or dataset.mart
    for name in part.inputs if part else ():
        if name not in known:
            yield Finding(f"input {name!r} does not exist", ("mart" if dataset.mart else "derived", "inputs"))


def _cycle(start: str, registry: Registry, edges: Callable[[Dataset], set[str]]) -> tuple[str, ...]:
    """The shortest way from ``start`` back to itself along the datasets that ``edges`` names, both ends included; empty
    when there is none."""
    datasets = {d.id: d for d in registry.datasets}
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    for way in ways:
        last = datasets.get(way[-1])
        for following in sorted(edges(last) if last else ()):
            if following == start:
                return (*way, start)
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


@validator
def references_form_no_circle(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """References between datasets lead to an end; a table may refer to itself (a tree of places, for example)."""

    def referenced(d: Dataset) -> set[str]:
        return {f.references.dataset for f in d.fields if f.references and f.references.dataset != d.id}

    way = _cycle(dataset.id, registry, referenced)
    for item in dataset.fields if way else ():
        if item.references and item.references.dataset == way[1]:
            hint = "let the child refer to its parent, and not the parent to its child"
            message = f"field {item.name!r} closes a circle of references: {' → '.join(way)}"
            yield Finding(message, field_pointer(dataset, item.name), hint)


@validator
def inputs_form_no_circle(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A derived table or mart is not computed from itself, not even through others."""

    def inputs(d: Dataset) -> set[str]:
        part = d.derived or d.mart
        return set(part.inputs) if part else set()

    way = _cycle(dataset.id, registry, inputs)
    if way:
        hint = "a table is built from those before it; take one of these out of `inputs`"
        pointer = ("mart" if dataset.mart else "derived", "inputs")
        yield Finding(f"is computed from itself: {' ← '.join(way)}", pointer, hint)


def _major(dataset: Dataset) -> int:
    return int(dataset.version.partition(".")[0])


def _superseded(dataset: Dataset, registry: Registry) -> Dataset | None:
    return next((d for d in registry.datasets if d.id == dataset.supersedes), None)


@validator
def superseded_dataset_exists(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """What a dataset supersedes is still there: readers need time to move."""
    if dataset.supersedes and _superseded(dataset, registry) is None:
        hint = "name the dataset whose place it takes; once that one is gone, remove `supersedes`"
        yield Finding(f"supersedes {dataset.supersedes!r}, which does not exist", ("supersedes",), hint)


@validator
def superseded_dataset_ends(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset that is superseded says until when it is still filled."""
    old = _superseded(dataset, registry)
    if old is not None and old.end_date is None:
        hint = f"write `end_date: <last day>` in schemas/datasets/{old.domain}/{old.id}.yaml"
        yield Finding(f"supersedes {old.id!r}, which has no end date", ("supersedes",), hint)


@validator
def superseding_dataset_is_a_new_major(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset that takes another's place has a higher major version, which its id names: `<id>_v<major>`."""
    old = _superseded(dataset, registry)
    if old is None:
        return
    wanted_id, wanted_version = next_major(old)
    if _major(dataset) <= _major(old):
        message = f"supersedes {old.id!r} {old.version}, but is itself {dataset.version}"
        yield Finding(message, ("version",), f"write `version: {wanted_version}`")
    family, _, number = dataset.id.rpartition("_v")
    if family != wanted_id.rpartition("_v")[0] or number != str(_major(dataset)):
        yield Finding(f"supersedes {old.id!r} under a name of its own", ("id",), f"write `id: {wanted_id}`")


def _naming(name: str, item: ContractField) -> Iterator[str]:
    suffix = UNIT_SUFFIXES.get(item.unit or "")
    if suffix and not name.endswith(suffix):
        yield f"has the unit {item.unit} and must end with {suffix}"
    ending = INSTANT_SUFFIXES.get(item.type.name)
    if ending and not name.endswith(ending):
        yield f"is a {item.type.name} and must end with {' or '.join(ending)}"
    if item.type.name == "boolean" and not re.match(r"(is|has)_", name):
        yield "is a boolean and must begin with is_ or has_"
    if name in UNCHECKABLE:
        yield "is a word that Delta cannot check as a column: add what it is of, for example its subject"


def check_field(name: str, definition: FieldDefinition, where: Location) -> Iterator[ContractError]:
    """Check one entry of the dictionary: the naming law, and that its texts are a person's words."""
    item = ContractField.model_validate({**dict(definition), "name": name})
    for problem in _naming(name, item):
        yield ContractError(f"field {name!r} {problem}", where=where)
    for part, text in (("title", definition.title), ("description", definition.description)):
        if text is not None and (is_unwritten(text.vi) or is_unwritten(text.en)):
            yield ContractError(f"the {part} of field {name!r} is still to be written", where=where, hint=_WRITE)


def undescribed(registry: Registry) -> Iterator[ContractError]:
    """Fields of ``fields.yaml`` without a ``description`` in Vietnamese and English: a title alone leaves open what
    is counted, from where and when."""
    for name, definition in registry.dictionary.items():
        if definition.description is None:
            hint = "write `description: {vi: …, en: …}`: one sentence that says what a value means"
            yield ContractError(
                f"field {name!r} has no description", where=registry.dictionary_source.where(name), hint=hint
            )


def check_dictionary(registry: Registry) -> Iterator[ContractError]:
    """Check ``fields.yaml``: the naming law, and that every defined field says what it means and is used somewhere."""
    yield from undescribed(registry)
    yield from format_rules.check_aliases(registry)
    used = {f.name for d in registry.datasets for f in d.fields}
    used |= {f.name for c in registry.code_lists for f in c.columns}
    for name, definition in registry.dictionary.items():
        where = registry.dictionary_source.where(name)
        yield from check_field(name, definition, where)
        if name not in used:
            yield ContractError(f"field {name!r} is used by no dataset", where=where, hint="remove it, or use it")


def check_profiles(registry: Registry) -> Iterator[ContractError]:
    """Check that profiles name datasets that exist."""
    known = {d.id for d in registry.datasets}
    for name, profile in registry.profiles.items():
        for dataset in profile.datasets:
            if dataset not in known:
                where = Location("schemas/profiles.yaml")
                yield ContractError(f"profile {name!r} names {dataset!r}, which is no dataset", where=where)


def check(registry: Registry) -> None:
    """Run every validator over every dataset, the dictionary, the profiles, the collectors, the sources and the
    scenarios.

    Raises:
        ContractErrors: all findings at once.
    """
    findings = [
        *check_dictionary(registry),
        *check_profiles(registry),
        *check_collectors(registry),
        *check_sources(registry),
        *check_scenarios(registry),
    ]
    for dataset in registry.datasets:
        findings.extend(check_dataset(dataset, registry))
    if findings:
        raise ContractErrors(findings)


def check_dataset(dataset: Dataset, registry: Registry) -> Iterator[ContractError]:
    """Run every validator over one dataset of the registry."""
    for name, rule in VALIDATORS.items():
        try:
            for found in rule(dataset, registry):
                where = registry.where(dataset, *found.pointer)
                yield ContractError(found.message, where=where, dataset=dataset.id, hint=found.hint)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"validator {name} failed: {error!r}"
            yield ContractError(message, where=registry.where(dataset), dataset=dataset.id)
