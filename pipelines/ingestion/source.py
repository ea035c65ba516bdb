"""Which database a sector table is read from, and whether its table is still what the contract says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pipelines.contracts.model import ContractField, Dataset
from pipelines.ingestion.plan import agency_slug, sector_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_WHOLE = frozenset({"smallint", "integer", "bigint"})
_TEXT = frozenset({"text", "character varying", "character", "uuid", "USER-DEFINED"})
_ALLOWED: dict[str, frozenset[str]] = {
    "string": _TEXT,
    "boolean": frozenset({"boolean"}),
    "integer": _WHOLE | {"numeric"},
    "bigint": _WHOLE | {"numeric"},
    "double": _WHOLE | {"numeric", "real", "double precision"},
    # A binary float is not an exact decimal.
    "decimal": _WHOLE | {"numeric"},
    "date": frozenset({"date"}),
    # Without a zone it is no instant.
    "timestamp": frozenset({"timestamp with time zone"}),
}
"""Logical type → the PostgreSQL types that it may be read from: widening is free, another kind fails the load."""

_COLUMNS = sa.text(
    "select column_name, data_type, numeric_scale from information_schema.columns "
    "where table_schema = :schema and table_name = :table order by ordinal_position"
)


class SourceChanged(LakeError):
    """A sector table no longer has the columns or types of its contract; nothing of it was loaded."""


class SourceUnavailable(LakeError):
    """A sector database does not answer, or refuses us."""


@dataclass(frozen=True)
class SectorSource:
    """A sector database: how to reach it (`url`, with password) and the `origin` that its rows carry."""

    url: str
    origin: str

    def __repr__(self) -> str:
        """Render without the password."""
        return f"SectorSource({sa.make_url(self.url).render_as_string(hide_password=True)}, {self.origin})"


def source_of(settings: Settings, dataset: Dataset) -> SectorSource:
    """Return the database of a dataset's owner: the URL in the secret file `sector-<agency>.url` (origin observed),
    else the sample sector database of this installation (origin synthetic).

    Raises:
        ServiceError: there is no such file and the sample database does not run.
    """
    path: Path = settings.secrets_dir / f"sector-{agency_slug(dataset.owner)}.url"
    if path.is_file():
        return SectorSource(path.read_text(encoding="utf-8").strip(), "observed")
    return SectorSource(endpoints(settings).postgres, "synthetic")


def open_engine(source: SectorSource) -> sa.Engine:
    """Return a read-only engine whose text forms are ISO and UTC; nothing is connected yet."""
    url = sa.make_url(source.url).set(drivername="postgresql+psycopg2")
    options = "-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1 -c default_transaction_read_only=on"
    arguments = {"options": options, "connect_timeout": 10, "application_name": "lake ingest"}
    return sa.create_engine(url, connect_args=arguments, poolclass=NullPool)


def source_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns to read, in contract order: a tokenised field is read from its raw column."""
    return tuple(dict.fromkeys(f.tokenise.source if f.tokenise else f.name for f in dataset.fields))


def check_source(engine: sa.Engine, dataset: Dataset) -> tuple[str, ...]:
    """Compare the table with the contract and return the columns that the contract does not know (they are not read).

    Raises:
        SourceChanged: columns are missing or have another kind of type; all of them at once.
        SourceUnavailable: the database does not answer.
    """
    sector = sector_of(dataset)
    try:
        with engine.connect() as connection:
            rows = connection.execute(_COLUMNS, {"schema": sector.schema_name, "table": sector.table}).all()
    except sa.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise SourceUnavailable(
            f"{dataset.id}: the sector database of {dataset.owner} does not answer ({reason}).",
            "Nothing was loaded. Ask the agency, or run `lake up --only postgres` for the sample database.",
        ) from error
    found = {row.column_name: (str(row.data_type), row.numeric_scale) for row in rows}
    new = tuple(sorted(set(found) - set(source_columns(dataset))))
    problems = [] if found else ["does not exist, or we may not read it"]
    for field in dataset.fields if found else ():
        name = field.tokenise.source if field.tokenise else field.name
        if name not in found:
            hint = f" (new and perhaps its new name: {', '.join(new)})" if new else ""
            problems.append(f"has no column {name}{hint}")
        elif not _fits(field, *found[name]):
            problems.append(f"column {name} is {found[name][0]}, the contract says {field.type}")
    if problems:
        raise SourceChanged(
            f"{dataset.id}: table {sector.schema_name}.{sector.table} of {dataset.owner} {'; '.join(problems)}.",
            f"Nothing was loaded, the last good state stays. Ask {dataset.owner} to restore the table, or release a "
            f"new version of schemas/datasets/{dataset.domain}/{dataset.id}.yaml.",
        )
    return new


def _fits(field: ContractField, data_type: str, numeric_scale: int | None) -> bool:
    if field.tokenise:
        return data_type in _TEXT | _WHOLE
    if field.type.name in {"integer", "bigint"} and data_type == "numeric":
        return numeric_scale == 0
    return data_type in _ALLOWED[field.type.name]
