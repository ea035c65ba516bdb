"""Trino target: which columns people may read, and the views through which they read them.

Nobody but the platform reads ``silver`` and ``gold``. A view of ``published`` is pinned to one Delta version that
passed its verdict; a view of ``live`` follows the streamed table and says so in ``data_label``. Both run with the
rights of their owner (SECURITY DEFINER), so that what the view leaves out cannot be reached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.contracts import system
from pipelines.contracts.model import CodeList, ContractField, Dataset
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.support import Refused, Support, elsewhere, flagged_elsewhere, native
from pipelines.contracts.targets.delta import comment

TARGET = "trino"
SUPPORT: Mapping[str, Support] = {
    **native("columns"),
    **elsewhere("delta", "type", "key_known"),
    **elsewhere("great_expectations", "required", "key_unique", "code_list", "range", "row_count", "completeness"),
    **elsewhere("great_expectations", "comparison", "required_when", "pattern", "unique", "share", "total"),
    **flagged_elsewhere(),
    "freshness": Refused("a pinned view shows the age of its version; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held: a view shows only versions that passed."""

PUBLISHED, LIVE = "published", "live"
LABEL_COLUMN, LIVE_LABEL = "data_label", "live"

_SYSTEM_COMMENTS: Mapping[str, str] = {
    "qc_flag": "Cờ chất lượng (QARTOD) — Quality flag",
    "qc_detail": "Phép kiểm tra không đạt — Tests that did not pass",
    "origin": "Nguồn gốc: observed, replay, synthetic — Origin",
    "revision": "Lần sửa của nguồn — Revision at the source",
    "received_at": "Thời điểm tiếp nhận (UTC) — Time of receipt",
}
"""The system columns that people see; the position in the raw topic is the platform's own affair."""

_VALID_FROM, _VALID_TO = "received_at", "valid_to_at"
"""A state begins when the lake received it; the source's own times are columns of the contract."""
_PIN = re.compile(r"FOR VERSION AS OF (?:BIGINT )?'?(\d+)'?")


def is_granted(field: ContractField) -> bool:
    """Whether a field may be published: not personal or sensitive, no token of a person, no free text."""
    return field.classification in {"open", "internal"} and field.tokenise is None and not field.free_text


def granted_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns of the published and live views in order: the granted fields, then what the platform adds."""
    own = [f.name for f in dataset.fields if is_granted(f)]
    if dataset.mart:
        return tuple(own)
    system = ["origin", "received_at"]
    if dataset.stream:
        system = ["qc_flag", "qc_detail", "origin", "revision", "received_at"]
    return tuple(own + [name for name in system if name not in own])


def withheld_columns(dataset: Dataset) -> tuple[str, ...]:
    """The contract's fields that no view shows."""
    return tuple(f.name for f in dataset.fields if not is_granted(f))


def column_comments(dataset: Dataset) -> Mapping[str, str]:
    """Comment per granted column: Vietnamese first, unit, English."""
    own = {f.name: comment(f) for f in dataset.fields if is_granted(f)}
    return {name: own.get(name, _SYSTEM_COMMENTS.get(name, "")) for name in granted_columns(dataset)}


def published_view(catalog: str, dataset: Dataset, version: int, columns: tuple[str, ...] | None = None) -> str:
    """The DDL that moves the pin of a dataset to a Delta version.

    ``columns`` narrows the granted ones, for a version that does not have them all.

    Raises:
        ValueError: a version below 0, or a dataset of which no column is granted.
    """
    if version < 0:
        raise ValueError(f"{version} is not a Delta version")
    readable = [name for name in _readable(dataset) if columns is None or name in columns]
    listed = ", ".join(double_quote(name) for name in readable)
    return (
        f"CREATE OR REPLACE VIEW {_table(catalog, PUBLISHED, dataset.id)} COMMENT {literal(_title(dataset))} "
        f"SECURITY DEFINER AS SELECT {listed} FROM {_table(catalog, dataset.layer, dataset.id)} "
        f"FOR VERSION AS OF {version}"
    )


