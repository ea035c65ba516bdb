"""System columns: what the platform adds to a contract's own fields, by layer, and why.

All of them are functions of the record alone (the Kafka timestamp is the arrival clock), never of when a job ran, so
that a rebuilt job or a repeated load writes equal rows.
"""

from __future__ import annotations

from pipelines.contracts.logical_types import LogicalType

STRING, INTEGER, BIGINT = LogicalType("string"), LogicalType("integer"), LogicalType("bigint")
TIMESTAMP, DOUBLE = LogicalType("timestamp"), LogicalType("double")

ORIGINS = ("observed", "replay", "synthetic")
"""Where a row comes from; shown wherever the row is."""

ORIGINS_COMPUTED = (*ORIGINS, "mixed")
"""A row computed from several inputs has their common origin, or says that they differ."""

MARKER_KEY = "lake.refused"
"""The reserved key of the record that stands in a raw topic for refused bytes: their reason, place and size."""

REFUSALS = (
    "too_large",
    "reserved_key",
    "personal_unparseable",
    "personal_invalid",
    "personal_leak",
    "unknown_device",
)
"""Why the gateway keeps a payload out of its topic; a marker stands there instead."""

ACCEPTED = ("on_time", "late", "corrected")
DISPOSITIONS = (*ACCEPTED, "duplicate", "refused")
EFFECTS = ("inserted", "updated", "unchanged", "deleted", "quarantined")
CHANGING_EFFECTS = ("inserted", "updated", "deleted")
"""The effects after which silver holds another state of a key than before."""

OPERATION = "lake_op"
UPSERT, DELETE, ERASED = "upsert", "delete", "erased"
"""In bronze of a sector table: what a row asks of silver. A delete has its key, and what else the source still said; a
row from before there were deletes has NULL, and is an upsert. An erased one has its place in the order and nothing
else: its person asked for it."""

PROVENANCE: tuple[tuple[str, LogicalType], ...] = (
    ("origin", STRING),
    ("revision", INTEGER),
    ("received_at", TIMESTAMP),
    ("raw_partition", INTEGER),
    ("raw_offset", BIGINT),
)
"""On every silver row: its origin, the source's revision number, the arrival clock and the raw record it came from."""

DERIVED_PROVENANCE: tuple[tuple[str, LogicalType], ...] = (("origin", STRING), ("received_at", TIMESTAMP))
"""On every row that a stream job computed: the origin and the newest arrival clock among its inputs."""

QC: tuple[tuple[str, LogicalType], ...] = (("qc_flag", INTEGER), ("qc_detail", STRING))
"""On every streamed row: the aggregated QARTOD flag, and the tests that did not pass (``stage_m.gross_range=3``)."""

DISPOSITION: tuple[tuple[str, LogicalType], ...] = (("disposition", STRING),)
"""On the clean topics only: how the stream job classified the record."""

TYPES: dict[str, LogicalType] = dict((*QC, *PROVENANCE, *DISPOSITION))
"""Every column that the platform adds to a row, with its type."""

BRONZE: tuple[tuple[str, LogicalType], ...] = (
    ("raw_topic", STRING),
    ("raw_partition", INTEGER),
    ("raw_offset", BIGINT),
    ("received_at", TIMESTAMP),
    ("record_key", STRING),
    ("source", STRING),
)
"""On every bronze row, beside ``payload`` (the bytes as they came)."""

SECTOR_BRONZE: tuple[tuple[str, LogicalType], ...] = (
    ("origin", STRING),
    ("load_id", STRING),
    ("unknown_json", STRING),
    (OPERATION, STRING),
)
"""On bronze rows of sector tables, which have the contract's columns in place of a payload; ``unknown_json`` are the
values of columns that the contract does not know, encrypted whatever the dataset: nobody has said yet what they are."""

OUTCOME: tuple[tuple[str, LogicalType], ...] = (
    ("dataset", STRING),
    ("raw_partition", INTEGER),
    ("raw_offset", BIGINT),
    ("disposition", STRING),
    ("effect", STRING),
)
"""``quality.outcome``: what became of every raw record; a rebuild may repeat an offset, readers count distinct ones."""

QUARANTINE: tuple[tuple[str, LogicalType], ...] = (
    ("dataset", STRING),
    ("raw_partition", INTEGER),
    ("raw_offset", BIGINT),
    ("received_at", TIMESTAMP),
    ("reason", STRING),
    ("detail", STRING),
    ("row_json", STRING),
)
"""``quality.quarantine``: a parsed row that violates a constraint, whole (encrypted for protected datasets)."""

DEAD_LETTER: tuple[tuple[str, LogicalType], ...] = (
    ("dataset", STRING),
    ("raw_topic", STRING),
    ("raw_partition", INTEGER),
    ("raw_offset", BIGINT),
    ("received_at", TIMESTAMP),
    ("reason", STRING),
    ("detail", STRING),
    ("payload", STRING),
)
"""``quality.dead_letter``: a record that could not be used; ``payload`` is the base64 of its bytes."""

LOAD_RUN: tuple[tuple[str, LogicalType], ...] = (
    ("run_id", STRING),
    ("dataset", STRING),
    ("source", STRING),
    ("mode", STRING),
    ("started_at", TIMESTAMP),
    ("finished_at", TIMESTAMP),
    ("rows_extracted", BIGINT),
    ("inserted", BIGINT),
    ("updated", BIGINT),
    ("unchanged", BIGINT),
    ("repeated", BIGINT),
    ("deleted", BIGINT),
    ("suppressed", BIGINT),
    ("quarantined", BIGINT),
    ("keys_compared", BIGINT),
    ("staged_bytes", BIGINT),
    ("extract_s", DOUBLE),
    ("judge_s", DOUBLE),
    ("bronze_s", DOUBLE),
    ("silver_s", DOUBLE),
    ("mark_before", BIGINT),
    ("mark_after", BIGINT),
    ("status", STRING),
    ("error", STRING),
    ("new_columns", STRING),
    ("files", STRING),
)
"""``quality.load_run``: one row per load of a sector table, failed ones included."""

FINDING: tuple[tuple[str, LogicalType], ...] = (
    ("dataset", STRING),
    ("owner", STRING),
    ("kind", STRING),
    ("subject", STRING),
    ("detail", STRING),
    ("state", STRING),
    ("found_at", TIMESTAMP),
    ("run_id", STRING),
)
"""``quality.finding``: what is to be mended at a sector source, a row when it is met and one when it no longer is."""
