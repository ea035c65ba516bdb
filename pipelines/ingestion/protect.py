"""From the source's columns to what may be stored: tokens for persons, NFC, and the contract's exact types.

A value that cannot be converted exactly makes its row a refused one: the cell is NULL, and the row as it came travels
beside it (encrypted for protected datasets) until it is in quarantine. Nothing here writes.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contracts.model import ContractField, Dataset
from pipelines.gateway.normalise import Invalid
from pipelines.gateway.tokens import Tokeniser
from pipelines.ingestion import files
from pipelines.ingestion.access import source_columns
from pipelines.landing.arrow import Column, Int64s, nulls, repeat, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Encrypt

REASON, DETAIL, ROW_JSON = "lake_reason", "lake_detail", "lake_row_json"
"""Beside the contract's columns: why a row is refused (else NULL), and the row as it came."""
UNKNOWN = "unknown_json"
"""What the row has in columns that the contract does not know, encrypted; NULL where it has nothing."""
DELETED = "lake_deleted"
"""Whether the source says of the row that it is deleted, before and after protection; only where changes are told."""
_REFUSAL = (REASON, DETAIL, ROW_JSON)


@dataclass(frozen=True)
class Protection:
    """What turns a dataset's raw batches into storable ones; `encrypt` is needed for protected datasets."""

    dataset: Dataset
    tokeniser: Tokeniser
    encrypt: Encrypt

    def __call__(self, raw: pa.Table) -> pa.Table:
        """Convert one batch: columns named as in the source, of text or of an exact type → contract columns plus the
        three refusal columns, UNKNOWN and DELETED. What a file's reader says of a row stands.

        The number and order of rows stay. No clear value of a tokenised field is left in any column of the result.
        """
        columns: dict[str, Column] = {}
        reasons: list[str | None] = _told(raw, files.REASON)
        details: list[str | None] = _told(raw, files.DETAIL)
        for field in self.dataset.fields:
            columns[field.name], refused = self._converted(field, raw)
            for index, detail in refused.items():
                if reasons[index] is None:
                    kind = "token" if field.tokenise else "type"
                    reasons[index], details[index] = f"{kind}:{field.name}", detail
        refused_rows = np.flatnonzero(np.array([reason is not None for reason in reasons], bool))
        if files.ROW in raw.column_names:
            for index in refused_rows.tolist():
                details[index] = f"{details[index]} (row {raw[files.ROW][index].as_py()} of the file)"
        columns[REASON] = pa.array(reasons, pa.string())
        columns[DETAIL] = pa.array(details, pa.string())
        columns[ROW_JSON] = self._rows_as_they_came(raw, refused_rows)
        columns[UNKNOWN] = self._unknown(raw)
        columns[DELETED] = raw[DELETED] if DELETED in raw.column_names else repeat(False, raw.num_rows, pa.bool_())
        return pa.table(columns)

    def keys(self, raw: pa.Table) -> pa.Table:
        """Convert the columns of the key alone (:func:`key_columns`) to a batch whose other columns are NULL.

        What cannot be converted is NULL and refuses nothing: it is no row that could be stored.
        """
        count, key = raw.num_rows, self.dataset.key
        columns: dict[str, Column] = {
            field.name: self._converted(field, raw)[0] if field.name in key else nulls(count, field.type.arrow)
            for field in self.dataset.fields
        }
        columns |= {name: nulls(count, pa.string()) for name in (*_REFUSAL, UNKNOWN)}
        return pa.table({**columns, DELETED: repeat(False, count, pa.bool_())})

    def _converted(self, field: ContractField, raw: pa.Table) -> tuple[Column, Mapping[int, str]]:
        """A field's column, and for each row that cannot be converted why."""
        if field.tokenise:
            return self._tokens(field, raw[field.tokenise.source])
        return _typed(field, raw[field.name])

    def _unknown(self, raw: pa.Table) -> Column:
        """The values of columns that are neither the contract's nor those of a file's reader."""
        known = {*source_columns(self.dataset), *files.OWN_COLUMNS, DELETED}
        names = [name for name in raw.column_names if name not in known]
        if not names:
            return nulls(raw.num_rows, pa.string())
        texts = pa.table({name: pc.cast(raw[name], pa.string()) for name in names}).to_pylist()
        given = ({name: value for name, value in row.items() if value is not None} for row in texts)
        return pa.array([self._sealed(_json(row)) if row else None for row in given], pa.string())

    def _sealed(self, text: str) -> str:
        return self.encrypt(text.encode()).decode("ascii")

    def _tokens(self, field: ContractField, clear: Column) -> tuple[Column, Mapping[int, str]]:
        """Tokenise each distinct value once; an empty text is no value."""
        assert field.tokenise is not None
        encoded = clear.cast(pa.string()).combine_chunks().dictionary_encode()
        tokens: list[str | None] = []
        wrong: dict[int, str] = {}
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            token = None
            if value.strip():
                try:
                    version = None if field.tokenise.joins else self.tokeniser.newest
                    token = self.tokeniser.token(field.tokenise.kind, value, version)
                except Invalid as error:
                    wrong[code] = str(error)
            tokens.append(token)
        return pa.array(tokens, pa.string()).take(encoded.indices), _rows_of(encoded, wrong)

    def _rows_as_they_came(self, raw: pa.Table, refused: Int64s) -> Column:
        protected = self.dataset.is_protected or any(item.tokenise for item in self.dataset.fields)
        texts: list[str | None] = [None] * raw.num_rows
        bad = take(raw, refused)
        columns = {name: pc.cast(bad[name], pa.string()) for name in source_columns(self.dataset)}
        rows = pa.table(columns).to_pylist()
        for position, row, came in zip(refused.tolist(), rows, _told(bad, files.RAW), strict=True):
            text = came or _json(row)
            texts[position] = self._sealed(text) if protected else text
        return pa.array(texts, pa.string())


