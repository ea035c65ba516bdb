"""What Trino knows of a namespace: schemas, registered tables, and the live views.

Everything is derived from what lies on disk and is idempotent: a table that appeared is registered, one that is gone
is unregistered, a live view is created where its table is; data is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino as target
from pipelines.ingestion.records import open_runs
from pipelines.publishing.catalog import write_catalog
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.trino import PLATFORM_USER, ensure_catalog, execute_at

_WHOLE_LAYERS = ("silver", "gold", "quality", "catalog")
REGISTERED_LAYERS = (*_WHOLE_LAYERS, "bronze")
"""Of bronze only the tables of which a view tells the history: what else arrived is read by rebuilds and
investigations on the lake itself."""
SCHEMAS = (*REGISTERED_LAYERS, target.PUBLISHED, target.LIVE)


class Platform:
    """Trino as the user that owns every table and view of one namespace."""

    def __init__(self, settings: Settings) -> None:
        """Take the address of the running Trino.

        Raises:
            ServiceError: Trino is not running.
        """
        self._url = endpoints(settings).trino
        self.catalog = settings.catalog

    def query(self, statement: str) -> list[Sequence[Any]]:
        """Run one statement, names qualified by the catalog, and return its rows.

        Raises:
            ServiceError: Trino refused it or does not answer.
        """
        return execute_at(self._url, PLATFORM_USER, statement)

    def view_definitions(self, schema: str) -> Mapping[str, str]:
        """The SQL of every view of a schema, by name: what people read, whatever the records say."""
        rows = self.query(
            f"SELECT table_name, view_definition FROM {double_quote(self.catalog)}.information_schema.views "
            f"WHERE table_schema = {literal(schema)}"
        )
        return {str(name): str(definition) for name, definition in rows}


@dataclass(frozen=True)
class Registration:
    """What :func:`register` changed: ``schema.table`` of each."""

    registered: tuple[str, ...]
    unregistered: tuple[str, ...]


def ensure_schemas(platform: Platform) -> None:
    """Create the schemas of the namespace's catalog that are missing."""
    known = {str(row[0]) for row in platform.query(f"SHOW SCHEMAS FROM {double_quote(platform.catalog)}")}
    for schema in SCHEMAS:
        if schema not in known:
            platform.query(f"CREATE SCHEMA IF NOT EXISTS {double_quote(platform.catalog)}.{double_quote(schema)}")


def register(settings: Settings, registry: Registry, platform: Platform) -> Registration:
    """Make Trino know exactly the Delta tables that lie on disk in the served layers."""
    catalog = double_quote(platform.catalog)
    on_disk = set(tables_on_disk(settings, registry))
    listed = ", ".join(literal(layer) for layer in REGISTERED_LAYERS)
    rows = platform.query(
        f"SELECT table_schema, table_name FROM {catalog}.information_schema.tables WHERE table_schema IN ({listed})"
    )
    known = {(str(schema), str(table)) for schema, table in rows}
    new, gone = sorted(on_disk - known), sorted(known - on_disk)
    for schema, table in new:
        platform.query(
            f"CALL {catalog}.system.register_table({literal(schema)}, {literal(table)}, "
            f"{literal(f'local:///{schema}/{table}')})"
        )
    for schema, table in gone:
        platform.query(f"CALL {catalog}.system.unregister_table({literal(schema)}, {literal(table)})")
    return Registration(tuple(".".join(pair) for pair in new), tuple(".".join(pair) for pair in gone))


def tables_on_disk(settings: Settings, registry: Registry) -> list[tuple[str, str]]:
    """Layer and name of every Delta table that is served, sorted."""
    histories = {dataset.id for dataset in registry.datasets if target.has_history(dataset)}
    return sorted(
        (layer, folder.name)
        for layer in REGISTERED_LAYERS
        for folder in settings.table_path(layer, "_").parent.glob("[a-z]*")
        if (layer in _WHOLE_LAYERS or folder.name in histories)
        and (folder / "_delta_log").is_dir()
        and DeltaTable.is_deltatable(str(folder))
    )


