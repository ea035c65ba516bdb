"""`lake sql`: one query against the published and live tables of the namespace."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from pipelines.runtime.settings import Settings
from pipelines.serving.render import FORMATS
from pipelines.serving.trino import Client

sql_app = typer.Typer(help="Query published and live tables with Trino.")
DEFAULT_USER = "analyst"


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"


@sql_app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One statement; `-` reads it from standard input.")],
    output: Annotated[
        Format, typer.Option("--format", help="table: times of Asia/Ho_Chi_Minh; csv and json: ISO 8601 in UTC.")
    ] = Format.table,
    user: Annotated[
        str, typer.Option("--user", help="Who asks; anybody but `platform` reads published and live only.")
    ] = DEFAULT_USER,
) -> None:
    """Run one statement in the catalog of LAKE_NAMESPACE, schema `published`, and print its rows as they come."""
    statement = (sys.stdin.read() if query == "-" else query).strip().rstrip(";")
    with Client(Settings.load(), user) as client:
        result = client.stream(statement)
        for line in FORMATS[output.value](result.columns, result.types, result.rows):
            typer.echo(line)
