"""Which devices are known, when each was last heard of, and which have fallen silent.

A stream names its device and with it a register: a code list, known at once, or another dataset, read from its silver
table. A register that has no table yet checks nothing and says so: on a flood night a gauge must not wait for a list.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.settings import Settings

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Register:
    """The devices of one stream: id → what the register says of it in the stream's own fields.

    `name` is the code list or dataset. `version` is that of the table that was read; None for a code list, and for a
    table that does not exist, which then has no `devices`.
    """

    name: str
    devices: Mapping[str, Mapping[str, Any]] | None = field(repr=False)
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """The devices of one stream now. `reporting` + `silent` + `never` = `registered`; 0 where nothing is checked.

    `names` are some of the silent ones, `never_names` some of those that never reported. A device is silent when it
    has not been heard of within the freshness that the contract promises.
    """

    dataset: str
    register: str
    is_checked: bool
    registered: int
    reporting: int
    silent: int
    never: int
    unknown: int
    names: tuple[str, ...]
    never_names: tuple[str, ...] = ()


class Devices:
    """The registers of a namespace's streams. `refresh` reads them; the rest only looks."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        """Read the code lists, and the tables that exist."""
        self._settings = settings
        self.registers: dict[str, Register] = {}
        self.heard: dict[str, dict[str, datetime]] = {}
        self.refresh(registry)

    def refresh(self, registry: Registry) -> None:
        """Read what has changed; a table only when it has a new version."""
        found = {}
        for dataset in registry.streams():
            if dataset.register is not None:
                found[dataset.id] = self._register(dataset, registry, self.registers.get(dataset.id))
        self.registers = found

    def is_known(self, dataset: str, device: str) -> bool:
        """Whether a device may send: registered, or nothing is checked."""
        register = self.registers.get(dataset)
        return register is None or register.devices is None or device in register.devices

    def unknown(self, dataset: str, devices: Iterable[str]) -> set[str]:
        """Those devices that are not registered; none where nothing is checked."""
        register = self.registers.get(dataset)
        if register is None or register.devices is None:
            return set()
        return set(devices) - register.devices.keys()

    def says(self, dataset: str, device: object) -> Mapping[str, Any]:
        """What the register says of a device in the stream's own fields: a ward, for example."""
        register = self.registers.get(dataset)
        return (register.devices or {}).get(str(device), {}) if register is not None else {}

    def hear(self, dataset: str, devices: Iterable[str], at: datetime) -> None:
        """Note that devices have sent something useful."""
        self.heard.setdefault(dataset, {}).update(dict.fromkeys(devices, at))

    def silence(self, streams: Iterable[Dataset], unknown: Mapping[str, int], now: datetime) -> tuple[Silence, ...]:
        """The state of every stream whose devices are registered; `unknown` counts quarantined records by stream."""
        return tuple(
            _silence(dataset, register, dict(self.heard.get(dataset.id, {})), unknown.get(dataset.id, 0), now)
            for dataset in streams
            if (register := self.registers.get(dataset.id)) is not None
        )

    def _register(self, dataset: Dataset, registry: Registry, before: Register | None) -> Register:
        assert dataset.stream is not None and dataset.stream.device is not None
        item = dataset.field(dataset.stream.device)
        if item.references is None:
            code_list = registry.code_list(str(item.code_list))
            shared = [c.name for c in code_list.columns if c.name in dataset.has and c.name != code_list.key]
            rows = {str(row[code_list.key]): {name: row[name] for name in shared} for row in code_list.rows}
            return Register(code_list.id, rows)
        path = self._settings.table_path("silver", item.references.dataset)
        return _from_table(path, item.references.dataset, item.references.field, before)


def _from_table(path: Path, name: str, key: str, before: Register | None) -> Register:
    if not (path / "_delta_log").is_dir():
        return Register(name, None)
    table = DeltaTable(str(path))
    version = int(table.version())
    if before is not None and before.name == name and before.version == version:
        return before
    ids = pc.unique(arrow_table(table, columns=[key])[key]).drop_null().to_pylist()
    # An empty table is one that has not been loaded: it knows nobody, and checks nobody.
    return Register(name, {str(device): {} for device in ids} or None, version)


def _silence(
    dataset: Dataset, register: Register, heard: Mapping[str, datetime], unknown: int, now: datetime
) -> Silence:
    if register.devices is None:
        return Silence(dataset.id, register.name, False, 0, 0, 0, 0, unknown, ())
    since = now - max(dataset.sla.freshness, timedelta(seconds=1))
    known = register.devices.keys()
    silent = sorted(device for device, at in heard.items() if device in known and at < since)
    never = sorted(known - heard.keys())
    reporting = len(known) - len(never) - len(silent)
    return Silence(
        dataset.id, register.name, True, len(known), reporting, len(silent), len(never), unknown,
        tuple(silent[:_SHOWN]), tuple(never[:_SHOWN]),
    )  # fmt: skip


class Heard:
    """When each device was last heard of, kept over restarts; loses at most the last seconds before a kill."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the gateway's own database."""
        self._db = db
        db.execute(
            "create table if not exists heard (dataset text, device text, at text, primary key (dataset, device))"
        )

    def load(self) -> dict[str, dict[str, datetime]]:
        """Everything that was saved."""
        found: dict[str, dict[str, datetime]] = {}
        for dataset, device, at in self._db.execute("select dataset, device, at from heard"):
            found.setdefault(dataset, {})[device] = datetime.fromisoformat(at)
        return found

    def save(self, heard: Mapping[str, Mapping[str, datetime]], since: datetime) -> None:
        """Save what was heard after `since`."""
        rows = [
            (dataset, device, at.astimezone(UTC).isoformat())
            for dataset, devices in list(heard.items())
            for device, at in list(devices.items())
            if at >= since
        ]
        if rows:
            self._db.execute("begin immediate")
            self._db.executemany("insert or replace into heard values (?, ?, ?)", rows)
            self._db.execute("commit")
