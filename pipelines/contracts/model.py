"""The contract model: frozen, closed, without I/O. Keys are named as in ODCS 3.1 wherever it has the concept."""

from __future__ import annotations

import operator as compare
import re
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainSerializer,
    field_validator,
    model_serializer,
    model_validator,
)

from pipelines.contracts.base import Duration, Exact, Model, Name
from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.logical_types import LogicalType, parse
from pipelines.contracts.service_request import ServiceRequest

Classification = Literal["open", "internal", "personal", "sensitive"]
CLASSIFICATIONS: tuple[Classification, ...] = ("open", "internal", "personal", "sensitive")
DataClass = Literal["common", "important", "core"]

FORMAT = r"^(native|sensorthings|fiware\.[A-Z][A-Za-z0-9]*)$"
"""The formats in which a stream can be sent to the gateway."""


def is_format(name: str) -> bool:
    """Whether a name of an alias is a format of the gateway, and not just another standard's word."""
    return re.match(FORMAT, name) is not None


KEYED_JOBS = ("flood", "transport", "camera")
"""Domains whose streams have a job of their own, with state per key: it tells duplicates and corrections in flight."""
WHOLE_NUMBERS = ("integer", "bigint")
"""The types of a cursor that counts and says no time."""
SHARED_JOB = "city"
"""The job of every other stream: without state per key, so that a new contract touches nothing that runs."""
SCENARIO_JOB = "scenarios"
"""The job that judges live datasets by rules, which are data: what it reads is not in its plan."""


class Text(Model):
    """A text in the two languages of the catalogue, Vietnamese first."""

    vi: str = Field(min_length=1)
    en: str = Field(min_length=1)


class Tokenise(Model):
    """A personal value that is replaced by a keyed token before it is stored.

    A token that ``joins`` tables or years is made with one key for ever; any other is made with the newest key.
    """

    source: Name
    kind: Literal["plate", "phone", "name", "citizen_id"]
    joins: bool = True


class Reference(Model):
    """A field whose values are those of another dataset's field: written ``<dataset>.<field>``."""

    dataset: Name
    field: Name

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        dataset, dot, field = value.partition(".")
        if not dot:
            raise ValueError(f"{value!r} is not a reference; write <dataset>.<field>")
        return {"dataset": dataset, "field": field}

    def __str__(self) -> str:
        """Render as it is written in a contract."""
        return f"{self.dataset}.{self.field}"


class Alias(Model):
    """Where a field stands in the messages of another format.

    ``path`` names it there, steps joined by points; of several the first that is present counts. ``unit`` is the unit
    in which that format gives it when a message names none. ``interval`` says which end of a period is meant,
    ``value`` gives a constant instead of a path. Written short as the path alone.
    """

    path: tuple[str, ...] = ()
    unit: str | None = None
    interval: Literal["start", "end"] | None = None
    value: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, given: object) -> object:
        if isinstance(given, str):
            return {"path": (given,)}
        if isinstance(given, dict) and isinstance(given.get("path"), str):
            return {**given, "path": (given["path"],)}
        return given

    @model_validator(mode="after")
    def _one_origin(self) -> Alias:
        if bool(self.path) == (self.value is not None):
            raise ValueError("an alias has a `path` or a constant `value`, and not both")
        return self

    @model_serializer
    def _short(self) -> str | dict[str, Any]:
        given = {name: getattr(self, name) for name in ("unit", "interval", "value") if getattr(self, name) is not None}
        path = self.path[0] if len(self.path) == 1 else list(self.path)
        if not given:
            return path if isinstance(path, str) else {"path": path}
        return {"path": path, **given} if self.path else given

    def __str__(self) -> str:
        """Render as a person reads it: the paths with what is special about them, or the constant."""
        if not self.path:
            return f"= {self.value}"
        said = [f"in {self.unit}"] * (self.unit is not None) + [f"{self.interval} of the period"] * bool(self.interval)
        return " | ".join(self.path) + (f" ({', '.join(said)})" if said else "")


class FieldDefinition(Model):
    """One entry of ``fields.yaml``: what a field means everywhere."""

    type: Annotated[LogicalType, PlainSerializer(str)]
    title: Text
    description: Text | None = None
    unit: str | None = None
    classification: Classification = "open"
    minimum: Exact | None = None
    maximum: Exact | None = None
    code_list: Name | None = None
    tokenise: Tokenise | None = None
    free_text: bool = False
    aliases: dict[str, Alias] = Field(default_factory=dict)

    @field_validator("type", mode="before")
    @classmethod
    def _parse_type(cls, value: object) -> LogicalType:
        return value if isinstance(value, LogicalType) else parse(str(value))


