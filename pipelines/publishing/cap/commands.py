"""`lake cap …`: alerts in the Common Alerting Protocol 1.2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.publishing.cap import delivery, desk, register
from pipelines.publishing.cap.message import HUE
from pipelines.publishing.cap.register import Entry
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.turns import Duty, repeat

cap_app = typer.Typer(
    no_args_is_help=True,
    help="Bản tin cảnh báo CAP 1.2. Alerts drafted from the flood alarms of the namespace, released by a person.",
)
_console = Console()
By = Annotated[str, typer.Option("--by", help="Who decides: name and office.")]
_STATUSES = ("Draft", "Exercise", "Actual")


@cap_app.command()
def draft(
    every: Annotated[
        float, typer.Option("--every", min=0, help="Do it again every so many seconds, until Ctrl-C; 0: once.")
    ] = 0,
) -> None:
    """Write messages about every change of the alarm levels, and every request of a scenario, since the last time.

    Alarms of observed readings become drafts, which wait for a release. Alarms of replayed or synthetic readings become
    exercises, which go to the readers of alert_cap at once and can never become actual. With --every a failure is said
    and counted (`lake status`), and the next turn tries again; `lake start` runs the same by itself.
    """
    settings = Settings.load()

    def turn() -> str:
        new, sent = draft_and_send(settings)
        if new:
            _print(new, "Bản tin mới — New messages")
        return said(new, sent)

    if every:
        repeat(settings, [Duty("cap", every, turn)], lambda text: _console.print(text, highlight=False, markup=False))
    else:
        new, sent = draft_and_send(settings)
        _print(new, said(new, sent) or "Không có gì mới — Nothing new")


def draft_and_send(settings: Settings) -> tuple[Sequence[Entry], int]:
    """Draft what is due, send what the readers of ``alert_cap`` do not have; returns messages and number of rows.

    Raises:
        LakeError: a table or Kafka is away, or a message could not be made; the others are in the register by then,
            and were sent where only that failed.
    """
    try:
        new = desk.draft(settings, registry_of(settings))
    finally:
        sent = _deliver(settings)
    return new, sent


@cap_app.command()
def release(
    identifier: Annotated[str, typer.Argument(help="The draft, as `lake cap list --status Draft` names it.")],
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Why it may be made public; kept in the register.")],
) -> None:
    """Make an actual, public message of the newest draft of a flood; it refers to the actual messages before it."""
    settings = Settings.load()
    entry = desk.release(settings, registry_of(settings), identifier, by=by, reason=reason, now=datetime.now(UTC))
    sent = _deliver(settings)
    _print([entry], f"{by} đã duyệt phát; {sent} dòng đã gửi — released, rows sent")


@cap_app.command()
def cancel(
    identifier: Annotated[str, typer.Argument(help="An actual message or an exercise (`lake cap list`).")],
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Why it no longer holds; the public reads it.")],
) -> None:
    """Take a message back: a Cancel that refers to it goes to everybody who had it."""
    settings = Settings.load()
    entry = desk.withdraw(settings, registry_of(settings), identifier, by=by, reason=reason, now=datetime.now(UTC))
    sent = _deliver(settings)
    _print([entry], f"{by} đã huỷ; {sent} dòng đã gửi — withdrawn, rows sent")


@cap_app.command(name="list")
def list_messages(
    status: Annotated[str | None, typer.Option("--status", help="Only Draft, Exercise or Actual.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; times in UTC.")] = False,
) -> None:
    """Show every message of the namespace with what was decided."""
    if status is not None and status not in _STATUSES:
        raise LakeError(f"There is no status {status!r}.", f"Allowed: {', '.join(_STATUSES)}.")
    known = register.entries(Settings.load())
    found = [entry for entry in known.values() if status in (None, entry.cap_status)]
    if as_json:
        shown = [{name: value for name, value in asdict(entry).items() if name != "xml"} for entry in found]
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=1, default=_iso))
    else:
        _print(found, f"{len(found)} bản tin — messages")


@cap_app.command()
def show(identifier: Annotated[str, typer.Argument(help="The message, as `lake cap list` names it.")]) -> None:
    """Print the XML of a message, valid against the OASIS schema."""
    known = register.entries(Settings.load())
    if identifier not in known:
        raise LakeError(f"There is no message {identifier!r}.", "See them: lake cap list.")
    typer.echo(known[identifier].xml, nl=False)


def said(new: Sequence[Entry], sent: int) -> str:
    """A turn of the desk in a line; empty where nothing came of it."""
    if not new and not sent:
        return ""
    return f"{len(new)} bản tin mới — new messages; {sent} dòng đã gửi — rows sent"


def _deliver(settings: Settings) -> int:
    waiting = delivery.undelivered(settings)
    return delivery.deliver(settings, registry_of(settings), waiting) if waiting else 0


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print(found: Sequence[Entry], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("bản tin", "loại", "cấp", "mức", "gửi lúc", "hết hạn", "phường, xã", "tiêu đề", "quyết định"):
        table.add_column(column, justify="right" if column in {"cấp", "phường, xã"} else "left", overflow="fold")
    for entry in found:
        table.add_row(
            entry.cap_identifier,
            entry.cap_msg_type,
            "" if entry.alarm_level is None else str(entry.alarm_level),
            entry.cap_severity,
            entry.issued_at.astimezone(HUE).strftime("%d/%m %H:%M"),
            entry.expires_at.astimezone(HUE).strftime("%d/%m %H:%M"),
            str(len(entry.ward_codes.split())),
            entry.headline_vi,
            f"{entry.decided_by}: {entry.reason}" if entry.decided_by else "",
        )
    _console.print(table)
