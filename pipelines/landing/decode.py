"""Kafka records → Arrow, many at once. A record that cannot be read is told apart from its neighbours, never lost."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.landing.apply import PART, POSITION
from pipelines.landing.arrow import Column, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Encrypt

_INSTANT = pa.timestamp("us", tz="UTC")
_RAW_PLACE = re.compile(rb'"raw_(partition|offset)"\s*:\s*(\d{1,18})')
UNREADABLE = "unreadable_clean_record"


@dataclass
class Records:
    """Records of one topic in the order of arrival, column by column; `value` is None for a tombstone.

    `timestamps_ms`: Kafka timestamps, the arrival clock. Keys and sources are kept only where a table has them.
    """

    values: list[bytes | None] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.values)

    def add(self, messages: Sequence[Any], *, envelope: bool) -> None:
        """Take the parts of confluent-kafka messages; with `envelope` the key and the source header as well."""
        self.values += [m.value() for m in messages]
        self.parts += [m.partition() for m in messages]
        self.positions += [m.offset() for m in messages]
        self.timestamps_ms += [m.timestamp()[1] for m in messages]
        if envelope:
            self.keys += [m.key() for m in messages]
            self.sources += [_source(m.headers()) for m in messages]


def _source(headers: Any) -> str | None:
    for name, value in headers or ():
        if name == "source":
            return None if value is None else str(value, "utf-8", "replace")
    return None


def _instants(milliseconds: Sequence[int]) -> Column:
    return pa.array(milliseconds, pa.timestamp("ms", tz="UTC")).cast(_INSTANT)


def _text(values: Sequence[bytes | None]) -> Column:
    column: Column = pa.array(values, pa.binary())
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if v is None else v.decode("utf-8", "replace") for v in values], pa.string())


def bronze_rows(topic: str, records: Records) -> pa.Table:
    """The bronze rows of a raw topic: bytes as they came, with their place and arrival clock."""
    received = _instants(records.timestamps_ms)
    return pa.table(
        {
            "raw_topic": repeat(topic, len(records), pa.string()),
            "raw_partition": pa.array(records.parts, pa.int32()),
            "raw_offset": pa.array(records.positions, pa.int64()),
            "received_at": received,
            "record_key": _text(records.keys),
            "source": pa.array(records.sources, pa.string()),
            "payload": pa.array(records.values, pa.binary()),
            "received_date": _day(received),
        }
    )


def _day(instants: Column) -> Column:
    return pc.cast(pc.cast(instants, pa.timestamp("us")), pa.date32(), safe=False)


@dataclass(frozen=True)
class Parsed:
    """`rows` with their source place, and for each unreadable record its number and the parser's words."""

    rows: pa.Table
    unreadable: tuple[tuple[int, str], ...]


def parse_options(schema: pa.Schema) -> pajson.ParseOptions:
    """Exactly the schema's columns and types; what else a record holds is left out."""
    plain = pa.schema([pa.field(f.name, f.type) for f in schema])
    return pajson.ParseOptions(explicit_schema=plain, unexpected_field_behavior="ignore")


def parse(records: Records, options: pajson.ParseOptions) -> Parsed:
    """Parse JSON records to rows in order, each with :data:`PART` and :data:`POSITION`."""
    unreadable: list[tuple[int, str]] = []
    tables: list[pa.Table] = []
    _parse(records.values, 0, options, tables, unreadable)
    schema = options.explicit_schema
    rows = pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()
    parts, positions = records.parts, records.positions
    if unreadable:
        lost = {number for number, _ in unreadable}
        parts = [p for n, p in enumerate(parts) if n not in lost]
        positions = [p for n, p in enumerate(positions) if n not in lost]
    place: list[Column] = [pa.array(parts, pa.int32()), pa.array(positions, pa.int64())]
    return Parsed(rows.append_column(PART, place[0]).append_column(POSITION, place[1]), tuple(unreadable))


def _parse(
    values: Sequence[bytes | None],
    start: int,
    options: pajson.ParseOptions,
    tables: list[pa.Table],
    unreadable: list[tuple[int, str]],
) -> None:
    """Parse all at once; when that fails halve, so that one bad record costs only the logarithm."""
    if not values:
        return
    try:
        tables.append(_parse_all(values, options))
    except (pa.ArrowInvalid, _NotOneEach) as error:
        if len(values) == 1:
            unreadable.append((start, str(error)))
            return
        middle = len(values) // 2
        _parse(values[:middle], start, options, tables, unreadable)
        _parse(values[middle:], start + middle, options, tables, unreadable)


class _NotOneEach(ValueError):
    """The records are not one JSON object each, on one line."""


def _parse_all(values: Sequence[bytes | None], options: pajson.ParseOptions) -> pa.Table:
    if None in values:
        raise _NotOneEach("the record has no value")
    text = b"\n".join(values)  # type: ignore[arg-type]
    count = len(values)
    # Counting lines that begin an object, then rows, shows every value that is not exactly one object: a blank one
    # would vanish, and `{}{}` would become two rows.
    if not text.startswith(b"{") or text.count(b"\n{") != count - 1 or text.count(b"\n") != count - 1:
        raise _NotOneEach("the value is not one JSON object on one line")
    block = max(1 << 20, max(map(len, values)) + 1) if len(text) > (1 << 20) else len(text) + 1  # type: ignore[arg-type]
    read = pajson.ReadOptions(use_threads=False, block_size=block)
    source: Any = pa.BufferReader(text)
    table = pajson.read_json(source, read_options=read, parse_options=options)
    if table.num_rows != count:
        raise _NotOneEach("the value is not one JSON object")
    return table.select(options.explicit_schema.names)


DEAD_LETTER_SCHEMA = delta.system_schema(system.DEAD_LETTER)


def dead_rows(dataset: Dataset, topic: str, records: Records, parsed: Parsed, encrypt: Encrypt | None) -> pa.Table:
    """Dead letters for the records of a clean topic that could not be read: the raw place when the bytes show it.

    Where they do not, the place is that of the clean topic, which `raw_topic` names.
    """
    rows = []
    for number, reason in parsed.unreadable:
        value = records.values[number] or b""
        place = {name: int(text) for name, text in _RAW_PLACE.findall(value)}
        known = len(place) == 2
        received = records.timestamps_ms[number]
        rows.append(
            {
                "dataset": dataset.id,
                "raw_topic": topic.replace(".clean.", ".raw.", 1) if known else topic,
                "raw_partition": place[b"partition"] if known else records.parts[number],
                "raw_offset": place[b"offset"] if known else records.positions[number],
                "received_at": pa.scalar(received, pa.timestamp("ms", tz="UTC")).cast(_INSTANT).as_py(),
                "reason": UNREADABLE,
                "detail": f"{topic}[{records.parts[number]}]@{records.positions[number]}: {reason}",
                "payload": sealed_payload(value, encrypt if dataset.is_protected else None),
                PART: records.parts[number],
                POSITION: records.positions[number],
            }
        )
    place_fields = [pa.field(PART, pa.int32()), pa.field(POSITION, pa.int64())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*DEAD_LETTER_SCHEMA, *place_fields]))


def sealed_payload(value: bytes, encrypt: Encrypt | None) -> str:
    """The payload column of a dead letter: base64 of the bytes, or of nothing but their encryption."""
    return (encrypt(value) if encrypt else base64.b64encode(value)).decode("ascii")
