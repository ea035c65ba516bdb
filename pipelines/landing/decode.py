"""Kafka records → Arrow, many at once. A record that cannot be read is told apart from its neighbours, never lost."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.json as pajson
from confluent_kafka import Message

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.landing.apply import PART, POSITION
from pipelines.landing.arrow import Column, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Encrypt

_INSTANT = pa.timestamp("us", tz="UTC")
_RAW_PLACE = re.compile(rb'"raw_(partition|offset)"\s*:\s*(\d{1,18})')
_EXACT_DIGITS = 15
_DUCKDB_TYPES: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    _INSTANT: "TIMESTAMPTZ",
}
_PARTITION: Any = Message.partition
_OFFSET: Any = Message.offset
_VALUE: Any = Message.value
_TIMESTAMP: Any = Message.timestamp
_KEY: Any = Message.key
_HEADERS: Any = Message.headers
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

    def add(self, messages: Sequence[Message], *, envelope: bool) -> dict[int, int]:
        """Take the parts of messages, with `envelope` the key and the source header as well.

        Returns the next offset of each partition among them. This runs once per record: `map` over the message's own
        methods keeps the loops out of Python.
        """
        parts: list[int] = list(map(_PARTITION, messages))
        positions: list[int] = list(map(_OFFSET, messages))
        self.values += map(_VALUE, messages)
        self.parts += parts
        self.positions += positions
        self.timestamps_ms += [stamp for _, stamp in map(_TIMESTAMP, messages)]
        if envelope:
            self.keys += map(_KEY, messages)
            self.sources += map(_source, map(_HEADERS, messages))
        last = dict(zip(parts, positions, strict=True))
        return {part: position + 1 for part, position in last.items()}


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


class Parser:
    """Parses the JSON records of one topic to exactly a schema's columns; what else a record holds is left out.

    DuckDB's parser is 2.7 times as fast as Arrow's (0.7 against 1.9 µs for a record of 335 bytes), but stops at the
    first record that it cannot read, and at a missing field: such a batch goes through Arrow's, which is halved until
    the bad records stand alone. A decimal of more than 15 digits would pass through a double, so its topic takes
    Arrow's at once.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """`schema`: the columns in order; comments on them are ignored."""
        self.schema = pa.schema([pa.field(f.name, f.type) for f in schema])
        # Arrow's parser knows no dates: they are read as text and cast.
        as_read = [pa.field(f.name, pa.string() if pa.types.is_date(f.type) else f.type) for f in self.schema]
        self._options = pajson.ParseOptions(explicit_schema=pa.schema(as_read), unexpected_field_behavior="ignore")
        self._shape = _duckdb_shape(self.schema)
        # Without its extension for time zones DuckDB takes an instant without offset as UTC on every machine.
        config: dict[str, Any] = {
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._db = duckdb.connect(config=config)

    def parse(self, records: Records) -> Parsed:
        """Parse to rows in order, each with :data:`PART` and :data:`POSITION`."""
        unreadable: list[tuple[int, str]] = []
        parts, positions = records.parts, records.positions
        rows = self._fast(records.values)
        if rows is None:
            tables: list[pa.Table] = []
            _parse(records.values, 0, self._options, self.schema, tables, unreadable)
            rows = pa.concat_tables(tables).combine_chunks() if tables else self.schema.empty_table()
        if unreadable:
            lost = {number for number, _ in unreadable}
            parts = [p for n, p in enumerate(parts) if n not in lost]
            positions = [p for n, p in enumerate(positions) if n not in lost]
        place: list[Column] = [pa.array(parts, pa.int32()), pa.array(positions, pa.int64())]
        return Parsed(rows.append_column(PART, place[0]).append_column(POSITION, place[1]), tuple(unreadable))

    def _fast(self, values: Sequence[bytes | None]) -> pa.Table | None:
        """All rows, or None when some record needs a closer look."""
        if self._shape is None or not values or None in values or b"null" in values:
            return None
        try:
            # Views go into DuckDB without another copy: a third less than strings. Bytes that are no UTF-8 raise here.
            texts: Column = pa.array(values, pa.string_view())
            self._db.register("records", pa.table([texts], names=["record"]))
            found = self._db.execute("SELECT unnest(json_transform_strict(record, ?)) FROM records", [self._shape])
            rows: pa.Table = found.to_arrow_table().cast(self.schema).combine_chunks()
            return rows
        except (duckdb.Error, pa.ArrowInvalid):
            return None
        finally:
            self._db.unregister("records")


def _duckdb_shape(schema: pa.Schema) -> str | None:
    """The schema as ``json_transform`` wants it; None when DuckDB would not read it exactly."""
    shape: dict[str, str] = {}
    for column in schema:
        kind = column.type
        if pa.types.is_decimal(kind):
            if kind.precision > _EXACT_DIGITS:
                return None
            shape[column.name] = f"DECIMAL({kind.precision},{kind.scale})"
        else:
            shape[column.name] = _DUCKDB_TYPES[kind]
    return json.dumps(shape)


def _parse(
    values: Sequence[bytes | None],
    start: int,
    options: pajson.ParseOptions,
    schema: pa.Schema,
    tables: list[pa.Table],
    unreadable: list[tuple[int, str]],
) -> None:
    """Parse all at once; when that fails halve, so that one bad record costs only the logarithm."""
    if not values:
        return
    try:
        tables.append(_parse_all(values, options).cast(schema))
    except (pa.ArrowInvalid, _NotOneEach) as error:
        if len(values) == 1:
            unreadable.append((start, str(error)))
            return
        middle = len(values) // 2
        _parse(values[:middle], start, options, schema, tables, unreadable)
        _parse(values[middle:], start + middle, options, schema, tables, unreadable)


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