class ContractField(FieldDefinition):
    """A field as one dataset uses it: the definition plus what the dataset narrows."""

    name: Name
    required: bool = False
    references: Reference | None = None

    @property
    def source_name(self) -> str:
        """What the source calls it: the clear value's name where the contract has a token."""
        return self.tokenise.source if self.tokenise else self.name


class FieldUse(Model):
    """What a dataset may say of a field beside its name; type and unit can never differ from the dictionary."""

    required: bool | None = None
    references: Reference | None = None
    minimum: Exact | None = None
    maximum: Exact | None = None
    code_list: Name | None = None


class Description(Model):
    """Why the dataset exists, how to use it, and what it cannot tell."""

    purpose: Text
    usage: str | None = None
    limitations: str | None = None


class Stream(Model):
    """How a live dataset flows: times by the arrival clock, see :mod:`pipelines.streaming`.

    ``accepts`` names the formats of the gateway: ``native`` (JSON, NDJSON, CSV with our field names), ``sensorthings``,
    ``fiware.<Type>``. ``device`` is the field that names the sender's device; its code list or reference is the
    register of the devices that are known. ``written_by``: ``sources`` send it to the gateway, or the ``platform``
    alone writes it; then it has neither, and the gateway takes it from nobody.
    """

    event_time: Name
    watermark: Duration
    cadence: Duration
    dedupe: Duration
    rebuild: Duration
    partitions: int = Field(default=1, ge=1, le=64)
    accepts: tuple[Annotated[str, Field(pattern=FORMAT)], ...] = ("native",)
    device: Name | None = None
    written_by: Literal["sources", "platform"] = "sources"

    @model_validator(mode="before")
    @classmethod
    def _takes_nothing(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("written_by") == "platform":
            return {"accepts": (), **given}
        return given

    @model_validator(mode="after")
    def _one_way_in(self) -> Stream:
        if self.written_by == "platform" and (self.accepts or self.device):
            raise ValueError("what the platform writes is sent by nobody: leave `accepts` and `device` out")
        if self.written_by == "sources" and not self.accepts:
            raise ValueError("`accepts` names no format; a stream that nobody sends has `written_by: platform`")
        return self


class Tolerance(Model):
    """How much a load may do before it fails whole: break its contract with more than `refused_pct` of its rows, and
    more than `refused_rows` of them, so that a night of few rows is not stopped by one; delete more than `deleted_pct`
    of the rows that the table holds, and more than `deleted_rows` of them."""

    refused_pct: float = Field(default=50, ge=0, le=100)
    refused_rows: int = Field(default=100, ge=0)
    deleted_pct: float = Field(default=20, ge=0, le=100)
    deleted_rows: int = Field(default=100, ge=0)


class Deletes(Model):
    """How a row shows that its source has deleted it: its key is no longer there, or the field ``column`` says so,
    being TRUE, or a time or day that is known. Written ``keys`` or ``{column: <field>}``."""

    column: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, given: object) -> object:
        if given == "keys":
            return {}
        if isinstance(given, str) or given == {}:
            raise ValueError(f"{given!r} tells no deleted rows; write `keys`, `{{column: <field>}}` or `none`")
        return given

    @model_serializer
    def _short(self) -> str | dict[str, Any]:
        return {"column": self.column} if self.column else "keys"

    def __str__(self) -> str:
        """Render as it is written in a contract."""
        return f"{{column: {self.column}}}" if self.column else "keys"