def _json(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _told(raw: pa.Table, column: str) -> list[str | None]:
    """What the reader of a file said in a column, by row; nothing where the rows are of no file."""
    return raw[column].to_pylist() if column in raw.column_names else [None] * raw.num_rows


def refusal_schema() -> pa.Schema:
    """The three columns that a protected batch has beside the contract's own."""
    return pa.schema([pa.field(name, pa.string()) for name in _REFUSAL])


def _typed(field: ContractField, column: Column) -> tuple[Column, Mapping[int, str]]:
    """Convert a column to the field's type; the second part says for each row that cannot be why.

    What a database gives in that type has been looked through already (`databases.values`); all else is read as text.
    """
    kind = field.type.arrow
    if column.type == kind and field.type.name != "string":
        return column.combine_chunks(), {}
    text = column.cast(pa.string()).combine_chunks()
    if field.type.name == "string":
        return _nfc(text), {}
    try:
        values = pc.cast(text, kind)
    except pa.ArrowInvalid:
        return _typed_one_by_one(field, text)
    if pa.types.is_floating(kind) and not pc.all(pc.is_finite(values), min_count=0).as_py():
        return _typed_one_by_one(field, text)
    return values, {}


def _nfc(text: Column) -> Column:
    """Compose every text. Arrow's own `utf8_normalize` leaves Vietnamese letters of two marks decomposed."""
    if pc.all(pc.string_is_ascii(text), min_count=0).as_py():
        return text
    return pa.array([None if t is None else unicodedata.normalize("NFC", t) for t in text.to_pylist()], pa.string())


def _typed_one_by_one(field: ContractField, text: Column) -> tuple[Column, Mapping[int, str]]:
    """The slow way of a batch with a bad value: every distinct value by itself."""
    encoded = text.dictionary_encode()
    kind = field.type.arrow
    parts: list[Column] = []
    wrong: dict[int, str] = {}
    for code in range(len(encoded.dictionary)):
        value = encoded.dictionary.slice(code, 1)
        try:
            part = pc.cast(value, kind)
            if pa.types.is_floating(kind) and not pc.is_finite(part)[0].as_py():
                raise pa.ArrowInvalid("not finite")
        except pa.ArrowInvalid:
            part = nulls(1, kind)
            # The value of a personal field is in the encrypted row only.
            shown = "" if field.classification in {"personal", "sensitive"} else f"{value[0].as_py()!r} "
            wrong[code] = f"{shown}is no {field.type} without loss"
        parts.append(part)
    values = pa.concat_arrays(parts) if parts else nulls(0, kind)
    return values.take(encoded.indices), _rows_of(encoded, wrong)


def _rows_of(encoded: Column, wrong: Mapping[int, str]) -> dict[int, str]:
    """Spread what is wrong with distinct values over the rows that hold them."""
    if not wrong:
        return {}
    hits = pc.is_in(encoded.indices, value_set=pa.array(list(wrong), encoded.indices.type))
    positions = np.flatnonzero(np.asarray(pc.fill_null(hits, False)))
    codes = encoded.indices.take(pa.array(positions)).to_pylist()
    return {int(position): wrong[code] for position, code in zip(positions, codes, strict=True)}
