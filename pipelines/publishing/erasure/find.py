"""Where the tokens of a person stand: by place in each table, never by value.

Silver and bronze of sector tables have the tokens in columns. Bronze of streams has the bytes as they came; they are
searched for the token itself. Quarantine and dead letters are opened one by one, for they may hold clear values, whose
tokens are made to compare. Bronze rows of a record of the person are theirs too where the token was made with another
key; what joins nothing changes its token with every key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from cryptography.fernet import InvalidToken

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import Invalid
from pipelines.gateway.objects import ObjectStore, open_store
from pipelines.gateway.tokens import Tokeniser, load_tokeniser
from pipelines.landing.arrow import Bools, UInt64s, bools, keep
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.erased import goes_whole, hashes_of_person, identity_columns, personal_fields, record_hashes
from pipelines.landing.tables import DEAD_LETTER, QUARANTINE
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.retention import opened

PLACE = ("raw_partition", "raw_offset")
_ENCRYPTED = b"gAAAA"
Place = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """What one dataset holds of a person: raw places by table, refused payloads as files, hashes of the records."""

    dataset: Dataset
    places: dict[str, frozenset[Place]] = field(default_factory=dict)
    objects: tuple[Path, ...] = ()
    records: UInt64s = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return not any(self.places.values()) and not self.objects

    @property
    def whole(self) -> bool:
        """Whether its records go whole, because they cannot do without the person."""
        return goes_whole(self.dataset)


def datasets_of_persons(registry: Registry) -> tuple[Dataset, ...]:
    """The datasets whose contracts have tokens of persons.

    Raises:
        LakeError: one of them is computed from others, so that its rows have no place by which they could be named.
    """
    found = tuple(d for d in registry.datasets if any(item.tokenise for item in d.fields))
    if computed := [d.id for d in found if d.derived or d.mart]:
        raise LakeError(
            f"{', '.join(computed)}: a computed table holds tokens of persons, which cannot be erased from it.",
            "Take the field out of its contract; what a person needs to be found by stays in the tables that came.",
        )
    return found


def find(settings: Settings, registry: Registry, tokens: Sequence[str]) -> tuple[Found, ...]:
    """What every dataset holds of these tokens; datasets without any are left out."""
    store, tokeniser = open_store(settings), load_tokeniser(settings)
    searches = (
        _Search(settings, dataset, tuple(tokens), store, tokeniser) for dataset in datasets_of_persons(registry)
    )
    return tuple(found for found in (search() for search in searches) if not found.is_empty)


class _Search:
    """The search in one dataset."""

    def __init__(
        self, settings: Settings, dataset: Dataset, tokens: tuple[str, ...], store: ObjectStore, tokeniser: Tokeniser
    ) -> None:
        self.settings, self.dataset, self.tokens = settings, dataset, tokens
        self.store, self.tokeniser = store, tokeniser
        self.columns = [item.name for item in dataset.fields if item.tokenise]

    def __call__(self) -> Found:
        places: dict[str, set[Place]] = {}
        records: list[UInt64s] = []
        for rows in self._rows("silver"):
            hit = keep(rows, self._named(rows))
            places.setdefault(f"silver.{self.dataset.id}", set()).update(_places(hit))
            records.append(hashes_of_person(self.dataset, hit))
        bronze = f"bronze.{self.dataset.id}"
        if self.dataset.stream:
            places[bronze] = self._payloads(places.get(f"silver.{self.dataset.id}", set()))
        else:
            named = (keep(rows, self._named(rows)) for rows in self._rows("bronze"))
            records.extend(hashes_of_person(self.dataset, rows) for rows in named)
        known = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *records]))
        if self.dataset.sector and len(known):
            places[bronze] = {place for rows in self._rows("bronze") for place in self._of(rows, known)}
        for table, column in ((QUARANTINE, "row_json"), (DEAD_LETTER, "payload")):
            places[f"quality.{table}"] = self._letters(table, column)
        taken = {name: frozenset(found) for name, found in places.items() if found}
        return Found(self.dataset, taken, tuple(self._objects()), known)

    def _rows(self, layer: str) -> Iterator[pa.Table]:
        """The rows of a table of columns in parts: what tells the record, what is personal, and the place."""
        table = opened(self.settings, f"{layer}.{self.dataset.id}")
        if table is None:
            return
        names = dict.fromkeys((*identity_columns(self.dataset), *personal_fields(self.dataset), *PLACE))
        also = [system.OPERATION] if layer == "bronze" else []
        for batch in arrow_dataset(table).to_batches(columns=[*names, *also]):
            rows = pa.Table.from_batches([batch])
            if also:
                rows = keep(rows, ~bools(pc.equal(rows[system.OPERATION], system.ERASED)))
            if rows.num_rows:
                yield rows

    def _named(self, rows: pa.Table) -> Bools:
        """Which rows hold one of the tokens."""
        wanted = pa.array(self.tokens, pa.string())
        found = np.zeros(rows.num_rows, dtype=bool)
        for name in self.columns:
            found |= bools(pc.is_in(rows[name], value_set=wanted))
        return found

    def _of(self, rows: pa.Table, known: UInt64s) -> Iterator[Place]:
        """The places of rows of these records that still say something of a person."""
        says = np.zeros(rows.num_rows, dtype=bool)
        for name in personal_fields(self.dataset):
            says |= bools(pc.is_valid(rows[name]))
        yield from _places(keep(rows, says & np.isin(record_hashes(self.dataset, rows), known)))

    def _payloads(self, of_silver: set[Place]) -> set[Place]:
        """The records of a stream that hold a token in their bytes, and those that silver's rows came from."""
        table = opened(self.settings, f"bronze.{self.dataset.id}")
        found: set[Place] = set()
        if table is None:
            return found
        for batch in arrow_dataset(table).to_batches(columns=["payload", *PLACE]):
            rows = pa.Table.from_batches([batch])
            hit = np.zeros(rows.num_rows, dtype=bool)
            for token in self.tokens:
                hit |= bools(pc.match_substring(rows["payload"], pattern=token))
            found.update(_places(keep(rows, hit)))
            still = keep(rows, bools(pc.is_valid(rows["payload"])))
            found.update(place for place in _places(still) if place in of_silver)
        return found

    def _letters(self, table: str, column: str) -> set[Place]:
        """Refused rows and records that are of the person; few, so that each is opened."""
        opened_table = opened(self.settings, f"quality.{table}")
        if opened_table is None:
            return set()
        source = arrow_dataset(opened_table)
        rows = source.to_table([column, *PLACE], filter=pads.field("dataset") == self.dataset.id)
        found = set()
        for text, partition, offset in zip(*(rows[name].to_pylist() for name in (column, *PLACE)), strict=True):
            if text is not None and self._mentions(self._clear(text.encode("utf-8"), is_payload=column == "payload")):
                found.add((int(partition), int(offset)))
        return found

    def _objects(self) -> Iterator[Path]:
        """Refused payloads that were too large or too private for a topic."""
        folder = self.settings.object_root / self.dataset.id
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.is_file() and self._mentions(self._clear(path.read_bytes(), is_payload=False)):
                yield path

    def _clear(self, data: bytes, *, is_payload: bool) -> bytes:
        """The bytes in clear. What cannot be opened any more says nothing to anybody.

        A dead letter is base64, of protected datasets encrypted; a quarantined row is its JSON, or encrypted.
        """
        if data.startswith(_ENCRYPTED):
            try:
                return self.store.cipher.decrypt(data)
            except InvalidToken:
                return b""
        return base64.b64decode(data) if is_payload else data

    def _mentions(self, data: bytes) -> bool:
        """Whether a record holds a token, or a value of a person's field whose token it is."""
        if any(token.encode() in data for token in self.tokens):
            return True
        try:
            said = json.loads(data)
        except ValueError:
            return False
        return any(self._is_of(record) for record in _records(said))

    def _is_of(self, record: dict[str, Any]) -> bool:
        for item in self.dataset.fields:
            value = record.get(item.tokenise.source) if item.tokenise else None
            if item.tokenise is None or not isinstance(value, str):
                continue
            try:
                if set(self.tokeniser.tokens(item.tokenise.kind, value)) & set(self.tokens):
                    return True
            except Invalid:
                continue
        return False


def _records(said: object) -> Iterator[dict[str, Any]]:
    """Every object of a JSON text."""
    if isinstance(said, dict):
        yield said
        for value in said.values():
            yield from _records(value)
    elif isinstance(said, list):
        for value in said:
            yield from _records(value)


def _places(rows: pa.Table) -> set[Place]:
    return set(zip(*(rows[name].to_pylist() for name in PLACE), strict=True))