class Sector(Model):
    """Where a sector table is read: by a cursor with a lag, as a whole snapshot, or by ``capture``: its database tells
    every change itself (log-based change data capture), deletes included, so that ``deletes`` is not written.

    ``source`` is a file of ``schemas/sources``; without a ``schema`` the table is found in the one that its connection
    opens. ``schedule`` is resolved: where the contract says none, it is that of the source. ``file`` is how the files
    of a source without tables are written; each is the whole table (``snapshot``), or what changed in it (``changes``).
    ``request`` is how a service is asked for it, for all of it (``snapshot``) or since the last time (``changes``).
    ``table`` is then the name under which the sample keeps it. Without ``deletes`` a row that the source deletes stays.
    ``deletes_every``: where changes are read by a cursor, the keys of the whole table are compared at most so often; at
    each load when it is not said. ``history``: what a row once said stays readable, with the time from when until when
    the lake took it for true.
    """

    source: Name
    schema_name: Name | None = Field(default=None, alias="schema")
    table: Name
    mode: Literal["cursor", "snapshot", "changes", "capture"]
    cursor: Name | None = None
    file: FileLayout | None = None
    request: ServiceRequest | None = None
    lag: Duration = timedelta(0)
    schedule: str
    tolerance: Tolerance = Tolerance()
    deletes: Deletes | None = None
    deletes_every: Duration | None = None
    history: bool = False

    @field_validator("deletes", mode="before")
    @classmethod
    def _none_deleted(cls, given: object) -> object:
        return None if given == "none" else given

    @model_validator(mode="after")
    def _cursor_for_cursor(self) -> Sector:
        if (self.mode == "cursor") != (self.cursor is not None):
            raise ValueError("mode cursor needs `cursor: <field>`, the other modes have none")
        return self

    @model_validator(mode="after")
    def _modes_of_services(self) -> Sector:
        if self.request is None:
            return self
        if self.file is not None:
            raise ValueError("a dataset is read out of files (`file`) or from a service (`request`), not both")
        if (self.mode == "changes") != (self.request.since is not None) or self.mode == "cursor":
            raise ValueError("a service with `since` has mode changes, one without mode snapshot")
        return self

    @model_validator(mode="after")
    def _modes_of_files(self) -> Sector:
        if self.file is None and self.request is None and self.mode == "changes":
            raise ValueError("mode changes is for files and services; a table that tells its changes has a `cursor`")
        if self.file is not None and self.mode == "cursor":
            raise ValueError("a file has no cursor; each is the whole table (snapshot) or what changed in it (changes)")
        if self.file is not None and self.file.name is None:
            raise ValueError("`file` needs a `name` by which its files are known, for example DS_{yyyyMMdd}.xlsx")
        return self

    @model_validator(mode="after")
    def _captured_alone(self) -> Sector:
        for name in ("file", "request", "deletes") if self.mode == "capture" else ():
            if getattr(self, name) is not None:
                raise ValueError(f"mode capture is for tables that tell every change, deletes too: it has no `{name}`")
        if self.mode == "capture" and self.schema_name is None:
            raise ValueError("mode capture needs the `schema` of the table: its changes are published by that name")
        return self

    @property
    def compares_keys(self) -> bool:
        """Whether a row is deleted when the source no longer has its key. Of a captured table only its first reading
        says which keys there are; what follows are changes."""
        if self.mode == "capture":
            return True
        return self.deletes is not None and self.deletes.column is None

    @property
    def place(self) -> str:
        """The table as people write it, with its schema, where it is said; what files are called; a service's path."""
        if self.file is not None:
            return str(self.file.name)
        if self.request is not None:
            return self.request.path
        return f"{self.schema_name}.{self.table}" if self.schema_name else self.table


class Derived(Model):
    """A table that a stream job computes on arrival: live, labelled so, and recomputed equal by a rebuilt job.

    Only what the scenarios write has no ``inputs`` of its own: they are what the scenarios in force look at."""

    job: Name
    topic: str = Field(pattern=r"^(agg|alert)\.[a-z][a-z0-9_]*$")
    event_time: Name
    inputs: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _inputs(self) -> Derived:
        if (self.job == SCENARIO_JOB) == bool(self.inputs):
            raise ValueError(f"name the `inputs`; only a table of the job {SCENARIO_JOB!r} has none")
        return self


class Mart(Model):
    """A settled table that dbt builds on Spark in ``gold``; ``inputs`` are datasets of any layer, for lineage and
    for the order of publication.

    Those of them that are ``optional`` do not come along into a profile by themselves: a namespace that does not hold
    them builds the mart from the others.
    """

    inputs: tuple[Name, ...] = Field(min_length=1)
    optional: tuple[Name, ...] | None = None
    as_of: Name | None = None

    @model_validator(mode="after")
    def _some_needed(self) -> Mart:
        if other := sorted(set(self.optional or ()) - set(self.inputs)):
            raise ValueError(f"{', '.join(other)} of `optional` is none of the `inputs`")
        if not set(self.inputs) - set(self.optional or ()):
            raise ValueError("an input is needed that is not `optional`")
        return self

    @property
    def needed(self) -> tuple[Name, ...]:
        """The inputs without which there is nothing to build."""
        return tuple(name for name in self.inputs if name not in (self.optional or ()))

    def within(self, held: Container[str]) -> Mart:
        """The mart of a namespace that holds only these datasets."""
        kept = tuple(name for name in self.inputs if name in held or name not in (self.optional or ()))
        optional = tuple(name for name in self.optional or () if name in held)
        return self.model_copy(update={"inputs": kept, "optional": optional or None})


