"""A table of a source as its own catalogue describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column. `type` is the database's word without length and precision (`numeric`, `bigint unsigned`), a domain's
    is its base type's; `scale` is the number of decimal places, None where the type leaves it open."""

    name: str
    type: str
    nullable: bool
    scale: int | None = None


@dataclass(frozen=True)
class Table:
    """A table or view that we may read; `schema` is empty where the connection's own is meant.

    `splits` says whether one read of it may be spread over several connections, and `key` by which column, where that
    is not the place of the rows in the file.
    """

    schema: str | None
    name: str
    columns: tuple[Column, ...]
    splits: bool = False
    key: str | None = None

    @property
    def place(self) -> str:
        """The table as people write it."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def column(self, name: str) -> Column:
        """One column.

        Raises:
            KeyError: the table has none of this name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
