"""The sample sector database: tables made from the contracts, filled idempotently, and changed on request.

A source column stands where the contract has a token: the sector system knows the clear name and number, ingestion
replaces them. Every statement runs in one transaction per call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import execute_values

from pipelines.contracts.model import Dataset
from pipelines.contracts.names import double_quote
from pipelines.contracts.registry import Registry
from pipelines.replay.sample import draw_all
from pipelines.replay.sector_copy import conflict_action, copy_rows, sector_of, table_name
from pipelines.runtime.errors import LakeError

_PAGE_ROWS = 1000
Filled = Callable[[str, int], None]
"""Told after each table its dataset and how many rows its sample has."""
_VIOLATIONS: Mapping[str, Mapping[str, Any]] = {
    "feedback_ticket": {
        "ticket_id": "HS-VI-PHAM",
        "created_at": datetime(2025, 11, 1, tzinfo=UTC),
        "updated_at": datetime(2025, 11, 12, tzinfo=UTC),
        "category_code": "traffic",
        "ward_code": "19789",
        "agency_id": "H57.XD",
        "ticket_status": "closed",
        "due_at": datetime(2025, 11, 5, tzinfo=UTC),
        # Closed before it was created.
        "closed_at": datetime(2025, 10, 1, tzinfo=UTC),
        "rating": 5,
        "reporter_name": "Nguyễn Văn An",
        "reporter_phone": "0905000000",
        "content_text": "Phản ánh có ngày đóng trước ngày tạo",
    },
    "road_asset": {
        "asset_id": "DB-VI-PHAM",
        "asset_type": "bridge",
        "road_name": "Lê Lợi",
        # No such ward.
        "ward_code": "00000",
        "condition_score": 80,
        "has_sensor": False,
        "updated_at": datetime(2025, 11, 12, tzinfo=UTC),
    },
    "med_price": {
        "facility_id": "YT-VI-PHAM",
        "facility_name": "Cơ sở thử",
        "service_code": "KB01",
        "service_name": "Khám bệnh chuyên khoa",
        # Below zero.
        "price_vnd": -1,
        "valid_from": date(2025, 1, 1),
    },
}
"""One row that breaks exactly one rule of its contract, for each table of the demo."""
VIOLATED = tuple(_VIOLATIONS)
"""The datasets that :func:`inject_violation` knows a row for."""


@dataclass(frozen=True)
class Mutation:
    """What :func:`mutate` changed, in rows by dataset."""

    inserted: Mapping[str, int]
    updated: Mapping[str, int]


def source_columns(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """Name and PostgreSQL type of every column that the sector system has, in contract order."""
    return tuple((f.source_name, f.type.on("postgres")) for f in dataset.fields)


def create_statements(dataset: Dataset) -> tuple[str, ...]:
    """The idempotent DDL of one sector table; a column that was dropped comes back.

    Only the key is NOT NULL: the sector system does not promise what the contract asks, the quality gate finds out.

    Raises:
        ValueError: the dataset is not a sector table.
    """
    sector = sector_of(dataset)
    table = table_name(dataset)
    columns = source_columns(dataset)
    key = ", ".join(double_quote(k) for k in dataset.key)
    body = ", ".join(f"{double_quote(name)} {kind}" for name, kind in columns)
    adds = (f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {double_quote(n)} {kind}" for n, kind in columns)
    schema = (f"CREATE SCHEMA IF NOT EXISTS {double_quote(sector.schema_name)}",) if sector.schema_name else ()
    return (
        *schema,
        f"CREATE TABLE IF NOT EXISTS {table} ({body}, PRIMARY KEY ({key}))",
        *adds,
    )


def fill(
    dsn: str,
    registry: Registry,
    *,
    seed: int = 7,
    scale: float = 1.0,
    datasets: Collection[str] | None = None,
    progress: Filled | None = None,
) -> dict[str, int]:
    """Create the sector tables of the registry, or those named, and put the sample rows in; returns rows per dataset.

    Idempotent: a second call changes nothing, and a row that was changed later (see :func:`mutate`) is not taken back.

    Raises:
        LakeError: the database cannot be reached or refuses a statement, or a sample contradicts its contract.
    """
    counts = {}
    tables = [d.id for d in registry.sector_tables() if datasets is None or d.id in set(datasets)]
    with _transaction(dsn) as cursor:
        for item in draw_all(registry, seed, scale, tables):
            for statement in create_statements(item.dataset):
                cursor.execute(statement)
            copy_rows(cursor, item.dataset, item.table)
            counts[item.dataset.id] = item.table.num_rows
            if progress:
                progress(item.dataset.id, item.table.num_rows)
    return counts


def mutate(dsn: str, registry: Registry, seed: int) -> Mutation:
    """Change a few rows as a working day does: close open tickets, add new ones, inspect assets, raise a price.

    The cursor columns move on from the newest value there is, so that an incremental load sees exactly these rows.
    Prices get a new row and the old one ends, which a snapshot load sees.
    """
    chance = Random(f"mutate|{seed}")
    with _transaction(dsn) as cursor:
        tickets, assets = registry.dataset("feedback_ticket"), registry.dataset("road_asset")
        now = _newest(cursor, tickets) + timedelta(minutes=5)
        opened = _select(cursor, tickets, "ticket_status <> 'closed'", 5)
        closed = [{**r, "ticket_status": "closed", "closed_at": now, "updated_at": now} for r in opened]
        known = _select(cursor, tickets, "TRUE", 3)
        fresh = [
            {
                **row,
                "ticket_id": f"HS-M{seed:03d}-{index:04d}",
                "created_at": now,
                "updated_at": now + timedelta(seconds=index),
                "due_at": now + timedelta(days=chance.choice((3, 5, 7))),
                "ticket_status": "received",
                "closed_at": None,
                "rating": None,
            }
            for index, row in enumerate(known)
        ]
        _upsert(cursor, tickets, [*closed, *fresh])
        inspected_at = _newest(cursor, assets) + timedelta(hours=1)
        inspected = [
            {
                **row,
                "condition_score": chance.randrange(35, 101),
                "inspected_date": max(inspected_at.date(), row["inspected_date"] or inspected_at.date()),
                "updated_at": inspected_at,
            }
            for row in _select(cursor, assets, "TRUE", 4)
        ]
        _upsert(cursor, assets, inspected)
        ended, raised = _raise_price(cursor, registry.dataset("med_price"))
    return Mutation(
        inserted={"feedback_ticket": len(fresh), "road_asset": 0, "med_price": raised},
        updated={"feedback_ticket": len(closed), "road_asset": len(inspected), "med_price": ended},
    )


def inject_violation(dsn: str, registry: Registry, dataset_id: str) -> dict[str, str]:
    """Put one row in that breaks a rule of its contract, newer than all others; returns its key.

    Raises:
        LakeError: no such row is written down for this dataset.
    """
    if dataset_id not in _VIOLATIONS:
        raise LakeError(f"No violation of {dataset_id} is written down.", f"Allowed: {', '.join(_VIOLATIONS)}.")
    dataset = registry.dataset(dataset_id)
    row = dict(_VIOLATIONS[dataset_id])
    with _transaction(dsn) as cursor:
        if dataset.event_time:
            row[dataset.event_time] = _newest(cursor, dataset) + timedelta(minutes=1)
        _upsert(cursor, dataset, [row])
    return {key: str(row[key]) for key in dataset.key}


def drop_column(dsn: str, registry: Registry, dataset_id: str, column: str) -> None:
    """Take a column away, as an unannounced change of a sector system does; :func:`fill` brings it back.

    Raises:
        LakeError: the column is not one of the table, or belongs to its key.
    """
    dataset = registry.dataset(dataset_id)
    allowed = [name for name, _ in source_columns(dataset) if name not in dataset.key]
    if column not in allowed:
        raise LakeError(f"{dataset_id} has no column {column!r} to drop.", f"Allowed: {', '.join(allowed)}.")
    with _transaction(dsn) as cursor:
        cursor.execute(f"ALTER TABLE {table_name(dataset)} DROP COLUMN IF EXISTS {double_quote(column)}")


def _raise_price(cursor: extensions.cursor, dataset: Dataset) -> tuple[int, int]:
    """End one current price and start another; returns (rows ended, rows begun)."""
    current = _select(cursor, dataset, "valid_to IS NULL", 1)
    ended = [{**r, "valid_to": r["valid_from"] + timedelta(days=365)} for r in current]
    begun = [{**r, "price_vnd": r["price_vnd"] + 1000, "valid_from": r["valid_to"], "valid_to": None} for r in ended]
    _upsert(cursor, dataset, [*ended, *begun])
    return len(ended), len(begun)


def _upsert(cursor: extensions.cursor, dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or replace a few rows by contract key."""
    if not rows:
        return
    names = [name for name, _ in source_columns(dataset)]
    columns = ", ".join(double_quote(n) for n in names)
    key = ", ".join(double_quote(k) for k in dataset.key)
    action = conflict_action(dataset, names, keep_newer=False)
    statement = f"INSERT INTO {table_name(dataset)} AS target ({columns}) VALUES %s ON CONFLICT ({key}) {action}"
    execute_values(cursor, statement, [tuple(row.get(n) for n in names) for row in rows], page_size=_PAGE_ROWS)