QcStatus = Literal["verified", "unverified"]
"""Whether the limits of a test were seen published, or are our own until somebody who knows confirms them."""


class QcTest(Model):
    """One QARTOD test of one field. A result is 1 pass, 2 not evaluated, 3 suspect, 4 fail or 9 missing."""

    status: QcStatus = "unverified"


class Range(QcTest):
    """Gross range: outside ``suspect`` flag 3; outside ``fail``, else the field's minimum and maximum, flag 4."""

    suspect: tuple[Exact, Exact]
    fail: tuple[Exact, Exact] | None = None


class Climatology(QcTest):
    """Outside what is usual in the month (of Huế), by the rows of the code list ``limits``: flag 3."""

    limits: Name


class Lasting(QcTest):
    """A test of a time: at or above ``suspect`` flag 3, at or above ``fail`` flag 4."""

    suspect: Duration | None = None
    fail: Duration | None = None

    @model_validator(mode="after")
    def _limited(self) -> Lasting:
        _ordered(self.suspect, self.fail)
        return self


class Gap(Lasting):
    """The time since the reading before is longer than the limit."""


class FlatLine(Lasting):
    """The values of a field stay within ``tolerance`` for so long; those of ``exempt`` (a dry rain gauge) may."""

    tolerance: Exact = Decimal(0)
    exempt: tuple[Exact, ...] = Field(default=(), alias="except")


class Windowed(QcTest):
    """A test of a value against those of the ``window`` before it; limits are in the unit of the field."""

    window: Duration
    suspect: Exact | None = None
    fail: Exact | None = None


class Above(Windowed):
    """A test that a value fails above its limits."""

    @model_validator(mode="after")
    def _limited(self) -> Above:
        _ordered(self.suspect, self.fail)
        return self


class Spike(Above):
    """The distance from the median of the window is greater than the limit."""


class RateOfChange(Above):
    """The change per hour, since the last usable value of the window, is greater than the limit."""


class AttenuatedSignal(Windowed):
    """The range of the values in the window is smaller than the limit."""

    @model_validator(mode="after")
    def _limited(self) -> AttenuatedSignal:
        _ordered(self.fail, self.suspect)
        return self


class Bound(Model):
    """A limit that follows what the neighbours say: ``factor`` × their median, less or plus ``margin``."""

    factor: Exact = Field(ge=0)
    margin: Exact = Field(ge=0)


class Neighbour(QcTest):
    """The sum or the change of the values in the window is below ``low`` or above ``high`` of its neighbours: flag 3.
    The neighbours stand in the code list ``neighbours``.

    Settled: computed by dbt in event-time order, because on arrival the readings of two stations have no order that a
    rebuilt job would repeat.
    """

    neighbours: Name
    statistic: Literal["sum", "change"]
    window: Duration
    low: Bound | None = None
    high: Bound | None = None

    @model_validator(mode="after")
    def _limited(self) -> Neighbour:
        if self.low is None and self.high is None:
            raise ValueError("a test needs `low`, `high` or both")
        return self


def _ordered(smaller: Any, larger: Any) -> None:
    given = [value for value in (smaller, larger) if value is not None]
    if not given:
        raise ValueError("a test needs `suspect`, `fail` or both")
    if any(value <= type(value)(0) for value in given):
        raise ValueError("limits are above 0")
    if len(given) == 2 and smaller >= larger:
        raise ValueError("`suspect` and `fail` stand the wrong way round: a value is suspect before it fails")


