"""`lake erase`: a person leaves the lake at their request, with a certificate."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.gateway.normalise import IDENTIFIERS, Invalid
from pipelines.gateway.tokens import TOKEN, load_tokeniser
from pipelines.publishing.erasure.certificate import verify
from pipelines.publishing.erasure.find import Found, datasets_of_persons, find
from pipelines.publishing.erasure.register import WORDS, erasures
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

erase_app = typer.Typer(add_completion=False)
_console = Console(soft_wrap=True)
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")


@erase_app.callback(invoke_without_command=True)
def erase(
    context: typer.Context,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="A token of the person (v1:…); may be given more than once.")
    ] = None,
    value_stdin: Annotated[
        bool,
        typer.Option(
            "--value-stdin", help="Read the value itself from the input; its tokens of all keys are searched."
        ),
    ] = False,
    kind: Annotated[str, typer.Option("--kind", help=f"What the value is: {', '.join(IDENTIFIERS)}.")] = "",
    by: Annotated[str, typer.Option("--by", help="Who decided it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="On which request; stands in record and certificate.")] = "",
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="A dataset that a law wants kept; named in the certificate.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is there.")] = False,
) -> None:
    """Erase a person from silver, bronze, history, quarantine, refused payloads and all older versions of the tables.

    A record that can do without the person stays, with its personal fields empty; any other goes whole. It does not
    come back when its source sends it again. People are then shown newly judged versions, and older ones are deleted.
    The same command goes on where a stopped one ended; a second one finds nothing.

    A token tells nothing of the tokens that other keys made of the same value: where keys were rotated, give the value
    (`--kind phone --value-stdin`). It is in memory only.
    """
    if context.invoked_subcommand is not None:
        return
    configure_logging()
    settings = Settings.load()
    registry = registry_of(settings)
    tokens = _tokens(settings, subject or [], value_stdin, kind)
    if dry_run:
        _show(find(settings, registry, tokens), keep or [])
        return
    from pipelines.publishing.erasure.carry import erase as carry_out

    done = carry_out(
        settings, registry, tokens, by=by, reason=reason, kept=keep or [], step=lambda name: _console.print(f"· {name}")
    )
    if done is None:
        names = ", ".join(dataset.id for dataset in datasets_of_persons(registry))
        _console.print(f"Không có dữ liệu nào của người này — nothing of this person in: {names}.", markup=False)
        return
    _console.print(f"Đã xoá — erased: {done.erasure.erasure_id}; giấy xác nhận — certificate: {done.certificate}")


@erase_app.command()
def resume(erasure_id: Annotated[str, typer.Argument(help="As `lake erase list` names it.")]) -> None:
    """Go on with an erasure whose rows are gone, for example when Trino or Spark did not run."""
    from pipelines.publishing.erasure.carry import resume as carry_on

    configure_logging()
    settings = Settings.load()
    done = carry_on(settings, registry_of(settings), erasure_id, step=lambda name: _console.print(f"· {name}"))
    _console.print(f"Đã xoá — erased: {erasure_id}; giấy xác nhận — certificate: {done.certificate}")


@erase_app.command(name="list")
def list_erasures(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; times in UTC.")] = False,
) -> None:
    """Show every erasure and how far it came. The exit code is 1 while one is open."""
    found = erasures(Settings.load())
    if as_json:
        rows = [{**asdict(item), "recorded_at": item.recorded_at.isoformat()} for item in found]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        table = Table(title="Xoá theo yêu cầu — Erasures", title_justify="left")
        for column in ("mã", "trạng thái", "lý do", "ai", "lúc", "dòng"):
            table.add_column(column, justify="right" if column == "dòng" else "left", overflow="fold")
        for item in found:
            rows_gone = sum(done.get("rows", 0) for done in item.details.get("tables", {}).values())
            at = item.recorded_at.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M")
            table.add_row(item.erasure_id, WORDS[item.state], item.reason, item.erased_by, at, str(rows_gone))
        _console.print(table)
    if any(item.state != "done" for item in found):
        raise typer.Exit(1)


@erase_app.command(name="verify")
def verify_certificate(path: Annotated[Path, typer.Argument(help="A certificate that `lake erase` wrote.")]) -> None:
    """Check the signature of a certificate and print what it says."""
    statement = verify(Settings.load(), path)
    typer.echo(json.dumps(statement, ensure_ascii=False, indent=1))


def _tokens(settings: Settings, subjects: list[str], value_stdin: bool, kind: str) -> tuple[str, ...]:
    """The tokens to search for.

    Raises:
        LakeError: none are given, one is none, or the value is not of its kind.
    """
    tokens = list(subjects)
    for token in subjects:
        if not TOKEN.fullmatch(token):
            raise LakeError("That is no token.", "A token is v<number>:<22 signs>, as it stands in a column …_token.")
    if value_stdin:
        if kind not in IDENTIFIERS:
            raise LakeError("Of which kind is the value?", f"Give --kind: {', '.join(IDENTIFIERS)}.")
        try:
            tokens += load_tokeniser(settings).tokens(kind, sys.stdin.readline().strip())
        except Invalid as error:
            raise LakeError(f"The value is no {kind}: {error}.", "Type it as it stands in the request.") from None
    if not tokens:
        raise LakeError("Who is to be erased?", "Give --subject with a token, or --kind and --value-stdin.")
    return tuple(dict.fromkeys(tokens))


def _show(found: tuple[Found, ...], kept: list[str]) -> None:
    table = Table(title="Dữ liệu của người này — What there is of this person (dry run)", title_justify="left")
    for column in ("bảng", "dòng", "sẽ"):
        table.add_column(column, justify="right" if column == "dòng" else "left", overflow="fold")
    for one in found:
        for name, places in sorted(one.places.items()):
            is_kept = one.dataset.id in kept
            goes = name.startswith("quality.") or (one.whole and name.startswith("silver."))
            what = "giữ lại — kept" if is_kept else "xoá dòng — deleted" if goes else "làm trống — emptied"
            table.add_row(name, str(len(places)), what)
        if one.objects:
            table.add_row(
                f"{one.dataset.id}: bản tin bị từ chối — refused payloads", str(len(one.objects)), "xoá — deleted"
            )
    _console.print(table)