def _select(cursor: extensions.cursor, dataset: Dataset, where: str, limit: int) -> list[dict[str, Any]]:
    """The first rows by key that meet a condition written here, never one from outside."""
    names = [name for name, _ in source_columns(dataset)]
    columns = ", ".join(double_quote(n) for n in names)
    key = ", ".join(double_quote(k) for k in dataset.key)
    cursor.execute(f"SELECT {columns} FROM {table_name(dataset)} WHERE {where} ORDER BY {key} LIMIT {limit:d}")
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _newest(cursor: extensions.cursor, dataset: Dataset) -> datetime:
    cursor.execute(f"SELECT max({double_quote(str(dataset.event_time))}) FROM {table_name(dataset)}")
    row = cursor.fetchone()
    if row is None or row[0] is None:
        raise LakeError(f"{table_name(dataset)} is empty.", "Fill it first: lake replay sector.")
    newest: datetime = row[0]
    return newest


@contextmanager
def _transaction(dsn: str) -> Iterator[extensions.cursor]:
    """One transaction in UTC: all of a call or nothing."""
    try:
        link: extensions.connection = psycopg2.connect(dsn, options="-c timezone=UTC", connect_timeout=10)
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise LakeError(f"The sector database does not answer: {reason}.", "Start it: lake up.") from error
    try:
        with link, link.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise LakeError(f"The sector database refused: {str(error).strip()}", "Nothing was changed.") from error
    finally:
        link.close()
