"""`lake deadletter`: the records that could not be used, their bytes, and their way back."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipelines.gateway.objects import open_store
from pipelines.replay.kept import Letter, Place, kept, letters
from pipelines.replay.resend import Resender
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

deadletter_app = typer.Typer(
    no_args_is_help=True,
    help="Bản ghi không dùng được: xem, và gửi lại sau khi đã sửa. Records that could not be used: their bytes, their "
    "reason, and their way back.\n\nA record is named by its place, dataset:partition:offset. Sending one again twice "
    "changes nothing: it keeps its key and its arrival clock.",
)
_console = Console()
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_SHOWN = 20

OfDataset = Annotated[str | None, typer.Option("--dataset", help="Only of this stream, for example river_stage.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only with this reason, as the list names it.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Only what arrived from then on, by the clock of Huế (UTC+7)."
    ),
]


def local(value: datetime | None) -> datetime | None:
    """A time that a person wrote without a zone is one of Huế."""
    return None if value is None else value.replace(tzinfo=_LOCAL)


@deadletter_app.command("list")
def list_letters(
    dataset: OfDataset = None,
    reason: OfReason = None,
    since: Since = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every letter as JSON; times in UTC.")] = False,
) -> None:
    """Đếm theo bộ dữ liệu và lý do, và nêu các bản mới nhất. Count by dataset and reason, name the newest."""
    found = letters(Settings.load(), dataset=dataset, reason=reason, since=local(since))
    if as_json:
        typer.echo(json.dumps([_plain(letter) for letter in found], ensure_ascii=False, indent=1))
        return
    if not found:
        _console.print("Không có bản ghi nào bị từ chối. — No record was refused.")
        return
    counts = Table("dataset", "reason", "records", "sent again", "newest (UTC+7)")
    groups = Counter((letter.place.dataset, letter.reason) for letter in found)
    for (name, why), count in sorted(groups.items()):
        of_group = [x for x in found if (x.place.dataset, x.reason) == (name, why)]
        again = sum(1 for x in of_group if x.resent)
        counts.add_row(name, why, f"{count:,}", f"{again:,}", _time(of_group[-1].received_at))
    _console.print(counts)
    newest = Table("place", "reason", "detail", "arrived (UTC+7)", "sent again", title=f"Newest {_SHOWN}")
    for x in found[-_SHOWN:][::-1]:
        newest.add_row(str(x.place), x.reason, x.detail or "", _time(x.received_at), str(x.resent or ""))
    _console.print(newest)


@deadletter_app.command()
def show(
    place: Annotated[str, typer.Argument(help="dataset:partition:offset, as `lake deadletter list` names it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes, unchanged, for a file or a pipe.")] = False,
) -> None:
    """Một bản ghi: lý do và nội dung gốc. One record: its reason and its bytes as they came.

    The bytes of personal and sensitive datasets are not shown; they can be sent again.
    """
    settings = Settings.load()
    registry = registry_of(settings)
    wanted = Place.parse(place)
    found = [x for x in letters(settings, places=[wanted]) if x.place == wanted]
    if not found:
        raise LakeError(f"There is no dead letter at {wanted}.", "`lake deadletter list` shows what there is.")
    dataset = registry.dataset(wanted.dataset)
    if dataset.is_protected:
        if raw:
            raise LakeError(
                f"{dataset.id} is {dataset.classification}: its refused bytes stay closed.",
                "Send it again after the mend: lake deadletter replay.",
            )
        payload = None
    else:
        store = open_store(settings)
        (record,) = kept(settings, registry, store, [wanted])
        mark = record.refused_at_gateway
        payload = record.payload if mark is None else store.get(str(mark["ref"]))
    if raw:
        sys.stdout.buffer.write(payload or b"")
        return
    for name, value in _plain(found[0]).items():
        _console.print(f"{name:12} {value if value is not None else ''}", highlight=False, soft_wrap=True, markup=False)
    if payload is None:
        _console.print("payload      (được bảo vệ — protected)")
    else:
        text = payload.decode("utf-8", "backslashreplace")
        _console.print(f"payload      {text}", highlight=False, soft_wrap=True, markup=False)


@deadletter_app.command()
def replay(
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    why: Annotated[str, typer.Option("--why", help="What was mended, so that they can be used now.")],
    places: Annotated[
        list[str] | None, typer.Argument(help="dataset:partition:offset …; none: all that match.")
    ] = None,
    dataset: OfDataset = None,
    reason: OfReason = None,
    since: Since = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    mended: Annotated[
        Path | None, typer.Option("--with", exists=True, dir_okay=False, help="Send this file in place of one record.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="observed, replay or synthetic, where the marker of refused bytes names none.")
    ] = None,
    arrived_now: Annotated[
        bool,
        typer.Option("--arrived-now", help="They arrive now, not then: for readings whose clock was ahead (`future`)."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Gửi lại sau khi đã sửa hợp đồng hoặc thiết bị. Send records again after a contract or a device was mended."""
    settings = Settings.load()
    registry = registry_of(settings)
    named = [Place.parse(text) for text in places or ()]
    if not (named or dataset or reason or since):
        raise LakeError("Nothing was chosen.", "Name places, or --dataset, --reason or --since.")
    found = letters(settings, dataset=dataset, reason=reason, since=local(since), places=named)
    chosen = [x.place for x in found if (not named or x.place in named) and (again or named or not x.resent)]
    if missing := [str(place) for place in named if place not in chosen]:
        raise LakeError(f"No dead letter at {', '.join(missing)}.", "`lake deadletter list` shows what there is.")
    if dry_run or not chosen:
        _console.print(f"{len(chosen)} bản ghi sẽ được gửi lại. — {len(chosen)} records would be sent again.")
        return
    resender = Resender(settings, registry, endpoints(settings).kafka, arrived_now)
    decision = Decision(by, why)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("dead letters", total=len(chosen))
        sent = resender.letters(
            chosen,
            decision,
            origin=origin,
            replacement=None if mended is None else mended.read_bytes(),
            progress=lambda done: bar.update(task, completed=done),
        )
    for name, count in sorted(sent.items()):
        _console.print(f"{name}: đã gửi lại {count:,} bản ghi. — {count:,} records sent again.", highlight=False)


def _plain(letter: Letter) -> dict[str, str | int | None]:
    return {
        "place": str(letter.place),
        "raw_topic": letter.raw_topic,
        "received_at": letter.received_at.astimezone(UTC).isoformat(),
        "reason": letter.reason,
        "detail": letter.detail,
        "resent": letter.resent,
    }


def _time(value: datetime) -> str:
    return value.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M:%S")