class Qc(Model):
    """Quality control of a stream: tests flag rows, they never delete them (QARTOD).

    ``limits`` is a code list with the limits of single entities, in place of those that stand here for all.
    """

    limits: Name | None = None
    gap: Gap | None = None
    gross_range: dict[Name, Range] = Field(default_factory=dict)
    climatology: dict[Name, Climatology] = Field(default_factory=dict)
    spike: dict[Name, Spike] = Field(default_factory=dict)
    rate_of_change: dict[Name, RateOfChange] = Field(default_factory=dict)
    flat_line: dict[Name, FlatLine] = Field(default_factory=dict)
    attenuated_signal: dict[Name, AttenuatedSignal] = Field(default_factory=dict)
    neighbour: dict[Name, Neighbour] = Field(default_factory=dict)

    def by_field(self) -> Iterator[tuple[str, str, QcTest]]:
        """Every test of a field in QARTOD's order: test, field, limits."""
        for test in QC_TESTS:
            declared = getattr(self, test)
            if isinstance(declared, dict):
                for name, limits in declared.items():
                    yield test, name, limits

    @property
    def is_stateful(self) -> bool:
        """Whether a test needs the readings before: then the job keeps state per entity."""
        return any(getattr(self, test) for test in STATEFUL_QC)


QC_TESTS = (
    "gap",
    "gross_range",
    "climatology",
    "spike",
    "rate_of_change",
    "flat_line",
    "attenuated_signal",
    "neighbour",
)
"""Every test that a contract can declare, in QARTOD's order."""
STATEFUL_QC = ("gap", "spike", "rate_of_change", "flat_line", "attenuated_signal")
"""The tests that need the readings before the tested one."""


class Sla(Model):
    """What the owner promises."""

    freshness: Duration
    completeness_pct: Exact | None = None


class RetentionBy(Model):
    """Rows of some kinds go sooner: ``field`` holds a code of ``code_list``, whose column ``days`` says how long they
    are kept. A row of no code, or of a code that is not listed, is kept as long as the others."""

    field: Name
    code_list: Name
    days: Name


class Retention(Model):
    """How long each layer keeps rows; ``by`` shortens that of silver for some kinds of rows."""

    bronze: Duration
    silver: Duration
    by: RetentionBy | None = None


class RowCount(Model):
    """A table has at least so many rows: an empty table passes every other rule."""

    rule: Literal["row_count"]
    minimum: int = Field(ge=1)


class Completeness(Model):
    """At least so many percent of the rows have a value."""

    rule: Literal["completeness"]
    field: Name
    minimum_pct: Exact


_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": compare.lt,
    "<=": compare.le,
    ">": compare.gt,
    ">=": compare.ge,
}


class Comparison(Model):
    """Two fields of a row stand in order wherever both are known."""

    rule: Literal["comparison"]
    left: Name
    operator: Literal["<", "<=", ">", ">="]
    right: Name

    def holds(self, left: Any, right: Any) -> Any:
        """Whether two known values stand in order; of two arrays of them, each pair."""
        return _ORDERS[self.operator](left, right)


class RequiredTogether(Model):
    """``field`` is known wherever ``when`` has the value ``equals``."""

    rule: Literal["required_when"]
    field: Name
    when: Name
    equals: str


class Pattern(Model):
    """A text matches a regular expression as a whole, wherever it is known; the syntax is what Java and RE2 share."""

    rule: Literal["pattern"]
    field: Name
    pattern: str = Field(min_length=1)

    @field_validator("pattern")
    @classmethod
    def _portable(cls, value: str) -> str:
        if re.search(r"\\[1-9pPbBGzZA]|\(\?", value):
            raise ValueError("back references, look-around, flags and \\b, \\p are not the same in every engine")
        re.compile(value)
        return value

    @property
    def whole(self) -> str:
        """The expression for a whole text, as Java and RE2 read it: Java's ``$`` ends before a line break."""
        return rf"^(?:{self.pattern})\z"


class Unique(Model):
    """No two rows share these fields, wherever all of them are known (the key itself is always unique)."""

    rule: Literal["unique"]
    fields: tuple[Name, ...] = Field(min_length=1)


class Share(Model):
    """The share of rows whose text ``field`` is one of ``values``, in percent of the rows where it is known."""

    rule: Literal["share"]
    field: Name
    values: tuple[str, ...] = Field(min_length=1)
    minimum_pct: Exact | None = None
    maximum_pct: Exact | None = None

    @model_validator(mode="after")
    def _limited(self) -> Share:
        if self.minimum_pct is None and self.maximum_pct is None:
            raise ValueError("a share needs `minimum_pct`, `maximum_pct` or both")
        return self


class Total(Model):
    """Within each group of ``by`` the sum of ``field`` is ``equals``, give or take ``tolerance``."""

    rule: Literal["total"]
    field: Name
    by: tuple[Name, ...] = ()
    equals: Exact
    tolerance: Exact = Decimal(0)


