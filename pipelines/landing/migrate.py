"""Brings an existing Delta table to what a newer contract says, without rewriting a row.

Free is what every older row survives: a new optional column, which reads as NULL there, and other texts. Anything else
is refused before the table is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deltalake import DeltaTable
from deltalake import Field as DeltaField
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from pipelines.landing.spec import TableSpec
from pipelines.runtime.errors import LakeError

_ATTEMPTS = 3
"""Two processes that open a table at once migrate it once: the loser looks again and finds less or nothing to do."""


class TableDisagrees(LakeError):
    """An existing table is not what its contract says; nothing is written to it."""


def migrate(table: DeltaTable, spec: TableSpec) -> None:
    """Add the optional columns that the contract gained and bring the texts up to date; idempotent.

    Raises:
        TableDisagrees: the table is something else, with every difference; it is left as it was.
        CommitFailedError: other processes changed the table again and again meanwhile.
    """
    for attempt in range(_ATTEMPTS):
        problems = list(_problems(table, spec))
        if problems:
            raise TableDisagrees(
                f"The table {spec.id} disagrees with its contract: {'; '.join(problems)}.",
                "A new optional column needs nothing. Anything else breaks those who use the table: restore the "
                "contract, and let the new form live beside it as a new major version, a dataset `<id>_v<major>` of "
                "its own that `supersedes` this one (`lake contracts diff` says how).",
            )
        try:
            return _apply(table, spec)
        except CommitFailedError:
            if attempt == _ATTEMPTS - 1:
                raise
            table.update_incremental()


def _expected(spec: TableSpec) -> dict[str, DeltaField]:
    return {field.name: field for field in DeltaSchema.from_arrow(spec.schema).fields}


def _problems(table: DeltaTable, spec: TableSpec) -> Iterator[str]:
    """What no migration mends, as phrases that name the column."""
    present = {field.name: str(field.type) for field in table.schema().fields}
    expected = {name: str(field.type) for name, field in _expected(spec).items()}
    for name in sorted(set(present) - set(expected)):
        yield f"column {name} is not in the contract"
    for name in sorted(set(present) & set(expected)):
        if present[name] != expected[name]:
            yield f"column {name} is {present[name]}, the contract says {expected[name]}"
    lacking = sorted(set(spec.required) & (set(expected) - set(present)))
    for name in lacking if lacking and table.count() else ():
        yield f"column {name} is new and required, but the table holds rows without it (list it as `- {name}`)"
    partitions = tuple(table.metadata().partition_columns)
    if partitions != spec.partition_by:
        yield f"it is partitioned by {_named(partitions)}, the contract says {_named(spec.partition_by)}"


def _named(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "nothing"


def _apply(table: DeltaTable, spec: TableSpec) -> None:
    present = {field.name: field for field in table.schema().fields}
    expected = _expected(spec)
    new = [field for name, field in expected.items() if name not in present]
    if new:
        table.alter.add_columns(new)
    for name, field in present.items():
        comment = expected[name].metadata.get("comment")
        if comment is not None and field.metadata.get("comment") != comment:
            table.alter.set_column_metadata(name, {"comment": comment})
    if spec.description and (table.metadata().description or "") != spec.description:
        table.alter.set_table_description(spec.description)
