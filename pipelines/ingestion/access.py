"""By which connection a source is read, and which of its columns are."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.connections import Connection, find_connection
from pipelines.runtime.settings import Settings


@dataclass(frozen=True)
class Access:
    """A source, the connection by which it is read here, and the `origin` that its rows carry."""

    source: SectorSource
    connection: Connection
    origin: str


def access_to(settings: Settings, registry: Registry, dataset: Dataset) -> Access:
    """Return how a dataset's source is reached: by the connection that it names (origin observed), or in a namespace
    of an exercise by that of the sample, which stands for every source (origin synthetic).

    Raises:
        ConnectionMissing, ConnectionUnreadable: as :func:`find_connection`; the sample never stands in unasked.
    """
    source = registry.source_of(dataset)
    sample = settings.sector_sample
    if sample is None:
        return Access(source, find_connection(source.connection), "observed")
    return Access(source.model_copy(update={"kind": "postgresql"}), find_connection(sample), "synthetic")


def key_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns of the source that make up the key, in contract order."""
    return tuple(dict.fromkeys(item.source_name for item in dataset.fields if item.name in dataset.key))


def source_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns to read, in contract order: a tokenised field is read from its raw column."""
    return tuple(dict.fromkeys(item.source_name for item in dataset.fields))