Rule = Annotated[
    RowCount | Completeness | Comparison | RequiredTogether | Pattern | Unique | Share | Total,
    Field(discriminator="rule"),
]
RULE_KINDS: tuple[type[Model], ...] = (
    RowCount,
    Completeness,
    Comparison,
    RequiredTogether,
    Pattern,
    Unique,
    Share,
    Total,
)


class Value(Model):
    """How sample values of one field are drawn; ``only_when`` leaves the others NULL.

    Without an entry a field is drawn from what the contract knows: its reference, its code list, its range, its type.
    """

    only_when: dict[Name, str] = Field(default_factory=dict)
    null_pct: float = Field(default=0, ge=0, le=100)


class Choice(Value):
    """One of ``values`` (value → weight); codes of a list, words, or numbers as text."""

    kind: Literal["choice"]
    values: dict[str, float] = Field(min_length=1)


class Number(Value):
    """A number of one of three shapes, cut off at the field's range: ``uniform`` (low, high), ``normal`` (mean, sd),
    ``lognormal`` (median, sigma of the logarithm)."""

    kind: Literal["uniform", "normal", "lognormal"]
    parameters: tuple[float, float]


class Daily(Value):
    """A value that follows the day of Huế: ``mean`` + ``amplitude`` × cos around ``peak_hour``, plus noise ``sd``."""

    kind: Literal["daily"]
    mean: float
    amplitude: float
    peak_hour: float = Field(ge=0, lt=24)
    sd: float = Field(default=0, ge=0)


class Serial(Value):
    """A running number behind a prefix: ``HS-000001``."""

    kind: Literal["serial"]
    prefix: str
    width: int = Field(default=6, ge=1, le=12)


class After(Value):
    """An instant or day after another field of the row: uniform within ``from`` … ``to``."""

    kind: Literal["after"]
    field: Name
    earliest: Duration = Field(default=timedelta(0), alias="from")
    latest: Duration = Field(alias="to")


class Product(Value):
    """``field`` × a uniform factor: a part that never exceeds the whole, a price that follows a quantity."""

    kind: Literal["product"]
    field: Name
    factor: tuple[float, float]


class Person(Value):
    """A made-up personal value in clear, as the sector system has it before ingestion tokenises it."""

    kind: Literal["person"]


class Words(Value):
    """One of ``texts`` (Vietnamese); ``{n}`` stands for the number of the row."""

    kind: Literal["text"]
    texts: tuple[str, ...] = Field(min_length=1)


SampleValue = Annotated[
    Choice | Number | Daily | Serial | After | Product | Person | Words, Field(discriminator="kind")
]


class Sample(Model):
    """How the synthetic sample of a dataset is drawn: ``rows`` at scale 1; a stream has ``entities`` that report in
    turn at its cadence. ``calibration`` says which published figure the numbers follow."""

    rows: int = Field(ge=1, le=1_000_000)
    entities: int | None = Field(default=None, ge=1)
    calibration: str | None = None
    fields: dict[Name, SampleValue] = Field(default_factory=dict)


