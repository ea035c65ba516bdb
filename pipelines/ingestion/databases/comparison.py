"""Whether a table is still what the contract says."""

from __future__ import annotations

from pipelines.contracts.model import Dataset
from pipelines.ingestion.access import source_columns
from pipelines.ingestion.databases.database import Database
from pipelines.ingestion.databases.table import Table
from pipelines.ingestion.trouble import changed


def compare(table: Table, dataset: Dataset, database: Database) -> tuple[str, ...]:
    """Compare a table with a contract and return the columns that the contract does not know.

    Raises:
        SourceChanged: columns are missing or have another kind of type; all of them at once.
    """
    known = {column.name: column for column in table.columns}
    new = tuple(sorted(set(known) - set(source_columns(dataset))))
    problems = [] if known else ["has no columns that we may see"]
    for field in dataset.fields if known else ():
        name = field.source_name
        if name not in known:
            hint = f" (new and perhaps its new name: {', '.join(new)})" if new else ""
            problems.append(f"has no column {name}{hint}")
        elif not database.dialect.may_be(field, known[name], zone=database.zone is not None):
            problems.append(f"column {name} is {known[name].type}, the contract says {field.type}")
            if known[name].type in database.dialect.local_times and field.type.name == "timestamp":
                problems[-1] += f" (say `time_zone` in schemas/sources/{database.access.source.id}.yaml if it has one)"
    if problems:
        raise changed(dataset, f"table {table.place}", problems)
    return new
