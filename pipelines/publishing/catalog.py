"""The catalogue as tables: ``catalog.dataset``, ``catalog.field`` and ``catalog.lineage`` say in SQL what the contracts
and the statements of the jobs and models say.

Every row follows from definitions, never from data, so that the tables are written whole and only when one changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from filelock import FileLock

from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.trino import is_granted
from pipelines.landing.whole import write_whole
from pipelines.publishing.definitions import fingerprint
from pipelines.publishing.lineage.build import build_lineage
from pipelines.publishing.lineage.graph import Edge
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings

_TEXT, _TEXTS, _COUNT = pa.string(), pa.list_(pa.string()), pa.int64()
Columns = Sequence[tuple[str, pa.DataType, str]]

DATASET: Columns = (
    ("id", _TEXT, "Mã bộ dữ liệu — Id of the dataset"),
    ("domain", _TEXT, "Lĩnh vực — Domain"),
    ("version", _TEXT, "Phiên bản hợp đồng — Version of the contract"),
    ("title_vi", _TEXT, "Tên tiếng Việt — Vietnamese title"),
    ("title_en", _TEXT, "Tên tiếng Anh — English title"),
    ("purpose_vi", _TEXT, "Mục đích — Purpose in Vietnamese"),
    ("purpose_en", _TEXT, "Mục đích tiếng Anh — Purpose in English"),
    ("usage", _TEXT, "Cách dùng — How to use it"),
    ("limitations", _TEXT, "Giới hạn — What it cannot tell"),
    ("owner", _TEXT, "Cơ quan chủ quản — Owner (code list agencies)"),
    ("classification", _TEXT, "Mức bảo vệ — open, internal, personal or sensitive"),
    ("data_class", _TEXT, "Loại dữ liệu — common, important or core"),
    ("grain", _TEXT, "Một dòng là gì — What one row is"),
    ("kind", _TEXT, "Cách hình thành — stream, sector, derived or mart"),
    ("layer", _TEXT, "Lớp — silver or gold"),
    ("key", _TEXTS, "Khoá — Key"),
    ("event_time", _TEXT, "Trường thời gian sự kiện — Field of the event time"),
    ("inputs", _TEXTS, "Đầu vào — Datasets it is computed from"),
    ("systems", pa.list_(pa.int32()), "Hệ thống của thành phố — Systems of the city it serves (schemas/systems.yaml)"),
    ("clauses", _TEXTS, "Điều khoản kế hoạch — Clauses of the city's plan"),
    ("legal_basis", _TEXTS, "Căn cứ pháp lý — Legal basis"),
    ("personal_purpose_vi", _TEXT, "Mục đích xử lý dữ liệu cá nhân — Purpose of personal data, Vietnamese"),
    ("personal_purpose_en", _TEXT, "Mục đích xử lý, tiếng Anh — Purpose of personal data, English"),
    ("unverified", _TEXTS, "Điều chưa kiểm chứng — What nobody has verified yet"),
    ("freshness_s", _COUNT, "Độ mới cam kết, giây — Promised freshness in seconds"),
    ("bronze_retention_days", _COUNT, "Lưu bronze, ngày — Retention of bronze in days"),
    ("silver_retention_days", _COUNT, "Lưu silver, ngày — Retention of silver or gold in days"),
)
"""Columns of ``catalog.dataset``: name, type and comment."""

FIELD: Columns = (
    ("dataset", _TEXT, "Mã bộ dữ liệu — Id of the dataset"),
    ("position", pa.int32(), "Thứ tự, từ 1 — Position, from 1"),
    ("name", _TEXT, "Tên trường — Name"),
    ("type", _TEXT, "Kiểu — Logical type"),
    ("unit", _TEXT, "Đơn vị — Unit"),
    ("title_vi", _TEXT, "Tên tiếng Việt — Vietnamese title"),
    ("title_en", _TEXT, "Tên tiếng Anh — English title"),
    ("description_vi", _TEXT, "Mô tả — Description in Vietnamese"),
    ("description_en", _TEXT, "Mô tả tiếng Anh — Description in English"),
    ("classification", _TEXT, "Mức bảo vệ — open, internal, personal or sensitive"),
    ("code_list", _TEXT, "Danh mục mã — Code list"),
    ("reference", _TEXT, "Tham chiếu — The field of another dataset whose values it has"),
    ("required", pa.bool_(), "Bắt buộc — Required"),
    ("is_key", pa.bool_(), "Thuộc khoá — Part of the key"),
    ("minimum", _TEXT, "Nhỏ nhất, chính xác — Least value, exact"),
    ("maximum", _TEXT, "Lớn nhất, chính xác — Greatest value, exact"),
    ("token_of", _TEXT, "Cột nguồn được mã hoá — The source's clear column that this token stands for"),
    ("granted", pa.bool_(), "Được công bố — Whether views show it"),
)
"""Columns of ``catalog.field``; limits are texts, because they are exact and of no common scale."""

LINEAGE: Columns = (
    ("from_dataset", _TEXT, "Từ bảng — From <layer>.<dataset>; sender and sector are sources"),
    ("from_field", _TEXT, "Từ trường, * là các dòng — From field, * stands for the rows"),
    ("to_dataset", _TEXT, "Đến bảng — To <layer>.<dataset>"),
    ("to_field", _TEXT, "Đến trường, * là các dòng — To field, * stands for the rows"),
    ("how", _TEXT, "Cách — identity, expression, aggregate, window, function, token; condition, order, filter, …"),
    ("detail", _TEXT, "Biểu thức — Expression"),
    ("process", _TEXT, "Do đâu — What carries it out"),
)
"""Columns of ``catalog.lineage``; the kinds of ``how`` are told in :mod:`pipelines.publishing.lineage.graph`."""

_TITLES = {
    "dataset": "Danh mục bộ dữ liệu — Catalogue of datasets",
    "field": "Danh mục trường dữ liệu — Catalogue of fields",
    "lineage": "Nguồn gốc của từng trường — Where every field comes from",
}


def write_catalog(settings: Settings, registry: Registry) -> Mapping[str, int]:
    """Bring the catalogue tables of the namespace to what the contracts say; returns name → Delta version.

    Unchanged definitions make no new version and are not read through again. Two processes may call it at once.
    """
    wanted = fingerprint(settings.home, registry)
    known = _versions(settings)
    if _remembered(settings) == (wanted, known):
        return known
    tables = {
        "dataset": _table(DATASET, [_dataset_row(dataset) for dataset in registry.datasets]),
        "field": _table(
            FIELD,
            [
                _field_row(dataset, position, item)
                for dataset in registry.datasets
                for position, item in enumerate(dataset.fields, start=1)
            ],
        ),
        "lineage": _table(LINEAGE, [_edge_row(edge) for edge in build_lineage(settings.home, registry).edges]),
    }
    with _lock(settings):
        written = {
            name: write_whole(settings.table_path("catalog", name), table, name=name, description=_TITLES[name])
            for name, table in tables.items()
        }
        _remember(settings, wanted, written)
    return written


def _versions(settings: Settings) -> dict[str, int]:
    """The versions of the catalogue tables that are there."""
    paths = {name: str(settings.table_path("catalog", name)) for name in _TITLES}
    return {name: DeltaTable(path).version() for name, path in paths.items() if DeltaTable.is_deltatable(path)}


def _note(settings: Settings) -> Path:
    """Where it is remembered from which definitions which versions were written."""
    return settings.table_path("catalog", "_written.json")


def _remembered(settings: Settings) -> tuple[str, dict[str, int]] | None:
    try:
        found = json.loads(_note(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return str(found["definitions"]), dict(found["versions"])


def _remember(settings: Settings, definitions: str, versions: Mapping[str, int]) -> None:
    replace_file(_note(settings), json.dumps({"definitions": definitions, "versions": versions}), mode=0o644)


def kind_of(dataset: Dataset) -> str:
    """How a dataset comes about: ``stream``, ``sector``, ``derived`` or ``mart``."""
    parts = {"stream": dataset.stream, "sector": dataset.sector, "derived": dataset.derived, "mart": dataset.mart}
    return next(name for name, part in parts.items() if part is not None)


def inputs_of(dataset: Dataset) -> tuple[str, ...]:
    """The datasets that a derived table or a mart is computed from; none for what comes from outside."""
    computed = dataset.mart or dataset.derived
    return computed.inputs if computed else ()


def _lock(settings: Settings) -> FileLock:
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "catalog.lock", timeout=120)


def _table(columns: Columns, rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([pa.field(name, kind, metadata={"comment": said}) for name, kind, said in columns])
    return pa.Table.from_pylist(rows, schema=schema)


def _dataset_row(dataset: Dataset) -> dict[str, Any]:
    said, personal = dataset.description, dataset.personal_purpose
    return {
        "id": dataset.id,
        "domain": dataset.domain,
        "version": dataset.version,
        "title_vi": dataset.title.vi,
        "title_en": dataset.title.en,
        "purpose_vi": said.purpose.vi,
        "purpose_en": said.purpose.en,
        "usage": said.usage,
        "limitations": said.limitations,
        "owner": dataset.owner,
        "classification": dataset.classification,
        "data_class": dataset.data_class,
        "grain": dataset.grain,
        "kind": kind_of(dataset),
        "layer": dataset.layer,
        "key": list(dataset.key),
        "event_time": dataset.event_time,
        "inputs": list(inputs_of(dataset)),
        "systems": list(dataset.systems),
        "clauses": list(dataset.clauses),
        "legal_basis": list(dataset.legal_basis),
        "personal_purpose_vi": personal.vi if personal else None,
        "personal_purpose_en": personal.en if personal else None,
        "unverified": list(dataset.unverified),
        "freshness_s": int(dataset.sla.freshness.total_seconds()),
        "bronze_retention_days": dataset.retention.bronze // timedelta(days=1),
        "silver_retention_days": dataset.retention.silver // timedelta(days=1),
    }


def _field_row(dataset: Dataset, position: int, item: ContractField) -> dict[str, Any]:
    return {
        "dataset": dataset.id,
        "position": position,
        "name": item.name,
        "type": str(item.type),
        "unit": item.unit,
        "title_vi": item.title.vi,
        "title_en": item.title.en,
        "description_vi": item.description.vi if item.description else None,
        "description_en": item.description.en if item.description else None,
        "classification": item.classification,
        "code_list": item.code_list,
        "reference": str(item.references) if item.references else None,
        "required": item.required or item.name in dataset.key,
        "is_key": item.name in dataset.key,
        "minimum": None if item.minimum is None else format(item.minimum, "f"),
        "maximum": None if item.maximum is None else format(item.maximum, "f"),
        "token_of": item.tokenise.source if item.tokenise else None,
        "granted": is_granted(item),
    }


def _edge_row(edge: Edge) -> dict[str, Any]:
    return {
        "from_dataset": edge.source.dataset,
        "from_field": edge.source.field,
        "to_dataset": edge.target.dataset,
        "to_field": edge.target.field,
        "how": edge.how,
        "detail": edge.detail or None,
        "process": edge.process,
    }
