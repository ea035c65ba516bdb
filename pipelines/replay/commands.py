"""`lake replay …`: send recorded and synthetic sources into a namespace of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.contracts.registry import Registry
from pipelines.replay import sector as sector_database
from pipelines.replay.catalog import REPLAYS, make_replay
from pipelines.replay.deliveries import Replay
from pipelines.replay.faults import FaultPlan
from pipelines.replay.resend import Resender
from pipelines.replay.sender import SendReport, check_namespace, send_replay
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings, SettingsError
from pipelines.streaming.topics import ensure_topics

replay_app = typer.Typer(
    name="replay",
    no_args_is_help=True,
    help="Phát lại nguồn dữ liệu đã ghi hoặc tổng hợp. Send recorded and synthetic sources through the gateway.\n\n"
    "A replay is an exercise: it runs in its own namespace (LAKE_NAMESPACE=demo), every row says replay or synthetic, "
    "and sending it twice changes nothing. What must come out is written to .lake/replay/<namespace>/<name>.json.",
)
_console = Console(stderr=True)

Duplicates = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of readings sent twice, as a gateway does after a lost connection.")
]
Corrections = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of readings followed by another value with revision 1.")
]
Late = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of readings that arrive after the watermark of their contract.")
]
Malformed = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Share of broken records on top: empty, truncated, wrong type, no key, no time, unknown station, a clock "
        "in 2030, 5 MB. Above 0 every kind is sent at least once per dataset.",
    ),
]
WeekOld = Annotated[
    int,
    typer.Option(min=0, help="Number of records per dataset repeated a week later, after they have been forgotten."),
]
SetBack = Annotated[
    int,
    typer.Option(min=0, help="Number of readings per dataset that one device sends with its clock set back by hours."),
]
Seed = Annotated[int, typer.Option(help="The same seed chooses the same faults, on every machine.")]
Speed = Annotated[
    float,
    typer.Option(min=0, help="Seconds of recorded time per second: 600 is one 10-minute step a second. 0: no waiting."),
]
AllowCity = Annotated[
    bool, typer.Option("--allow-city", help="Insist on sending into the namespace of the observed data.")
]


@replay_app.command("list")
def list_replays() -> None:
    """Liệt kê các bộ phát lại. List the replays there are and the datasets that each sends."""
    table = Table("name", "vi", "en", "datasets")
    for info in REPLAYS:
        table.add_row(info.name, info.title_vi, info.title_en, ", ".join(info.datasets) or "all other streams")
    table.add_row(
        "sector",
        "CSDL mẫu của các sở: mọi bảng nguồn trong danh mục",
        "Sample sector database: every sector table of the catalogue",
        "all sector tables",
    )
    Console().print(table)


def _sender(name: str) -> Callable[..., None]:
    """The command of one replay; all have these options."""

    def send(
        duplicates: Duplicates = 0.0,
        corrections: Corrections = 0.0,
        late: Late = 0.0,
        malformed: Malformed = 0.0,
        week_old: WeekOld = 0,
        set_back: SetBack = 0,
        seed: Seed = 7,
        speed: Speed = 0.0,
        allow_city: AllowCity = False,
    ) -> None:
        with errors_as_sentences():
            plan = FaultPlan(duplicates, corrections, late, malformed, week_old, seed, set_back)
            settings, registry = _context()
            check_namespace(settings, allow_city=allow_city)
            replay = make_replay(name, registry, settings.home / "data", plan)
            bootstrap = endpoints(settings).kafka
            ensure_topics(settings, registry)
            report = _send_with_progress(replay, settings, registry, bootstrap, speed=speed, allow_city=allow_city)
            _print_report(replay, report)

    return send


for _info in REPLAYS:
    replay_app.command(_info.name, help=_info.help)(_sender(_info.name))


@replay_app.command()
def sector(
    scale: Annotated[
        float, typer.Option(min=0.01, max=1000, help="1: as many rows as the contracts say, 2,000 tickets for example.")
    ] = 1.0,
    seed: Seed = 7,
    mutate: Annotated[
        int | None, typer.Option(help="Also change a few rows as a working day does; the number is the seed.")
    ] = None,
    violation: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Also put in one row that breaks a rule of this contract.")
    ] = None,
    drop_column: Annotated[
        str | None, typer.Option(metavar="DATASET.COLUMN", help="Then take this column away, unannounced.")
    ] = None,
) -> None:
    """CSDL mẫu của các sở. Make and fill the sample sector database; doing it again changes nothing."""
    with errors_as_sentences():
        settings, registry = _context()
        dsn = endpoints(settings).postgres
        for dataset, rows in sorted(sector_database.fill(dsn, registry, seed=seed, scale=scale).items()):
            _console.print(f"{dataset}: {rows} rows")
        if mutate is not None:
            change = sector_database.mutate(dsn, registry, mutate)
            _console.print(f"inserted {dict(change.inserted)}, updated {dict(change.updated)}")
        if violation:
            _console.print(
                f"violation: {sector_database.inject_violation(dsn, registry, _table_id(registry, violation))}"
            )
        if drop_column:
            dataset, _, column = drop_column.partition(".")
            sector_database.drop_column(dsn, registry, _table_id(registry, dataset), column)
            _console.print(f"dropped {drop_column}")


@replay_app.command()
def bronze(
    dataset: Annotated[str, typer.Argument(help="The stream, for example river_stage.")],
    since: Annotated[
        datetime,
        typer.Option(
            "--from",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"],
            help="Everything that arrived from then on, by the clock of Huế (UTC+7).",
        ),
    ],
) -> None:
    """Gửi lại từ bronze những gì đã nhận. Send again, out of bronze, what arrived: for what Kafka no longer holds.

    Records keep their bytes, keys and arrival clock, so that doing it twice changes nothing. It reaches to the present,
    because a later record may correct an earlier one.
    """
    with errors_as_sentences():
        settings, registry = _context()
        ensure_topics(settings, registry)
        resender = Resender(settings, registry, endpoints(settings).kafka)
        with Progress(TextColumn("{task.description}"), MofNCompleteColumn(), console=_console) as bar:
            task = bar.add_task(f"bronze.{dataset}", total=None)
            count = resender.arrived(
                dataset,
                since.replace(tzinfo=ZoneInfo("Asia/Ho_Chi_Minh")),
                lambda done: bar.update(task, completed=done),
            )
        _console.print(f"{count:,} records of bronze.{dataset} sent again")


def _send_with_progress(
    replay: Replay,
    settings: Settings,
    registry: Registry,
    bootstrap: str,
    *,
    speed: float,
    allow_city: bool,
) -> SendReport:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_console) as bar:
        task = bar.add_task(replay.name, total=len(replay.deliveries))
        return send_replay(
            replay,
            settings,
            registry,
            bootstrap,
            speed=speed,
            allow_city=allow_city,
            progress=lambda done: bar.update(task, completed=done),
        )


def _print_report(replay: Replay, report: SendReport) -> None:
    table = Table("dataset", "sent", "on time", "late", "corrected", "duplicate", "refused", "quarantined", "silver")
    for dataset, truth in replay.truth.datasets.items():
        figures = (truth.sent, truth.on_time, truth.late, truth.corrected, truth.duplicate)
        more = (truth.refused_total, truth.quarantined, truth.silver_rows)
        table.add_row(dataset, *(f"{n:,}" for n in (*figures, *more)))
    _console.print(table)
    _console.print(f"{report.sent.total():,} records in {report.seconds:.1f} s; what must come of them: {report.truth}")


def _context() -> tuple[Settings, Registry]:
    settings = Settings.load()
    return settings, registry_of(settings)


def _table_id(registry: Registry, dataset: str) -> str:
    known = [d.id for d in registry.sector_tables()]
    if dataset not in known:
        raise LakeError(f"There is no sector table {dataset!r}.", f"Allowed: {', '.join(known)}.")
    return dataset


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn an expected error into one red sentence and exit status 1."""
    try:
        yield
    except (LakeError, SettingsError, ValueError) as error:
        _console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from None
