"""`lake ledger`: what became of every record, from the raw offset to the pin; it fails when it does not add up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from pipelines.contracts import system
from pipelines.contracts.registry import Registry
from pipelines.landing.broker import Broker, Range
from pipelines.landing.ledger import DatasetLedger, Ledger, ledger
from pipelines.publishing import ledger as publication_ledger
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

ledger_app = typer.Typer()
Ranges = Mapping[str, Mapping[int, Range]]
TERMS = ("received", "refused", "duplicate", "accepted", "on_time", "late", "corrected")
EFFECTS = (*system.EFFECTS, "in_flight", "rows_in_silver")


@dataclass(frozen=True)
class Pin:
    """What people read of one dataset, counted twice: by the view in Trino, and by the log of the pinned version.

    ``rows_newest`` are those of the newest version, which waits for its verdict; ``rows_in_view`` is None without
    Trino.
    """

    dataset: str
    version: int
    rows_of_version: int
    rows_in_view: int | None
    rows_newest: int

    @property
    def violation(self) -> str | None:
        """The sentence that says what does not add up, None when it does."""
        if self.rows_in_view is None or self.rows_in_view == self.rows_of_version:
            return None
        of_version = f"rows of version {self.version} = {self.rows_of_version}"
        return f"{self.dataset}: rows at the pin = {self.rows_in_view}, but {of_version}"


@dataclass(frozen=True)
class Balance:
    """The ledger of the records, and the pins."""

    records: Ledger
    pins: tuple[Pin, ...]

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that does not add up, each sentence with its dataset's name."""
        return (*self.records.violations, *(p.violation for p in self.pins if p.violation))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **self.records.to_dict(),
            "balances": not self.violations,
            "violations": list(self.violations),
            "pins": [vars(pin) for pin in self.pins],
        }


def kafka_ranges(settings: Settings, registry: Registry, bootstrap: str) -> Ranges:
    """What the raw topics hold: topic with namespace → partition → range."""
    broker = Broker(bootstrap)
    topics = broker.topics(settings.topic(f"raw.{d.id}") for d in registry.streams())
    found: dict[str, dict[int, Range]] = {name: {} for name in topics}
    for (name, partition), span in broker.ranges(topics.values()).items():
        found[name][partition] = span
    return found


def unsettled(balance: Ledger) -> tuple[str, ...]:
    """Datasets of which a record is still on its way, or that do not add up (yet)."""
    waiting = {entry.dataset for entry in balance.datasets if entry.in_flight or entry.ahead or entry.violations}
    return tuple(sorted(waiting))


def read_balance(settings: Settings, registry: Registry) -> Balance:
    """Count everything that can be counted now: Kafka and Trino are asked when they run, the tables always."""
    where = endpoints(settings)
    try:
        ranges: Ranges | None = kafka_ranges(settings, registry, where.kafka)
    except ServiceError:
        ranges = None
    return Balance(ledger(settings, registry, ranges), tuple(_pins(settings)))


def _pins(settings: Settings) -> list[Pin]:
    pins = []
    current = publication_ledger.current(publication_ledger.publications(settings))
    for name, publication in sorted(current.items()):
        path = str(settings.table_path(publication.layer, name))
        pinned = DeltaTable(path, version=publication.version)
        pins.append(
            Pin(name, publication.version, pinned.count(), _rows_in_view(settings, name), DeltaTable(path).count())
        )
    return pins


def _rows_in_view(settings: Settings, dataset: str) -> int | None:
    from pipelines.contracts.names import double_quote
    from pipelines.serving.trino import Client

    try:
        with Client(settings) as client:
            return int(client.query(f"SELECT count(*) FROM published.{double_quote(dataset)}")[0][0])
    except ServiceError:
        return None


def print_ledger(balance: Balance, console: Console) -> None:
    """Print the terms as two tables, then what does not add up."""
    table = Table("bộ dữ liệu", *TERMS, *EFFECTS, title="Sổ đối soát — ledger of records", title_justify="left")
    for entry in balance.records.datasets:
        if entry.received:
            table.add_row(entry.dataset, *(_number(entry, term) for term in (*TERMS, *EFFECTS)))
    console.print(table)
    if balance.pins:
        pins = Table(
            "bộ dữ liệu",
            "bản ghim (version)",
            "dòng ở bản ghim",
            "dòng đọc qua Trino",
            "dòng mới nhất",
            title="Bản công bố — pins",
            title_justify="left",
        )
        for pin in balance.pins:
            shown = "—" if pin.rows_in_view is None else f"{pin.rows_in_view:,}"
            pins.add_row(pin.dataset, str(pin.version), f"{pin.rows_of_version:,}", shown, f"{pin.rows_newest:,}")
        console.print(pins)
    for sentence in balance.violations:
        console.print(f"✗ {sentence}", style="red", markup=False)
    if not balance.violations:
        console.print("✓ Khớp: mọi bản ghi đều có kết cục — every record is accounted for.")


def _number(entry: DatasetLedger, term: str) -> str:
    return f"{getattr(entry, term):,}"


@ledger_app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Count every raw record's outcome; exit status 1 names the datasets that do not add up."""
    settings = Settings.load()
    registry = registry_of(settings)
    balance = read_balance(settings, registry)
    if as_json:
        print(json.dumps(balance.to_dict(), ensure_ascii=False, indent=2))
    else:
        print_ledger(balance, Console())
    if balance.violations:
        raise LakeError(f"The ledger of {settings.namespace} does not balance: {'; '.join(balance.violations)}.")