def live_view(catalog: str, dataset: Dataset) -> str:
    """The DDL of the unpinned view of a streamed or derived table, labelled ``live`` in every row.

    Raises:
        ValueError: the dataset is no stream, or no column of it is granted.
    """
    if not is_live(dataset):
        raise ValueError(f"{dataset.id} is not streamed: it has no live view")
    columns = ", ".join(double_quote(name) for name in _readable(dataset))
    return (
        f"CREATE OR REPLACE VIEW {_table(catalog, LIVE, dataset.id)} COMMENT {literal(_title(dataset))} "
        f"SECURITY DEFINER AS SELECT {columns}, {literal(LIVE_LABEL)} AS {double_quote(LABEL_COLUMN)} "
        f"FROM {_table(catalog, 'silver', dataset.id)}"
    )


def history_view(catalog: str, dataset: Dataset) -> str:
    """The DDL of ``live.<dataset>_history``: each state that a sector row had (type 2), read from bronze.

    A state is valid from its receipt (UTC) until the next one of its key, a delete included, which is no state itself.
    Refused rows have no effect on silver and are no state either. What silver holds longer than bronze, because the
    contract had no history before, is a state from its own receipt on. Two states of one load have its receipt: the
    earlier one was never valid and is left out.

    Raises:
        ValueError: the contract keeps no history, or no column is granted.
    """
    if not has_history(dataset):
        raise ValueError(f"{dataset.id} keeps no history: write `history: true` under `sector`")
    columns = ", ".join(double_quote(name) for name in _readable(dataset) if name != _VALID_FROM)
    needed = ", ".join(double_quote(f.name) for f in dataset.fields)
    place = "raw_partition, raw_offset"
    bronze, silver = _table(catalog, "bronze", dataset.id), _table(catalog, "silver", dataset.id)
    effects = ", ".join(literal(effect) for effect in system.CHANGING_EFFECTS)
    key = ", ".join(double_quote(name) for name in dataset.key)
    return (
        f"CREATE OR REPLACE VIEW {_table(catalog, LIVE, history_name(dataset))} "
        f"COMMENT {literal(f'{dataset.title.vi}: lịch sử thay đổi — {dataset.title.en}: history')} SECURITY DEFINER AS "
        f"WITH effective AS (SELECT {place} FROM {_table(catalog, 'quality', 'outcome')} "
        f"WHERE dataset = {literal(dataset.id)} AND effect IN ({effects})), "
        f"state AS (SELECT {needed}, origin, received_at, {place}, "
        f"coalesce({system.OPERATION}, {literal(system.UPSERT)}) AS {system.OPERATION} FROM {bronze} "
        f"WHERE ({place}) IN (SELECT {place} FROM effective) AND {system.OPERATION} IS DISTINCT FROM "
        f"{literal(system.ERASED)} "
        f"UNION ALL SELECT {needed}, origin, received_at, {place}, {literal(system.UPSERT)} FROM {silver} "
        f"WHERE ({place}) NOT IN (SELECT {place} FROM {bronze})), "
        f"bounded AS (SELECT *, lead(received_at) OVER (PARTITION BY {key} ORDER BY raw_offset) AS {_VALID_TO} "
        f"FROM state) "
        f"SELECT {columns}, {_VALID_FROM} AS valid_from_at, {_VALID_TO}, {_VALID_TO} IS NULL AS is_current, "
        f"{literal(LIVE_LABEL)} AS {double_quote(LABEL_COLUMN)} FROM bounded "
        f"WHERE {system.OPERATION} <> {literal(system.DELETE)} AND ({_VALID_TO} IS NULL OR {_VALID_TO} > {_VALID_FROM})"
    )


def history_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns of :func:`history_view` in order."""
    own = tuple(name for name in granted_columns(dataset) if name != _VALID_FROM)
    return (*own, "valid_from_at", _VALID_TO, "is_current", LABEL_COLUMN)


def history_name(dataset: Dataset) -> str:
    """What the view of a dataset's history is called."""
    return f"{dataset.id}_history"


def has_history(dataset: Dataset) -> bool:
    """Whether people can read what rows of a dataset once said."""
    return dataset.sector is not None and dataset.sector.history and is_readable(dataset)


def code_list_view(catalog: str, code_list: CodeList) -> str:
    """The DDL of ``published.code_<list>``: unpinned, a code list is checked with the contracts before it loads."""
    columns = ", ".join(double_quote(column.name) for column in code_list.columns)
    name = f"code_{code_list.id}"
    return (
        f"CREATE OR REPLACE VIEW {_table(catalog, PUBLISHED, name)} "
        f"COMMENT {literal(f'{code_list.title.vi} — {code_list.title.en}')} "
        f"SECURITY DEFINER AS SELECT {columns} FROM {_table(catalog, 'silver', name)}"
    )


