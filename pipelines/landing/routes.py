"""Which topic goes to which table, and how its records become commits."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta, kafka
from pipelines.landing.apply import PART, POSITION, Aside, Batch, Silver, outcome_rows, write_parts
from pipelines.landing.arrow import Column, nulls, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Encrypt
from pipelines.landing.decode import (
    DEAD_LETTER_SCHEMA,
    UNREADABLE,
    Parsed,
    Parser,
    Records,
    bronze_rows,
    dead_rows,
    sealed_payload,
)
from pipelines.landing.sink import COMPACT_EVERY, Sink
from pipelines.landing.tables import DEAD_LETTER, bronze_spec, quality_spec
from pipelines.runtime.settings import Settings


@dataclass(frozen=True)
class Work:
    """One source's part of a round: what it sets aside, then the commit that moves its own table last."""

    aside: Aside | None
    finish: Callable[[], None]
    counts: Mapping[str, int]
    newest: datetime | None = None


class Route(Protocol):
    """A topic's way to its table."""

    envelope: bool
    sink: Sink

    def work(self, topic: str, records: Records, apps: Mapping[int, str], ends: Mapping[int, int]) -> Work:
        """Turn records into what is to be committed; writes nothing."""


@dataclass(frozen=True)
class RouteSpec:
    """A route before it is opened: `topic` without its namespace, the id of the table that carries its offsets."""

    topic: str
    table: str
    dataset: Dataset | None
    freshness_s: float

    @property
    def is_bronze(self) -> bool:
        """Whether this is the copy of a raw topic, for which nobody waits."""
        return self.table.startswith("bronze.")


def route_specs(registry: Registry) -> tuple[RouteSpec, ...]:
    """Every topic that landing reads, with its table."""
    specs = [RouteSpec(kafka.DEAD_LETTER, f"quality.{DEAD_LETTER}", None, 60.0)]
    for dataset in registry.datasets:
        freshness = dataset.sla.freshness.total_seconds()
        if dataset.stream:
            specs.append(RouteSpec(kafka.raw_topic(dataset), f"bronze.{dataset.id}", dataset, freshness))
        if dataset.topic:
            specs.append(RouteSpec(dataset.topic, f"silver.{dataset.id}", dataset, freshness))
    return tuple(specs)


@dataclass(frozen=True)
class Opening:
    """What opening a route needs."""

    settings: Settings
    registry: Registry
    encrypt: Encrypt
    compact_every: int = COMPACT_EVERY

    def open(self, spec: RouteSpec) -> Route:
        """Create or check the table of a route and open it.

        Raises:
            TableDisagrees: the table is not what its contract says.
        """
        if spec.dataset is None:
            readable = frozenset(d.id for d in self.registry.datasets if not d.is_protected)
            sink = Sink.open(self.settings, quality_spec(DEAD_LETTER), compact_every=self.compact_every)
            return DeadLetterRoute(sink, readable, self.encrypt)
        if spec.is_bronze:
            sink = Sink.open(self.settings, bronze_spec(spec.dataset), compact_every=self.compact_every)
            return BronzeRoute(sink)
        encrypt = self.encrypt
        silver = Silver.open(self.settings, self.registry, spec.dataset, encrypt, compact_every=self.compact_every)
        return SilverRoute(silver, encrypt)


class BronzeRoute:
    """A raw topic to bronze: bytes as they came."""

    envelope = True

    def __init__(self, sink: Sink) -> None:
        """`sink`: the bronze table."""
        self.sink = sink

    def work(self, topic: str, records: Records, apps: Mapping[int, str], ends: Mapping[int, int]) -> Work:
        """Append every record."""
        rows = bronze_rows(topic, records)
        batch = Batch(_placed(rows), apps, ends)
        return Work(None, lambda: write_parts(self.sink, [(batch.rows, batch)]), {"rows": rows.num_rows})


