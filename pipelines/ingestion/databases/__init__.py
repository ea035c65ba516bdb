"""Databases of the sector: one consistent read-only snapshot of a source, its tables in Arrow batches.

::

    with connect(access) as database:
        table = database.table("soyt", "med_price")
        new = compare(table, dataset, database)
        for batch in database.read(table, source_columns(dataset)):
            ...

PostgreSQL is read through ADBC; MariaDB and MySQL, SQL Server and Oracle through SQLAlchemy and their own drivers. The
last two are held against the SQL that they should get and were not tried against servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.ingestion.access import Access
from pipelines.ingestion.databases.comparison import compare
from pipelines.ingestion.databases.database import Database
from pipelines.ingestion.databases.dialect import Mark
from pipelines.ingestion.databases.opening import open_database
from pipelines.ingestion.databases.table import Column, Table

__all__ = [
    "connect",
    "compare",
    "Column",
    "Database",
    "Mark",
    "Table",
]


@contextmanager
def connect(access: Access) -> Iterator[Database]:
    """Open a source for reading: one moment of it, until the block ends.

    Raises:
        LakeError: the connection does not fit the source, or a driver is not installed.
        SourceUnavailable, WrongCredentials: it does not answer, or refuses us.
    """
    database = open_database(access)
    try:
        yield database
    finally:
        database.close()
