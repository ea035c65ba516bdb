"""`lake capture install`, `start`, `status` and `stop`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.ingestion.capture import control
from pipelines.ingestion.capture.source import Slot
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.install import install_connect
from pipelines.runtime.settings import Settings

capture_app = typer.Typer(name="capture", help="Thu từng thay đổi — Change data capture", no_args_is_help=True)
Source = Annotated[str, typer.Argument(help="Mã nguồn — a file of schemas/sources", metavar="NGUỒN")]
_MEBIBYTE = 2**20


@capture_app.command()
def install() -> None:
    """Tải Kafka Connect và Debezium — Download and check the jars; `lake up --only connect` then starts the service."""
    install_connect(Settings.load(), lambda phrase, _done, _total: print(phrase))


@capture_app.command()
def start(
    source: Source,
    anew: Annotated[
        bool, typer.Option("--anew", help="Đọc lại từ đầu cả bảng — read the tables whole again, and go on from there")
    ] = False,
    outside_window: Annotated[
        bool,
        typer.Option("--outside-window", help="Đọc cả bảng ngoài giờ cho phép — read whole tables at any hour"),
    ] = False,
) -> None:
    """Bắt đầu, hoặc đi tiếp — Begin to capture the tables of a source whose contracts say so, or go on.

    Says everything that the source's owner has to grant first. A second call changes nothing.
    """
    settings = Settings.load()
    console = Console(soft_wrap=True)
    found = control.start(
        settings,
        registry_of(settings),
        source,
        lambda text: console.print(text, markup=False),
        anew=anew,
        outside_window=outside_window,
    )
    if not found.works:
        raise LakeError(
            f"The connector {found.name} failed: {found.problem or found.state}", "See `lake logs connect`."
        )
    console.print(f"{found.name}: đang thu — captures", markup=False)


@capture_app.command()
def stop(
    source: Source,
    for_good: Annotated[
        bool,
        typer.Option("--for-good", help="Bỏ cả chỗ đọc ở nguồn — drop the slot, too, and what was not loaded"),
    ] = False,
) -> None:
    """Dừng — End the capture of a source; its slot stays, and the source keeps its log for it, until it goes on."""
    settings = Settings.load()
    slot = control.stop(settings, registry_of(settings), source, for_good=for_good)
    if slot is not None:
        print(
            f"Nguồn vẫn giữ nhật ký cho ta ({_kept(slot)}) và sẽ đầy đĩa nếu không thu tiếp. — The source still keeps "
            "its log for us until its disk is full: start again soon, or stop --for-good."
        )


@capture_app.command("status")
def show_status() -> None:
    """Từng nguồn: đang thu hay không, nguồn giữ bao nhiêu nhật ký — How each capture does, and what it costs."""
    settings = Settings.load()
    found = control.status(settings, registry_of(settings))
    if not found:
        print("Không hợp đồng nào có `mode: capture`. — No contract says `mode: capture`.")
        return
    table = Table("nguồn", "bộ nối", "nhật ký nguồn giữ", "chậm", "chờ nạp", "vấn đề")
    for one in found:
        style = "green" if one.works else "red"
        state = "chưa bắt đầu" if one.connector is None else one.connector.task or one.connector.state
        waiting = ", ".join(f"{t.dataset} {'—' if t.waiting is None else t.waiting}" for t in one.tables)
        kept, behind = ("—", "—") if one.slot is None else (_kept(one.slot), _megabytes(one.slot.behind_bytes))
        table.add_row(one.source, f"[{style}]{state}[/]", kept, behind, waiting, escape(one.problem or ""))
    Console().print(table)


def _kept(slot: Slot) -> str:
    return f"{_megabytes(slot.kept_bytes)} ({slot.state})"


def _megabytes(count: int) -> str:
    return f"{count / _MEBIBYTE:.1f} MB"
