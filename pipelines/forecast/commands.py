"""`lake forecast …`: fitting, issuing and looking at the flood forecasts of the platform's own models."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.forecast import GRACE, store
from pipelines.forecast import run as runs
from pipelines.forecast.store import ParameterSet
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.runtime.turns import Duty, repeat

forecast_app = typer.Typer(
    no_args_is_help=True,
    help="Dự báo lũ 1–12 giờ. Forecasts of the river gauges by persistence, trend and lag-and-route; "
    "their scores are in published.kpi_flood_forecast and published.kpi_flood_warning.",
)
_console = Console()
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_TIME = "2025-10-30T23:50 (giờ Huế, time of Huế) or with an offset"


@forecast_app.command()
def fit(
    begin: Annotated[str, typer.Option("--from", help=f"First reading: {_TIME}.")],
    end: Annotated[str, typer.Option("--to", help="Last reading; forecasts after it are out of sample.")],
) -> None:
    """Fit lags, memories and weights on a range of readings and keep them as a set, named by its content.

    Fit on whole waves and leave one out: scores on the range itself say how well the past is remembered, not how the
    next flood will be forecast.
    """
    settings = Settings.load()
    found, is_new = runs.fit(settings, registry_of(settings), _moment(begin), _moment(end))
    _print(found)
    said = "đã lưu — kept" if is_new else "đã có — known already"
    _console.print(f"Bộ tham số {found.id}: {said}; số liệu huấn luyện {found.training_origin} (training data)")


@forecast_app.command()
def run(
    begin: Annotated[str | None, typer.Option("--from", help=f"First issue of a hindcast: {_TIME}.")] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Last issue of a hindcast; default: the newest reading.")
    ] = None,
    step_min: Annotated[int, typer.Option("--step", min=10, help="Minutes between two issues of a hindcast.")] = 60,
    parameters: Annotated[str | None, typer.Option("--parameters", help="Id of a set; default: the newest.")] = None,
    every: Annotated[
        float, typer.Option("--every", min=0, help="Issue again every so many seconds, until Ctrl-C; 0: once.")
    ] = 0,
) -> None:
    """Issue forecasts for 1 to 12 hours and send them through the gateway into flood_forecast_model.

    Without --from one forecast is issued now (in an exercise: at its newest reading). A hindcast knows of each issue
    only what had been received five minutes later, when a forecast of that moment is made. With --every a failure is
    said and counted (`lake status`), and the next turn tries again; `lake start` runs the same by itself.
    """
    if every and begin:
        raise LakeError("--every issues forecasts of now, --from those of the past.", "Give one of the two.")
    settings = Settings.load()

    def issue() -> str:
        return issue_forecasts(
            settings,
            parameters,
            begin=_moment(begin) if begin else None,
            end=_moment(end) if end else None,
            step=timedelta(minutes=step_min),
        )

    if every:
        repeat(settings, [Duty("forecast", every, issue)], _say)
    else:
        _say(issue())


def issue_forecasts(
    settings: Settings,
    parameters: str | None = None,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    step: timedelta = timedelta(hours=1),
) -> str:
    """Issue forecasts from ``begin`` to ``end`` (UTC), by default one of now; returns what was issued.

    ``parameters`` is the id of a set; the newest by default, so that a loop takes up a better one by itself.

    Raises:
        LakeError: there are no parameters or readings, or Kafka is down.
    """
    registry = registry_of(settings)
    chosen = store.load(settings, parameters)
    is_live = settings.namespace == DEFAULT_NAMESPACE
    last = end or _floor(datetime.now(UTC) - GRACE if is_live else runs.newest_reading(settings, registry))
    first = begin or last
    sent = runs.run(settings, registry, chosen, first, last, step)
    counts = ", ".join(f"{method} {count}" for method, count in sorted(sent.items())) or "trạm im lặng — gauges silent"
    return f"{_said(first)} … {_said(last)}, bộ tham số {chosen.id}: {counts}"


@forecast_app.command(name="list")
def list_sets() -> None:
    """Show every parameter set of the namespace: what it was fitted on, and from which origin."""
    table = Table(title="Bộ tham số dự báo — Forecast parameter sets", title_justify="left")
    for column in ("bộ", "số liệu từ", "đến", "nguồn gốc", "bản ghi", "trạm"):
        table.add_column(column, overflow="fold")
    for found in store.sets(Settings.load()).values():
        readings = ", ".join(f"{origin} {count:,}" for origin, count in sorted(found.training_readings.items()))
        table.add_row(
            found.id,
            _said(found.fitted_from),
            _said(found.fitted_to),
            found.training_origin,
            readings,
            " ".join(sorted(found.stations)),
        )
    _console.print(table)


@forecast_app.command()
def show(set_id: Annotated[str, typer.Argument(help="The set, as `lake forecast list` names it.")]) -> None:
    """Print a parameter set as JSON: every number that its forecasts rest on."""
    found = store.load(Settings.load(), set_id)
    typer.echo(json.dumps(json.loads(found.content), ensure_ascii=False, indent=1, sort_keys=True))


def _say(text: str) -> None:
    _console.print(text, highlight=False, markup=False)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise LakeError(f"{text!r} is no time.", f"Write {_TIME}.") from None
    return (found if found.tzinfo else found.replace(tzinfo=_LOCAL)).astimezone(UTC)


def _floor(moment: datetime) -> datetime:
    """The hour's ten-minute step at or before a moment: an issue lies on the grid of the readings."""
    return moment - timedelta(minutes=moment.minute % 10, seconds=moment.second, microseconds=moment.microsecond)


def _said(moment: datetime) -> str:
    return moment.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M")


def _print(found: ParameterSet) -> None:
    table = Table(title=f"Bộ tham số {found.id} — Parameter set", title_justify="left")
    for column in ("trạm", "đầu vào", "trễ τ (h)", "nhớ K (h)", "trọng số", "tương quan"):
        table.add_column(column, justify="left" if column in {"trạm", "đầu vào"} else "right", overflow="fold")
    for station_id, model in found.stations.items():
        table.add_row(station_id, "xu thế riêng (trend)", "", f"{model.trend_memory_h:g}", "1", "")
        table.add_row(
            "", "xu thế trong lag_route", "", f"{model.route_memory_h:g}", f"{model.route_trend_weight:g}", ""
        )
        for each in model.inputs:
            table.add_row(
                "",
                f"{each.kind}: {' '.join(each.sources)}",
                f"{each.lag_h:g}",
                f"{each.memory_h:g}",
                f"{each.weight:g}",
                f"{each.correlation:g}",
            )
        for kind, why in model.left_out.items():
            table.add_row("", f"{kind}: không dùng (left out), {why}", "", "", "", "")
    _console.print(table)