def is_readable(dataset: Dataset) -> bool:
    """Whether a dataset has a field that may be published; one without any has no views."""
    return any(map(is_granted, dataset.fields))


def is_live(dataset: Dataset) -> bool:
    """Whether a dataset has a live view: streams, and what stream jobs compute from them."""
    return (dataset.stream is not None or dataset.derived is not None) and is_readable(dataset)


def drop_view(catalog: str, schema: str, name: str) -> str:
    """The DDL that takes a view away."""
    return f"DROP VIEW IF EXISTS {_table(catalog, schema, name)}"


def pinned_version(definition: str) -> int | None:
    """The Delta version in a view's definition as Trino stores it; None when the view is not pinned."""
    match = _PIN.search(definition)
    return int(match[1]) if match else None


def steward_views(catalog: str, protected: tuple[str, ...]) -> Mapping[str, str]:
    """The quality tables that stewards read, table → DDL of its view ``live.quality_<table>``.

    Refused bytes and quarantined rows are never shown; of ``protected`` datasets the detail is left out too, because
    an error message may quote a value. A job that was rebuilt refuses a record again: stewards see it once.
    """
    listed = ", ".join(literal(dataset) for dataset in protected)

    def unless_protected(column: str) -> str:
        return f"CASE WHEN dataset IN ({listed}) THEN NULL ELSE {column} END AS {column}" if protected else column

    detail = unless_protected("detail")
    loads = ", ".join(name if name != "error" else unless_protected(name) for name, _ in system.LOAD_RUN)
    findings = ", ".join(name if name != "detail" else detail for name, _ in system.FINDING)
    provenance = "dataset, raw_partition, raw_offset, received_at"
    selected = {
        "verdict": "*",
        "result": "*",
        "outcome": "*",
        "load_run": loads,
        "finding": findings,
        "dead_letter": f"DISTINCT {provenance}, raw_topic, reason, {detail}",
        "quarantine": f"DISTINCT {provenance}, reason, {detail}",
    }
    return {
        table: (
            f"CREATE OR REPLACE VIEW {_table(catalog, LIVE, f'quality_{table}')} SECURITY DEFINER AS "
            f"SELECT {columns} FROM {_table(catalog, 'quality', table)}"
        )
        for table, columns in selected.items()
    }


CATALOG_TABLES = ("dataset", "field", "lineage")
"""The tables of ``catalog`` that everybody may read: they say what there is, never what is in it."""
CAP_MESSAGE_COLUMNS = (
    *("cap_identifier", "chain", "station_id", "cap_status", "cap_msg_type", "alarm_level", "cap_severity"),
    *("headline_vi", "sender", "issued_at", "expires_at", "cap_references", "ward_codes", "origin"),
    *("source_identifier", "recorded_at", "xml_sha256", "xml"),
)
"""What everybody may read of the register of alerts: all but the names of officers and their words to each other."""


def catalog_views(catalog: str) -> Mapping[str, str]:
    """The catalogue tables that people read, table → DDL of its view ``live.catalog_<table>``."""
    selected = dict.fromkeys(CATALOG_TABLES, "*")
    selected["forecast_parameters"] = "*"
    # Times and counts, never a value: who wants to know what is gone need not be able to read what was there.
    selected["retention"] = "*"
    # Neither who was erased, by whatever digest, nor the officer.
    selected["erasure"] = "erasure_id, state, reason, kept_datasets, details_json, recorded_at"
    selected["cap_message"] = ", ".join(double_quote(column) for column in CAP_MESSAGE_COLUMNS)
    return {
        table: (
            f"CREATE OR REPLACE VIEW {_table(catalog, LIVE, f'catalog_{table}')} SECURITY DEFINER AS "
            f"SELECT {columns} FROM {_table(catalog, 'catalog', table)}"
        )
        for table, columns in selected.items()
    }


def _readable(dataset: Dataset) -> tuple[str, ...]:
    if not is_readable(dataset):
        raise ValueError(f"{dataset.id}: no field is open or internal, so nothing of it can be published")
    return granted_columns(dataset)


def _title(dataset: Dataset) -> str:
    return f"{dataset.title.vi} — {dataset.title.en}"


def _table(catalog: str, schema: str, name: str) -> str:
    return ".".join(double_quote(part) for part in (catalog, schema, name))
