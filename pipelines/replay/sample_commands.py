"""`lake sample`: fill the sector tables and send the sample streams of a namespace, small or big."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from pipelines.contracts.registry import Registry
from pipelines.replay import sector as sector_database
from pipelines.replay.catalog import SAMPLE, datasets_of, replay_info
from pipelines.replay.commands import AllowCity, errors_as_sentences
from pipelines.replay.faults import FaultPlan, build_replay
from pipelines.replay.sample import draw_all
from pipelines.replay.sample_readings import readings_of
from pipelines.replay.sender import check_namespace, send_replay
from pipelines.replay.truth import DatasetTruth, Truth
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.topics import ensure_topics

sample_app = typer.Typer()
_console = Console(stderr=True)
_SHOWN_EVERY = 1000


@dataclass(frozen=True)
class Selection:
    """What a sample fills and sends: sector tables and streams, by id."""

    tables: tuple[str, ...]
    streams: tuple[str, ...]


def select(registry: Registry, names: str | None, *, streams: bool) -> Selection:
    """The sector tables and sample streams of the registry, or those among them that `names` (a,b,c) asks for.

    Raises:
        LakeError: a name that is neither; the text lists what there is.
    """
    tables = tuple(d.id for d in registry.sector_tables())
    flows = datasets_of(replay_info(SAMPLE), registry) if streams else ()
    if names is None:
        return Selection(tables, flows)
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := sorted(set(asked) - {*tables, *flows}):
        raise LakeError(
            f"There is no sample of {', '.join(unknown)}.", f"Allowed: {', '.join(sorted({*tables, *flows}))}."
        )
    return Selection(tuple(t for t in tables if t in asked), tuple(f for f in flows if f in asked))


@sample_app.command()
def sample(
    scale: Annotated[
        float, typer.Option(min=0.01, max=100, help="Cỡ mẫu. 1: as many rows as each contract says; 100: a big city.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Hạt giống. The same seed draws the same rows, on every machine.")] = 7,
    datasets: Annotated[
        str | None, typer.Option(metavar="A,B", help="Chỉ các bộ này. Only these datasets; keys still join.")
    ] = None,
    streams: Annotated[
        bool, typer.Option("--streams/--no-streams", help="Gửi cả luồng. Also send the streams, or tables only.")
    ] = True,
    allow_city: AllowCity = False,
) -> None:
    """Dữ liệu mẫu tổng hợp. Fill every sector table and send every sample stream, drawn from the contracts.

    Example: LAKE_NAMESPACE=demo lake sample --scale 10

    Everything is synthetic and nothing is about a real person: streams say origin synthetic, tables lie in the sample
    sector database. The same seed gives the same rows, and filling the tables again changes nothing. What must come of
    the streams is written to .lake/replay/<namespace>/sample.json; `lake ledger` tells what came of them. Recorded
    streams (flood, traffic, cameras) have their own: lake replay.
    """
    with errors_as_sentences():
        settings = Settings.load()
        registry = registry_of(settings)
        check_namespace(settings, allow_city=allow_city)
        chosen = select(registry, datasets, streams=streams)
        with _meter(len(chosen.tables) + len(chosen.streams)) as meter:
            if chosen.tables:
                sector_database.fill(
                    endpoints(settings).postgres,
                    registry,
                    seed=seed,
                    scale=scale,
                    datasets=chosen.tables,
                    progress=meter.done,
                )
            if chosen.streams:
                send_samples(settings, registry, chosen.streams, seed, scale, meter, allow_city=allow_city)
        meter.report()


class Meter:
    """Shows how many rows of how many datasets are done, and how fast."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        """Show the figures in this task of `bar`."""
        self._bar, self._task = bar, task
        self._began = time.monotonic()
        self._rows: dict[str, int] = {}

    def done(self, dataset: str, rows: int) -> None:
        """A dataset is complete."""
        self._rows[dataset] = rows
        self._bar.update(self._task, completed=len(self._rows))
        self.sending(dataset, 0)

    def sending(self, dataset: str, rows: int) -> None:
        """So many rows of a dataset have gone out; shown every thousand, because showing costs more than sending."""
        if rows % _SHOWN_EVERY:
            return
        total = sum(self._rows.values()) + rows
        rate = total / max(time.monotonic() - self._began, 1e-3)
        self._bar.update(self._task, description=dataset, figures=f"{total:,} rows · {rate:,.0f} rows/s")

    def report(self) -> None:
        """Print what was done: rows by dataset, and the whole with its rate."""
        table = Table("dataset", "rows (synthetic)")
        for dataset, rows in sorted(self._rows.items()):
            table.add_row(dataset, f"{rows:,}")
        _console.print(table)
        seconds, total = time.monotonic() - self._began, sum(self._rows.values())
        _console.print(
            f"{total:,} dòng tổng hợp — synthetic rows of {len(self._rows)} datasets in {seconds:.1f} s, "
            f"{total / max(seconds, 1e-3):,.0f} rows/s"
        )


def send_samples(
    settings: Settings,
    registry: Registry,
    streams: tuple[str, ...],
    seed: int,
    scale: float,
    meter: Meter,
    *,
    allow_city: bool,
) -> None:
    """Send the samples of these streams one after the other, so that one stream at a time is in memory.

    The truth of each is written before it is sent, beside those of the streams before it.

    Raises:
        LakeError: Kafka did not take a record, or a sample contradicts its contract.
    """
    ensure_topics(settings, registry)
    bootstrap = endpoints(settings).kafka
    told: dict[str, DatasetTruth] = {}
    for drawn in draw_all(registry, seed, scale, streams):
        name = drawn.dataset.id
        replay = build_replay(SAMPLE, tuple(readings_of(drawn.dataset, drawn.table)), registry, FaultPlan(seed=seed))
        told |= replay.truth.datasets
        replay = replace(replay, truth=Truth(SAMPLE, seed, dict(told)))
        report = send_replay(
            replay,
            settings,
            registry,
            bootstrap,
            allow_city=allow_city,
            progress=partial(meter.sending, name),
        )
        meter.done(name, report.sent.total())


@contextmanager
def _meter(datasets: int) -> Iterator[Meter]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=_console) as bar:
        yield Meter(bar, bar.add_task("", total=datasets, figures=""))