class Dataset(Model):
    """A contract with its fields resolved against the dictionary.

    ``end_date``: the last day on which its owner fills it, stated when a newer major version takes its place.
    ``supersedes``: the dataset whose place this one takes, see :func:`next_major`.
    """

    id: Name
    domain: Name
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    title: Text
    description: Description
    clauses: tuple[str, ...] = ()
    systems: tuple[int, ...] = ()
    owner: str
    classification: Classification
    data_class: DataClass = "common"
    grain: str = Field(min_length=5)
    key: tuple[Name, ...] = Field(min_length=1)
    partition: Name | None = None
    fields: tuple[ContractField, ...] = Field(min_length=1)
    stream: Stream | None = None
    sector: Sector | None = None
    derived: Derived | None = None
    mart: Mart | None = None
    qc: Qc = Qc()
    sla: Sla
    retention: Retention
    personal_purpose: Text | None = None
    legal_basis: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    quality: tuple[Rule, ...] = ()
    sample: Sample | None = None
    end_date: date | None = None
    supersedes: Name | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if sum(part is not None for part in (self.stream, self.sector, self.derived, self.mart)) != 1:
            raise ValueError("a dataset has exactly one of `stream`, `sector`, `derived` and `mart`")
        return self

    def field(self, name: str) -> ContractField:
        """The field called ``name``.

        Raises:
            KeyError: the dataset has no such field.
        """
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(f"{self.id} has no field {name!r}; it has {', '.join(f.name for f in self.fields)}")

    @property
    def has(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset(f.name for f in self.fields)

    @property
    def event_time(self) -> str | None:
        """The field that says when it happened: a stream's event time, a table's cursor unless it is a number."""
        timed = self.stream or self.derived
        if timed:
            return timed.event_time
        if self.mart:
            return self.mart.as_of
        return self.sector.cursor if self.sector and not self.cursor_counts else None

    @property
    def cursor_counts(self) -> bool:
        """Whether the cursor of a sector table is a whole number: it says what is newer, but not when it happened."""
        cursor = self.sector.cursor if self.sector else None
        return cursor in self.has and self.field(str(cursor)).type.name in WHOLE_NUMBERS

    @property
    def is_sent(self) -> bool:
        """Whether sources send it to the gateway: a stream that the platform does not write itself."""
        return self.stream is not None and self.stream.written_by == "sources"

    @property
    def layer(self) -> str:
        """The layer whose table is judged and published: gold for a mart, silver for everything else."""
        return "gold" if self.mart else "silver"

    @property
    def entity_key(self) -> tuple[str, ...]:
        """The key without the event time: what an event is about, and the Kafka record key."""
        return tuple(k for k in self.key if k != self.event_time)

    @property
    def register(self) -> str | None:
        """The dataset or code list in which a stream's devices are known; None when they are not checked."""
        if self.stream is None or self.stream.device is None or self.stream.device not in self.has:
            return None
        item = self.field(self.stream.device)
        return item.references.dataset if item.references else item.code_list

    @property
    def partition_source(self) -> str | None:
        """The timestamp field that a ``*_date`` partition column is derived from (UTC day); None when the partition
        is a field of the dataset or there is none."""
        if self.partition is None or self.partition in self.has:
            return None
        return f"{self.partition.removesuffix('_date')}_at"

    @property
    def job(self) -> str | None:
        """The stream job that reads or computes this dataset; None for one that no job touches."""
        if self.derived:
            return self.derived.job
        if self.stream is None:
            return None
        return self.domain if self.domain in KEYED_JOBS else SHARED_JOB

    @property
    def is_keyed(self) -> bool:
        """Whether its job tells duplicates and corrections; otherwise landing finds a repeated row unchanged."""
        return self.job in KEYED_JOBS

    @property
    def topic(self) -> str | None:
        """The topic, without its namespace, from which landing fills silver; None for a sector table."""
        if self.derived:
            return self.derived.topic
        return f"clean.{self.id}" if self.stream else None

    @property
    def is_protected(self) -> bool:
        """Whether refused bytes are encrypted and the topic is short-lived."""
        return self.classification in {"personal", "sensitive"}


_MAJOR_SUFFIX = re.compile(r"_v[1-9]\d*\Z")


def next_major(dataset: Dataset) -> tuple[str, str]:
    """Id and version under which a breaking change of ``dataset`` lives beside it: ``river_stage_v2``, ``2.0.0``."""
    major = int(dataset.version.partition(".")[0]) + 1
    return f"{_MAJOR_SUFFIX.sub('', dataset.id)}_v{major}", f"{major}.0.0"


class CodeList(Model):
    """A closed list of codes with validity dates; ``rows`` are plain mappings sorted as in the file."""

    id: Name
    title: Text
    key: Name
    source: str
    status: Literal["verified", "unverified", "synthetic"]
    columns: tuple[ContractField, ...]
    rows: tuple[dict[str, Any], ...] = Field(min_length=1)

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes, in file order; a code that recurs with other validity dates stands once."""
        return tuple(dict.fromkeys(str(row[self.key]) for row in self.rows))


class Profile(Model):
    """A named part of the catalogue, for a namespace that needs no more."""

    title: Text
    datasets: tuple[Name, ...] = Field(min_length=1)


class Profiles(Model):
    """The content of ``schemas/profiles.yaml``."""

    profiles: dict[Name, Profile]


class System(Model):
    """One of the systems that the city's documents name; datasets say which they serve."""

    id: int = Field(ge=1)
    clauses: tuple[str, ...] = Field(min_length=1)
    title: Text


class Systems(Model):
    """The content of ``schemas/systems.yaml``."""

    systems: tuple[System, ...] = Field(min_length=1)
