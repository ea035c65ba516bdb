"""Sources of the sector: which databases, folders, buckets and services of an agency are read, when and how gently.

A source says under which name its connection is known, never where it is or how to sign in: that belongs to an
installation, see :mod:`pipelines.ingestion.connections`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_serializer, model_validator

from pipelines.contracts.base import Duration, Model, Name
from pipelines.contracts.errors import ContractError
from pipelines.contracts.model import Text
from pipelines.contracts.schedules import CRON_HINT, times_of_day

if TYPE_CHECKING:
    from pipelines.contracts.registry import Registry

Kind = Literal["postgresql", "mariadb", "mssql", "oracle", "folder", "s3", "rest"]
DATABASES: tuple[Kind, ...] = ("postgresql", "mariadb", "mssql", "oracle")
"""The kinds that have tables."""
CAPTURED: Kind = "postgresql"
"""The kind whose tables can tell their changes."""
INBOXES: tuple[Kind, ...] = ("folder", "s3")
"""The kinds in which files are delivered."""
SERVICES: tuple[Kind, ...] = ("rest",)
"""The kinds that are asked over HTTP."""
_WINDOW = re.compile(r"(\d\d:\d\d)\s*[–-]\s*(\d\d:\d\d)\Z")


class Window(Model):
    """Hours of the day in Huế, from `begin` until just before `end`, perhaps over midnight: written 22:00–05:00."""

    begin: time
    end: time

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        match = _WINDOW.match(given)
        if not match or match[1] == match[2]:
            raise ValueError(f"{given!r} is no window; write two times of the day, for example 22:00–05:00")
        return {"begin": match[1], "end": match[2]}

    @model_serializer
    def _written(self) -> str:
        return str(self)

    def holds(self, at: time) -> bool:
        """Whether a time of the day lies in the window."""
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end

    def outside(self, schedule: str) -> time | None:
        """The first time of the day at which a cron line runs outside of the window; None when there is none.

        Raises:
            ValueError: it is no cron line.
        """
        return next((at for at in times_of_day(schedule) if not self.holds(at)), None)

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.begin:%H:%M}–{self.end:%H:%M}"


class Timeouts(Model):
    """How long a read waits for the source: until it is connected, for a lock, for one statement or request."""

    connect: Duration = timedelta(seconds=10)
    lock: Duration = timedelta(seconds=10)
    statement: Duration = timedelta(minutes=30)

    @model_validator(mode="after")
    def _some_time(self) -> Timeouts:
        for name in type(self).model_fields:
            if getattr(self, name) < timedelta(seconds=1):
                raise ValueError(f"`{name}` is at least 1 s: 0 would wait for ever")
        return self


class SectorSource(Model):
    """The content of ``schemas/sources/<id>.yaml``: one database, folder, bucket or service that an agency opens to us.

    ``connection`` is the id of a connection as Airflow knows it. ``schedule`` is the cron line, in Huế's time, of every
    dataset that names none of its own. ``pool`` is how many tasks may read the source at once, ``parallel`` how many
    connections one read of a table may open. ``window``: when a table may be read as a whole. ``time_zone`` is the zone
    of columns that hold a time without one; such columns are refused where it is not said.
    """

    id: Name
    title: Text
    kind: Kind
    connection: Name
    agency: str
    schedule: str
    pool: int = Field(default=1, ge=1, le=32)
    window: Window | None = None
    time_zone: str | None = None
    parallel: int = Field(default=1, ge=1, le=16)
    timeouts: Timeouts = Timeouts()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            return name and ZoneInfo(name).key
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write one like Asia/Ho_Chi_Minh") from None

    @model_validator(mode="before")
    @classmethod
    def _of_databases(cls, given: Any) -> Any:
        kind = given.get("kind") if isinstance(given, dict) else None
        for name in ("time_zone", "parallel") if isinstance(kind, str) and kind not in DATABASES else ():
            if name in given:
                raise ValueError(f"`{name}` is for databases ({', '.join(DATABASES)}), not for the kind {kind}")
        return given

    @property
    def is_database(self) -> bool:
        """Whether it has tables."""
        return self.kind in DATABASES


def check_sources(registry: Registry) -> Iterator[ContractError]:
    """Check that every source belongs to an agency, and that its schedule is a cron line inside its window."""
    agencies = registry.code_list("agencies").codes
    for source in registry.sector_sources:
        where = registry.sector_source_files[source.id].where
        if source.agency not in agencies:
            message, hint = f"agency {source.agency!r} is not listed", f"allowed: {', '.join(agencies)}"
            yield ContractError(message, where=where("agency"), dataset=source.id, hint=hint)
        try:
            outside = source.window.outside(source.schedule) if source.window else None
            next(times_of_day(source.schedule))
        except ValueError as error:
            message = f"{source.schedule!r} is no cron line: {error}"
            yield ContractError(message, where=where("schedule"), dataset=source.id, hint=CRON_HINT)
        else:
            if outside:
                message = f"{source.schedule!r} runs at {outside:%H:%M}, outside of the window {source.window}"
                hint = "move the schedule or widen the window; both are in Huế's time"
                yield ContractError(message, where=where("schedule"), dataset=source.id, hint=hint)
