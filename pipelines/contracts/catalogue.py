"""What a catalogue says of a dataset besides its columns, said alike by every target that describes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pipelines.contracts.model import Dataset, Text
from pipelines.contracts.registry import Registry


def urn(kind: str, name: str) -> str:
    """The lasting name of a thing of the catalogue, the same wherever it is served."""
    return f"urn:hue:lake:{kind}:{quote(name, safe='.')}"


def in_order(registry: Registry) -> tuple[Dataset, ...]:
    """All datasets by domain and id, the order of files and indexes."""
    return tuple(sorted(registry.datasets, key=lambda d: (d.domain, d.id)))


def source_kind(dataset: Dataset) -> str:
    """Where the rows come from: ``stream``, ``sector``, ``derived`` or ``mart``."""
    return next(kind for kind in ("stream", "sector", "derived", "mart") if getattr(dataset, kind) is not None)


def is_dimension(dataset: Dataset) -> bool:
    """Whether a mart lists the things that others refer to by its key."""
    return dataset.mart is not None and dataset.id.startswith("dim_")


def inputs(dataset: Dataset) -> tuple[str, ...]:
    """The datasets and code lists (``code_<list>``) from which a derived table or a mart is computed."""
    computed = dataset.derived or dataset.mart
    return computed.inputs if computed else ()


def successor(dataset: Dataset, registry: Registry) -> Dataset | None:
    """The dataset that takes the place of this one; None while there is none."""
    return next((other for other in registry.datasets if other.supersedes == dataset.id), None)


def agency(code: str, registry: Registry) -> Text:
    """The name of an agency.

    Raises:
        KeyError: the code is not in the code list ``agencies``.
    """
    rows = {row["code"]: row for row in registry.code_list("agencies").rows}
    return Text(vi=rows[code]["name_vi"], en=rows[code]["name_en"])


def legal_bases(dataset: Dataset, registry: Registry) -> tuple[Mapping[str, Any], ...]:
    """The rows of the code list ``legal_bases`` that a dataset names.

    Raises:
        KeyError: a basis that is not listed.
    """
    if not dataset.legal_basis:
        return ()
    rows = {row["code"]: row for row in registry.code_list("legal_bases").rows}
    return tuple(rows[code] for code in dataset.legal_basis)


def basis_title(row: Mapping[str, Any]) -> str:
    """A legal basis in one line: both names and the document."""
    return f"{row['name_vi']} — {row['name_en']} ({row['document']})"
