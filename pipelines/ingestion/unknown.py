"""What columns hold that a source has and its contract does not know, for whoever writes the next version of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as pads
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.gateway.objects import open_store
from pipelines.ingestion.protect import UNKNOWN
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.settings import Settings

_LOOKED_AT = 5_000
_SHOWN = 3


@dataclass(frozen=True)
class UnknownColumn:
    """A column of the newest rows that have such: how many of those looked at have a value, and some of them."""

    name: str
    rows: int
    looked_at: int
    examples: tuple[str, ...]


def unknown_columns(settings: Settings, dataset: Dataset) -> list[UnknownColumn]:
    """Decrypt what bronze keeps of columns that the contract does not know, by name.

    Raises:
        cryptography.fernet.InvalidToken: the key by which it was encrypted is not here any more.
    """
    path = str(settings.table_path("bronze", dataset.id))
    if not DeltaTable.is_deltatable(path):
        return []
    rows = arrow_dataset(DeltaTable(path))
    if UNKNOWN not in rows.schema.names:
        return []
    held: Any = pads.field(UNKNOWN).is_valid()
    sealed = rows.to_table([UNKNOWN, "raw_offset"], filter=held)
    newest: list[Any] = sealed.sort_by([("raw_offset", "descending")])[UNKNOWN].slice(0, _LOOKED_AT).to_pylist()
    cipher = open_store(settings).cipher
    found: Mapping[str, list[str]] = defaultdict(list)
    for text in newest:
        for name, value in json.loads(cipher.decrypt(text)).items():
            found[name].append(value)
    return [
        UnknownColumn(name, len(values), len(newest), tuple(dict.fromkeys(values))[:_SHOWN])
        for name, values in sorted(found.items())
    ]
