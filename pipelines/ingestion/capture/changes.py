"""The changes of one table out of its topic, as batches of rows: from where the last load ended to what is there now.

Debezium writes a record for each change: `r` a row as it stood when the capture began, `c` and `u` a row as it is now,
`d` one as it was, `t` that the whole table was emptied. DuckDB takes them apart; no row is touched in Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from pipelines.contracts.model import Dataset
from pipelines.ingestion.access import source_columns
from pipelines.ingestion.capture.connector import MISSING_VALUE, topic_of
from pipelines.ingestion.databases.postgresql import PostgreSQL
from pipelines.ingestion.databases.table import Table
from pipelines.ingestion.databases.values import localised
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import DELETED
from pipelines.ingestion.trouble import SourceChanged, SourceUnavailable, changed
from pipelines.landing.arrow import Column
from pipelines.landing.arrow import kernels as pc
from pipelines.runtime.kafka import consumer
from pipelines.runtime.settings import Settings

_FETCHED, _FETCH_S = 20_000, 0.2
_SILENCE_S = 30.0
_VALUE: Any = Message.value
_OFFSET: Any = Message.offset
_READ_OP, _TRUNCATE_OP, _DELETE_OP = "r", "t", "d"
_LAST = ("last", "last_in_data_collection")
_DIALECT = PostgreSQL()


Fetched = tuple[list[bytes], list[int]]
"""Values of records, some thousands, and their offsets."""
Fetch = Callable[[int, int], Iterator[Fetched]]


@dataclass(frozen=True)
class Stretch:
    """What a load takes of a topic: offsets from `begin` until before `end`. `is_whole`: the rows that the table had
    when the capture began are among them, so that a key which is not does not exist. `rows`: how many changes."""

    begin: int
    end: int
    is_whole: bool
    rows: int


class Changes:
    """The changes of one captured table, that `fetched` gives between two offsets in their order, more than once."""

    def __init__(self, dataset: Dataset, fetched: Fetch) -> None:
        self._dataset, self._fetched = dataset, fetched
        self._db = duckdb.connect(config={"threads": 1})

    def look_through(self, begin: int, end: int, *, is_first: bool) -> Stretch:
        """Find out what there is to load between two offsets, before anything is.

        A table that was being read when the capture broke off was read again from the start: of several readings the
        last counts, and what stands before it is no longer of interest.

        Raises:
            SourceUnavailable: the first reading has not come to its end. SourceChanged: the table was truncated.
        """
        parts: list[pa.Table] = []
        for values, places in self._fetched(begin, end):
            query = "select json_extract_string(v, ['/op', '/source/snapshot', '/source/lsn']) as c from records"
            found = self._asked(f"select c[1] as op, c[2] as snapshot, c[3] as lsn from ({query})", values)
            parts.append(found.append_column("offset", pa.array(places, pa.int64())))
        if not parts:
            return Stretch(begin, end, is_whole=False, rows=0)
        told = pa.concat_tables(parts)
        offsets = np.asarray(told["offset"])
        was_read = np.asarray(pc.equal(told["op"], _READ_OP))
        if was_read.any():
            newest = int(np.flatnonzero(was_read)[-1])
            if newest == len(offsets) - 1 and told["snapshot"][newest].as_py() not in _LAST:
                raise SourceUnavailable(
                    f"{self._dataset.id}: {self._place} is still being read for the first time.",
                    "The last good state stays. Try again later; `lake capture status` says how far it is.",
                )
            of_newest = was_read & np.asarray(pc.equal(told["lsn"], told["lsn"][newest]))
            begin = int(offsets[np.flatnonzero(of_newest)[0]])
        taken = offsets >= begin
        if np.asarray(pc.equal(told["op"], _TRUNCATE_OP))[taken].any():
            source = sector_of(self._dataset).source
            raise SourceChanged(
                f"{self._dataset.id}: {self._place} of {self._dataset.owner} was emptied by TRUNCATE.",
                f"Nothing was loaded, the last good state stays. When the table is as it should be, read it anew: "
                f"`lake capture start {source} --anew`.",
            )
        return Stretch(begin, end, is_whole=is_first or bool(was_read.any()), rows=int(taken.sum()))

    def batches(self, stretch: Stretch, table: Table, zone: str | None) -> Iterator[pa.RecordBatch]:
        """The rows that changed, in order, as text or localised times under the source's column names, and whether each
        is deleted; `table` is what the source's catalogue says, `zone` that of its times without one.

        Raises:
            SourceChanged: a record lacks a column of the contract, or a value of one.
        """
        names = source_columns(self._dataset)
        paths = ", ".join(f"'/{name}'" for name in names)
        cells = ", ".join(f'c[{place}] as "{name}"' for place, name in enumerate(names, 1))
        query = (
            f"select op, array_to_string(json_keys(image), ' ') as held, {cells} from ("
            f"select op, image, json_extract_string(image, [{paths}]) as c from ("
            f"select op, json_extract(v, case op when '{_DELETE_OP}' then '/before' else '/after' end) as image from ("
            "select v, json_extract_string(v, '/op') as op from records)))"
        )
        for values, _ in self._fetched(stretch.begin, stretch.end):
            found = self._asked(query, values)
            self._check_columns(found["held"], names)
            columns: dict[str, Column] = {
                name: self._value(name, found[name].combine_chunks(), table.column(name).type, zone) for name in names
            }
            columns[DELETED] = pc.equal(found["op"], _DELETE_OP).combine_chunks()
            yield from pa.table(columns).combine_chunks().to_batches()

    @property
    def _place(self) -> str:
        return f"table {sector_of(self._dataset).place}"

    def _value(self, name: str, text: Column, type_: str, zone: str | None) -> Column:
        """A column as a reading of the table itself would give it."""
        if pc.any(pc.equal(text, MISSING_VALUE), min_count=0).as_py():
            what = f"lacks values of {name} in its log, because it has no REPLICA IDENTITY FULL any more"
            raise changed(self._dataset, self._place, [what])
        if type_ in _DIALECT.dates:
            return pc.utf8_rtrim(text, "Z")
        if type_ in _DIALECT.local_times:
            local = pc.utf8_rtrim(text, "Z")
            return localised(local, zone) if zone else local
        return pc.utf8_rtrim(text, " ") if type_ == "character" else text

    def _check_columns(self, held: Column, names: Sequence[str]) -> None:
        """All records of a topic name all of their columns, whether they have a value or not."""
        lacking = {name for keys in pc.unique(held).to_pylist() for name in set(names) - set((keys or "").split())}
        if lacking:
            raise changed(self._dataset, self._place, [f"has no column {name} in its log" for name in sorted(lacking)])

    def _asked(self, query: str, values: Sequence[bytes]) -> pa.Table:
        texts: Any = pa.array(values, pa.string_view())
        self._db.register("records", pa.table([texts], names=["v"]))
        try:
            table: pa.Table = self._db.execute(query).to_arrow_table()
            return table
        finally:
            self._db.unregister("records")


def fetcher(settings: Settings, dataset: Dataset) -> Fetch:
    """Read the topic of a captured table, which has one partition.

    Raises, while it is read:
        SourceUnavailable: Kafka sends nothing for too long.
    """
    topic = settings.topic(topic_of(dataset))

    def fetched(begin: int, end: int) -> Iterator[Fetched]:
        if begin >= end:
            return
        with closing(consumer(settings, "capture")) as reader:
            reader.assign([TopicPartition(topic, 0, begin)])
            heard_at, at_end = time.monotonic(), False
            while not at_end:
                messages = reader.consume(_FETCHED, timeout=_FETCH_S)
                if messages:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > _SILENCE_S:
                    raise SourceUnavailable(f"{topic} sends nothing for {_SILENCE_S:g} s.", "Try again later.")
                # The end of the topic is behind everything that was committed when `end` was asked for.
                at_end = any(map(_is_end, messages)) or (bool(messages) and messages[-1].offset() >= end - 1)
                taken = [message for message in messages if message.error() is None and message.offset() < end]
                if taken:
                    yield list(map(_VALUE, taken)), list(map(_OFFSET, taken))

    return fetched


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaException(error)