def ensure_unpinned_views(settings: Settings, registry: Registry, platform: Platform) -> tuple[str, ...]:
    """Create the unpinned views that are missing or changed in their columns, and drop those of datasets of which
    nothing may be shown any more; returns ``<schema>.<name>`` of each.

    Streams get a view beside their silver table, stewards one of each quality table (replaced every time: what it
    hides follows from the contracts, which its columns do not show), readers one of each catalogue table and code list.
    """
    present = set(tables_on_disk(settings, registry))
    known = view_columns(platform, target.LIVE)
    changed = []
    for dataset in registry.datasets:
        if dataset.id in known and not target.is_live(dataset):
            platform.query(target.drop_view(platform.catalog, target.LIVE, dataset.id))
            changed.append(f"{target.LIVE}.{dataset.id}")
        if not target.is_live(dataset) or ("silver", dataset.id) not in present:
            continue
        if known.get(dataset.id) != (*target.granted_columns(dataset), target.LABEL_COLUMN):
            platform.query(target.live_view(platform.catalog, dataset))
            changed.append(f"{target.LIVE}.{dataset.id}")
    changed.extend(_ensure_histories(registry, platform, present, known))
    if ("quality", "load_run") in present:
        # Its view names every column; one that the table is to gain would else be missing until the next load.
        open_runs(settings)
    protected = tuple(d.id for d in registry.datasets if d.is_protected)
    for table, statement in target.steward_views(platform.catalog, protected).items():
        if ("quality", table) in present:
            platform.query(statement)
            changed.append(f"{target.LIVE}.quality_{table}")
    for table, statement in target.catalog_views(platform.catalog).items():
        if ("catalog", table) in present:
            platform.query(statement)
            changed.append(f"{target.LIVE}.catalog_{table}")
    known = view_columns(platform, target.PUBLISHED)
    for code_list in registry.code_lists:
        name = f"code_{code_list.id}"
        if ("silver", name) in present and known.get(name) != tuple(c.name for c in code_list.columns):
            platform.query(target.code_list_view(platform.catalog, code_list))
            changed.append(f"{target.PUBLISHED}.{name}")
    return tuple(changed)


def _ensure_histories(
    registry: Registry, platform: Platform, present: set[tuple[str, str]], known: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Create the views of what rows once said, and drop those of contracts that keep it no more."""

    def needed(dataset: Dataset) -> set[tuple[str, str]]:
        return {("bronze", dataset.id), ("silver", dataset.id), ("quality", "outcome")}

    for dataset in registry.datasets:
        name = target.history_name(dataset)
        if not target.has_history(dataset):
            if dataset.sector is not None and name in known:
                platform.query(target.drop_view(platform.catalog, target.LIVE, name))
                yield f"{target.LIVE}.{name}"
        elif needed(dataset) <= present and known.get(name) != target.history_columns(dataset):
            platform.query(target.history_view(platform.catalog, dataset))
            yield f"{target.LIVE}.{name}"


def view_columns(platform: Platform, schema: str) -> Mapping[str, tuple[str, ...]]:
    """The columns of every view of a schema in order, by name."""
    rows = platform.query(
        f"SELECT table_name, column_name FROM {double_quote(platform.catalog)}.information_schema.columns "
        f"WHERE table_schema = {literal(schema)} ORDER BY table_name, ordinal_position"
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(str(table), []).append(str(column))
    return {table: tuple(columns) for table, columns in found.items()}


def ensure_serving(settings: Settings, registry: Registry) -> Registration:
    """Catalogue tables, Trino's catalog, schemas, registration and live views, all idempotent: call it whenever tables
    may have appeared.

    The catalogue is written here because everything that changes what people read comes by: applying the contracts,
    publishing, maintenance. What a view shows and what the catalogue says of it can then not drift apart.
    """
    write_catalog(settings, registry)
    ensure_catalog(settings)
    platform = Platform(settings)
    ensure_schemas(platform)
    registration = register(settings, registry, platform)
    ensure_unpinned_views(settings, registry, platform)
    return registration