class SilverRoute:
    """A clean, aggregate or alarm topic to silver."""

    envelope = False

    def __init__(self, silver: Silver, encrypt: Encrypt) -> None:
        """`silver`: the table; `encrypt`: for the bytes of unreadable records of a protected dataset."""
        self.silver = silver
        self.sink = silver.sink
        self._encrypt = encrypt
        self._parser = Parser(delta.clean_schema(silver.dataset))

    def work(self, topic: str, records: Records, apps: Mapping[int, str], ends: Mapping[int, int]) -> Work:
        """Parse, judge and plan; unreadable records become dead letters with the outcome `refused`."""
        dataset = self.silver.dataset
        parsed = self._parser.parse(records)
        plan = self.silver.plan(Batch(parsed.rows, apps, ends))
        aside = plan.aside
        if parsed.unreadable:
            dead = dead_rows(dataset, topic, records, parsed, self._encrypt)
            known = dead.filter(pc.not_equal(dead["raw_topic"], topic))
            outcomes = [t for t in (aside.outcomes, None if dataset.derived else _refused(known)) if t is not None]
            aside = replace(aside, dead=dead, outcomes=pa.concat_tables(outcomes) if outcomes else None)
        newest = None
        if dataset.event_time and parsed.rows.num_rows:
            newest = pc.max(parsed.rows[dataset.event_time]).as_py()
        counts = {**plan.counts, "unreadable": len(parsed.unreadable)}
        return Work(aside, lambda: self.silver.commit(plan), counts, newest)


class DeadLetterRoute:
    """The dead letter topic to its table; each letter is the outcome `refused` of its raw record."""

    envelope = False

    def __init__(self, sink: Sink, open_datasets: frozenset[str], encrypt: Encrypt) -> None:
        """`open_datasets`: those whose bytes may lie in clear; of any other they are encrypted."""
        self.sink = sink
        self._open = open_datasets
        self._encrypt = encrypt
        self._parser = Parser(DEAD_LETTER_SCHEMA)

    def work(self, topic: str, records: Records, apps: Mapping[int, str], ends: Mapping[int, int]) -> Work:
        """Append the letters; one that is itself unreadable is kept whole under the dataset `unknown`."""
        parsed = self._parser.parse(records)
        letters = self._sealed(parsed.rows)
        letters = pa.concat_tables([letters, self._unknown(topic, records, parsed)])
        batch = Batch(letters, apps, ends)
        known = letters.filter(pc.not_equal(letters["dataset"], "unknown"))
        aside = Aside(batch, outcomes=_refused(known))
        count = letters.num_rows
        return Work(aside, lambda: write_parts(self.sink, [(batch.rows, batch)]), {"refused": count})

    def _sealed(self, letters: pa.Table) -> pa.Table:
        """Encrypt the payloads of protected datasets; there are few, so one by one."""
        clear = pc.is_in(letters["dataset"], value_set=pa.array(sorted(self._open), pa.string()))
        if pc.all(clear, min_count=0).as_py():
            return letters
        payloads = [
            text if is_clear or text is None else self._encrypt(base64.b64decode(text)).decode("ascii")
            for text, is_clear in zip(letters["payload"].to_pylist(), clear.to_pylist(), strict=True)
        ]
        index = letters.schema.get_field_index("payload")
        column: Column = pa.array(payloads, pa.string())
        return letters.set_column(index, "payload", column)

    def _unknown(self, topic: str, records: Records, parsed: Parsed) -> pa.Table:
        rows = [
            {
                "dataset": "unknown",
                "raw_topic": topic,
                "raw_partition": records.parts[number],
                "raw_offset": records.positions[number],
                "received_at": records.timestamps_ms[number] * 1000,
                "reason": UNREADABLE,
                "detail": reason,
                "payload": sealed_payload(records.values[number] or b"", self._encrypt),
                PART: records.parts[number],
                POSITION: records.positions[number],
            }
            for number, reason in parsed.unreadable
        ]
        places = [pa.field(PART, pa.int32()), pa.field(POSITION, pa.int64())]
        return pa.Table.from_pylist(rows, schema=pa.schema([*DEAD_LETTER_SCHEMA, *places]))


def _placed(rows: pa.Table) -> pa.Table:
    return rows.append_column(PART, rows["raw_partition"]).append_column(POSITION, rows["raw_offset"])


def _refused(letters: pa.Table) -> pa.Table:
    """The outcomes of dead letters."""
    count = letters.num_rows
    disposition: Column = repeat("refused", count, pa.string())
    rows = letters.append_column("disposition", disposition)
    return outcome_rows(letters["dataset"], rows, nulls(count, pa.string()))
