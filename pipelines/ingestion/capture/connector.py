"""What a source's capture is called everywhere, and how its connector is set up; pure.

Values come as text that says them exactly (decimals with their digits, times as ISO 8601), and only columns that the
contracts know: what nobody has classified yet does not leave the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import Access, key_columns, source_columns
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.plan import sector_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

KEPT = timedelta(days=7)
"""How long a change waits in its topic for a load."""
HEARTBEAT = timedelta(seconds=2)
"""How often the source's log is marked, and with it how far it is read: a load waits for one mark."""
MISSING_VALUE = "lake:value-not-in-the-log"
"""What stands for a value that the log does not hold, because it is large and did not change."""
_MARK = "lake"
_LONGEST_NAME = 63
_EXTRAS = {"sslmode": "database.sslmode", "sslrootcert": "database.sslrootcert"}
SHAPE = ("table.include.list", "column.include.list", "message.key.columns")
"""What a running capture cannot change: the rows that were read before would lack it."""


@dataclass(frozen=True)
class Topic:
    """A topic as :func:`pipelines.runtime.kafka.ensure_topics` wants it; one partition keeps the order of the log."""

    name: str
    kept: timedelta = KEPT
    partitions: int = 1

    @property
    def config(self) -> tuple[tuple[str, str], ...]:
        """Deleted by age alone: nothing is compacted away before it was loaded."""
        return (("cleanup.policy", "delete"), ("retention.ms", str(self.kept // timedelta(milliseconds=1))))


@dataclass(frozen=True)
class Capture:
    """The capture of one source in one namespace: the tables of `datasets`, in the order of their ids."""

    settings: Settings
    access: Access
    datasets: tuple[Dataset, ...]

    @property
    def source(self) -> str:
        """The id of the source."""
        return self.access.source.id

    @property
    def name(self) -> str:
        """The connector, and what its topics begin with."""
        return self.settings.topic(_prefix(self.source))

    @property
    def slot(self) -> str:
        """The slot of the source's log and the publication of its tables.

        Raises:
            LakeError: PostgreSQL would cut the name.
        """
        name = f"lake_{self.settings.namespace}_{self.source}"
        if len(name) > _LONGEST_NAME:
            raise LakeError(
                f"The name {name} of a slot is longer than {_LONGEST_NAME} letters.", "Shorten one of them."
            )
        return name

    @property
    def places(self) -> tuple[str, ...]:
        """The tables, each with its schema."""
        return tuple(sector_of(dataset).place for dataset in self.datasets)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """One for each table, and one for the marks of the log."""
        marks = Topic(f"{_MARK}.{self.name}", timedelta(hours=1))
        return (*(Topic(topic_of(dataset)) for dataset in self.datasets), marks)

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the connector signs in with, by the name of its file."""
        return {"user": self.access.connection.login, "password": self.access.connection.password}

    @property
    def config(self) -> dict[str, str]:
        """The connector's configuration; where it signs in stands in it, and never with what.

        Raises:
            LakeError: the connection asks for something that a connector cannot do.
        """
        connection = self.access.connection
        if unknown := sorted(set(connection.extra) - set(_EXTRAS)):
            raise LakeError(
                f"The connection {connection.id!r} has extras that a capture does not use: {', '.join(unknown)}.",
                f"Allowed in {variable_of(connection.id)}: {', '.join(_EXTRAS)}.",
            )
        folder = self.settings.capture_secrets / self.name
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "exactly.once.support": "required",
            "database.hostname": connection.host,
            "database.port": str(connection.port or 5432),
            "database.dbname": connection.database,
            **{name: f"${{dir:{folder}:{file}}}" for name, file in _SIGN_IN.items()},
            **{_EXTRAS[name]: str(value) for name, value in sorted(connection.extra.items())},
            "topic.prefix": self.name,
            "plugin.name": "pgoutput",
            "slot.name": self.slot,
            "publication.name": self.slot,
            "publication.autocreate.mode": "disabled",
            "table.include.list": ",".join(map(re.escape, self.places)),
            "column.include.list": ",".join(map(_columns, self.datasets)),
            "message.key.columns": ";".join(map(_key, self.datasets)),
            "snapshot.mode": "initial",
            # A slot that was made anew lacks what was written before: that is an error, not a beginning.
            "offset.mismatch.strategy": "trust_offset",
            "decimal.handling.mode": "string",
            "time.precision.mode": "isostring",
            "unavailable.value.placeholder": MISSING_VALUE,
            "tombstones.on.delete": "false",
            "skipped.operations": "none",
            "heartbeat.interval.ms": str(HEARTBEAT // timedelta(milliseconds=1)),
            # Without it, a log that others write would be kept for us for as long as our tables rest.
            "heartbeat.action.query": f"select pg_logical_emit_message(true, '{_MARK}', '')",
            "message.prefix.exclude.list": _MARK,
            "topic.heartbeat.prefix": self.settings.topic(_MARK),
        }


_SIGN_IN = {"database.user": "user", "database.password": "password"}


def topic_of(dataset: Dataset) -> str:
    """The topic of a captured table, without its namespace."""
    return f"{_prefix(sector_of(dataset).source)}.{sector_of(dataset).place}"


def captured(registry: Registry, source: str | None = None) -> tuple[Dataset, ...]:
    """The datasets whose tables are captured, of one source or all."""
    found = (d for d in registry.sector_tables() if sector_of(d).mode == "capture")
    return tuple(d for d in found if source in (None, sector_of(d).source))


def changed_shape(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Which parts differ that a running capture cannot change."""
    return tuple(name for name in SHAPE if old.get(name) != new[name])


def _prefix(source: str) -> str:
    return f"change.{source}"


def _columns(dataset: Dataset) -> str:
    return f"{re.escape(sector_of(dataset).place)}\\.({_any(source_columns(dataset))})"


def _key(dataset: Dataset) -> str:
    return f"{re.escape(sector_of(dataset).place)}:{','.join(key_columns(dataset))}"


def _any(names: Sequence[str]) -> str:
    return "|".join(map(re.escape, names))
