"""The service behind an ODCS contract: where the data are, who may read them, and what is promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pipelines.contracts import durations
from pipelines.contracts.model import Dataset, Sector
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import number
from pipelines.contracts.sources import SectorSource
from pipelines.contracts.targets.kafka import raw_topic
from pipelines.contracts.targets.trino import PUBLISHED, is_granted
from pipelines.contracts.words import both

_DATABASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "postgresql": ("postgresql", {"port": 5432, "database": "${SECTOR_DATABASE}"}),
    # The standard knows it by the protocol that it speaks.
    "mariadb": ("mysql", {"port": 3306, "database": "${SECTOR_DATABASE}"}),
    "mssql": ("sqlserver", {"port": 1433, "database": "${SECTOR_DATABASE}"}),
    "oracle": ("oracle", {"port": 1521, "serviceName": "${SECTOR_DATABASE}"}),
}
"""Kind of a source → the standard's word for it, and what a server of that type says beside its host."""


def _sector(sector: Sector, source: SectorSource, owner: str) -> dict[str, Any]:
    """Where a sector table is read: a database, or the place of its files."""
    title, known = both(source.title), {"customProperties": list(custom({"source": source.id}))}
    if sector.file is not None:
        is_bucket = source.kind == "s3"
        place = (
            {"location": f"s3://${{SECTOR_BUCKET}}/{sector.place}"}
            if is_bucket
            else {"path": f"${{SECTOR_PATH}}/{sector.place}"}
        )
        said = {"type": "s3" if is_bucket else "local", "description": f"{title} ({owner}).", **place}
        return {**said, "format": sector.file.format, **known}
    kind, address = _DATABASES[source.kind]
    schema = {"schema": sector.schema_name} if sector.schema_name else {}
    description = f"{title} ({owner}), table {sector.table}."
    return {"type": kind, "description": description, "host": "${SECTOR_HOST}", **address, **schema, **known}


def servers(dataset: Dataset, registry: Registry) -> Iterator[dict[str, Any]]:
    """Where the data flow, come from and are queried; every address is a placeholder."""
    if dataset.topic:
        topics = [raw_topic(dataset), dataset.topic] if dataset.stream else [dataset.topic]
        yield {
            "server": "stream",
            "type": "kafka",
            "environment": "${LAKE_NAMESPACE}",
            "host": "${KAFKA_BOOTSTRAP}",
            "format": "json",
            "customProperties": list(custom({"topics": [f"${{LAKE_NAMESPACE}}.{topic}" for topic in topics]})),
        }
    if dataset.sector:
        source = registry.source_of(dataset)
        yield {"server": "sector", **_sector(dataset.sector, source, dataset.owner)}
    if any(is_granted(item) for item in dataset.fields):
        yield {
            "server": "query",
            "type": "trino",
            "environment": "${LAKE_NAMESPACE}",
            "host": "${TRINO_HOST}",
            "port": 8080,
            "catalog": "lake",
            "schema": PUBLISHED,
        }


def roles(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Who may do what: people read the published view, the platform writes."""
    if any(is_granted(item) for item in dataset.fields):
        withheld = [item.name for item in dataset.fields if not is_granted(item)]
        without = f", without {', '.join(withheld)}" if withheld else ""
        yield {"role": "reader", "access": "read", "description": f"Reads the {PUBLISHED} view{without}."}
    yield {"role": "platform", "access": "write", "description": "Writes the tables; nobody else reads them."}


def sla(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Freshness is called latency in the standard: how old the newest row may be, by the column that says its time."""
    timed = {"element": f"{dataset.id}.{dataset.event_time}"} if dataset.event_time else {}
    yield {**_promise("latency", dataset.sla.freshness), **timed}
    if dataset.stream:
        yield _promise("frequency", dataset.stream.cadence)
    if dataset.sector:
        schedule = {"scheduler": "cron", "schedule": dataset.sector.schedule}
        yield {"id": "frequency", "property": "frequency", "value": dataset.sector.schedule, **schedule}
    for layer in ("bronze", dataset.layer):
        kept = dataset.retention.bronze if layer == "bronze" else dataset.retention.silver
        if layer == "bronze" and not (dataset.stream or dataset.sector):
            continue
        yield {**_promise("retention", kept), "id": f"retention_{layer}", "element": f"{layer}.{dataset.id}"}
    if dataset.sla.completeness_pct is not None:
        value = number(dataset.sla.completeness_pct)
        yield {"id": "completeness", "property": "completeness", "value": value, "unit": "percent"}
    if dataset.end_date is not None:
        yield {"id": "end_of_life", "property": "endOfLife", "value": dataset.end_date.isoformat()}


def _promise(name: str, duration: timedelta) -> dict[str, Any]:
    value, unit = durations.parts(duration)
    return {"id": name, "property": name, "value": value, "unit": unit}


def custom(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the standard has no word for, in its form; None is left out."""
    for name, value in values.items():
        if value is not None:
            yield {"property": name, "value": value}
