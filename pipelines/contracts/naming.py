"""From other people's column names to names of the lake: spelling, the dictionary, the naming law, personal data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import FieldDefinition
from pipelines.contracts.names import IDENTIFIER
from pipelines.contracts.registry import Registry
from pipelines.contracts.validators import INSTANT_SUFFIXES, UNIT_SUFFIXES
from pipelines.contracts.words import unwritten

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OTHER = re.compile(r"[^a-z0-9]+")
_INSTANTS = frozenset({"time", "timestamp", "datetime", "ts", "date_observed", "observed", "phenomenon_time"})
_PERSONAL: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("plate", re.compile(r"(^|_)(plate|license_plate|bien_so|bien_kiem_soat)(_|$)")),
    ("phone", re.compile(r"(^|_)(phone|mobile|telephone|sdt|dien_thoai|so_dt)(_|$)")),
    ("citizen_id", re.compile(r"(^|_)(cccd|cmnd|citizen_id|so_dinh_danh|national_id|identity_no)(_|$)")),
    (
        "name",
        re.compile(
            r"(^|_)(full_name|ho_ten|ho_va_ten|person_name|ten_nguoi_\w+"
            r"|(citizen|reporter|patient|customer|resident|student|visitor|driver)_name)(_|$)"
        ),
    ),
)
_PRIVATE = re.compile(r"(^|_)(email|e_mail|dia_chi_nha|home_address|birth_date|date_of_birth|ngay_sinh|dob)(_|$)")


def spelled(text: str) -> str:
    """A name in the lake's spelling: ``Mực nước (m)`` gives ``muc_nuoc_m``, ``laneId`` gives ``lane_id``.

    A name that would not begin with a letter begins with ``field_``; nothing at all gives ``field``.
    """
    folded = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    name = _OTHER.sub("_", _CAMEL.sub("_", plain).lower()).strip("_")
    if not re.match(r"[a-z]", name):
        name = f"field_{name}".rstrip("_")
    return name[:63]


def title_of(name: str) -> str:
    """A name as words, for a person who will write the title: ``lane_id`` gives ``Lane id``."""
    return name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Vocabulary:
    """The dictionary, asked by the names that others use."""

    dictionary: Mapping[str, FieldDefinition]

    def find(self, column: str) -> str | None:
        """The field that a column is: by its name, by an alias that only one field has, or by the clear value that it
        replaces with a token; None when there is none."""
        name = spelled(column)
        if name in self.dictionary:
            return name
        asked = {column.casefold(), name}
        by_alias = [
            n
            for n, d in self.dictionary.items()
            if asked & {_bare(path) for alias in d.aliases.values() for path in alias.path}
        ]
        by_source = [n for n, d in self.dictionary.items() if d.tokenise and d.tokenise.source == name]
        for found in (by_source, by_alias):
            if len(found) == 1:
                return found[0]
        return None


def _bare(alias: str) -> str:
    """An alias without the path before it: ``Thing.name`` is the column ``name``."""
    return alias.rpartition(".")[2].casefold()


def proposed_entry(column: str, kind: LogicalType, *, taken: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """A new entry of the dictionary for a column: its lawful name, and the entry as in ``fields.yaml``.

    What looks personal becomes a token, or is classified as personal; everything else is internal, so that nothing is
    published before somebody decided so. ``taken``: names that the new field must not have.
    """
    name = spelled(column)
    personal = next((what for what, form in _PERSONAL if form.search(name)), None)
    entry: dict[str, Any] = {"type": str(kind)}
    source = name
    if personal and kind.name in {"string", "integer", "bigint"}:
        entry = {"type": "string", "tokenise": {"source": source, "kind": personal}}
        name = f"{name}_token"
    else:
        name = _lawful(name, kind)
        unit = next((u for u, suffix in UNIT_SUFFIXES.items() if name.endswith(suffix)), None)
        if unit and kind.is_numeric:
            entry["unit"] = unit
    used = set(taken)
    name = next(n for n in (name, *(_numbered(name, number) for number in range(2, 1000))) if n not in used)
    title = title_of(spelled(column))
    entry["title"] = unwritten(title if column.isascii() else column.strip(), title)
    entry["description"] = unwritten(column.strip(), column.strip())
    entry["classification"] = "personal" if personal or _PRIVATE.search(spelled(column)) else "internal"
    return name, entry


def _numbered(name: str, number: int) -> str:
    """Another name of the same ending, which says the unit or the kind: ``total_vnd`` gives ``total_2_vnd``."""
    stem, underscore, ending = name.rpartition("_")
    return f"{stem}_{number}_{ending}" if underscore else f"{name}_{number}"


def _lawful(name: str, kind: LogicalType) -> str:
    endings = INSTANT_SUFFIXES.get(kind.name)
    if endings and not name.endswith(endings):
        if kind.name == "timestamp" and name in _INSTANTS:
            return "observed_at"
        stem = re.sub(r"_(time|timestamp|datetime|date|ts|on|at|day)$", "", name)
        return f"{stem[: 63 - len(endings[0])]}{endings[0]}"
    if kind.name == "boolean" and not re.match(r"(is|has)_", name):
        return f"is_{name[:60]}"
    return name if IDENTIFIER.match(name) else spelled(name)


def likely_source(registry: Registry, owner: str, schema: str) -> tuple[str, str]:
    """From which source a table of an agency is read, as far as one can tell, and what its author should know of it."""
    own = [source.id for source in registry.sector_sources if source.agency == owner and source.is_database]
    if not own:
        name = spelled(owner)
        return name, f"sector: {owner} has no database among the sources; write schemas/sources/{name}.yaml"
    if len(own) == 1 or schema in own:
        return (schema if schema in own else own[0]), ""
    return own[0], f"sector: {own[0]} is the first of the sources of {owner}: {', '.join(own)}; choose"
