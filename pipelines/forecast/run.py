"""Fitting and forecasting on a namespace: what is read, and the forecasts as readings of ``flood_forecast_model``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.forecast import GRACE, store
from pipelines.forecast.fit import WINDOWS, entities_of, fit_station, inputs_of
from pipelines.forecast.model import LEADS_H, forecast
from pipelines.forecast.series import Grid, read_grid
from pipelines.forecast.store import ParameterSet
from pipelines.gateway.intake import Gateway
from pipelines.gateway.normalise import utc_text
from pipelines.gateway.publisher import Publisher
from pipelines.landing.arrow import kernels as pc
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

DATASET = "flood_forecast_model"
HISTORY = timedelta(days=7)
"""The longest memory of a route is two days: what fell a week ago is gone."""
_SOURCE = "forecast-model"


def fit(settings: Settings, registry: Registry, begin: datetime, end: datetime) -> tuple[ParameterSet, bool]:
    """Fit every station of ``forecast_inputs`` that has readings in the range, keep the set; says whether it is new.

    Raises:
        LakeError: the range is too short, or no station has enough readings in it.
    """
    if end - begin < timedelta(hours=2 * LEADS_H[-1]):
        raise LakeError("The range is shorter than a day.", "Give a whole flood wave: --from … --to ….")
    inputs = inputs_of(registry)
    grid = read_grid(settings, begin, end, entities_of(inputs))
    stations = {}
    refused: list[str] = []
    for station_id, own in inputs.items():
        try:
            stations[station_id] = fit_station(grid, station_id, own, begin, end)
        except LakeError as error:
            refused.append(error.what)
    if not stations:
        raise LakeError(
            f"No station could be fitted: {' '.join(refused)}",
            "See which readings there are: lake sql on live.river_stage.",
        )
    found = ParameterSet(begin, end, grid.origins(), stations, WINDOWS)
    return found, store.save(settings, found)


def newest_reading(settings: Settings, registry: Registry) -> datetime:
    """When the newest stage of a forecast station was observed: the clock of a replay.

    Raises:
        LakeError: there is none.
    """
    path = str(settings.table_path("silver", "river_stage"))
    if DeltaTable.is_deltatable(path):
        stations = sorted(inputs_of(registry))
        table = arrow_table(DeltaTable(path), columns=["observed_at"], filters=[("station_id", "in", stations)])
        newest: datetime | None = pc.max(table["observed_at"]).as_py()
        if newest is not None:
            return newest
    raise LakeError(
        f"The namespace {settings.namespace} has no river stage.", "Send readings first: lake replay flood-2025."
    )


def issues(begin: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    """The moments at which forecasts are issued, both ends included."""
    moment = begin
    while moment <= end:
        yield moment
        moment += every


def forecasts(grid: Grid, parameters: ParameterSet, moments: Iterable[datetime]) -> Iterator[Mapping[str, Any]]:
    """The rows of the contract for every issue, station, method and lead time; none while a gauge is silent."""
    for moment in moments:
        step = grid.step(moment)
        for station_id, model in parameters.stations.items():
            for each in forecast(model, parameters.known_windows, grid, step):
                yield {
                    "station_id": station_id,
                    "issued_at": utc_text(moment),
                    "lead_h": each.lead_h,
                    "forecast_method": each.method,
                    "parameter_set_id": parameters.id,
                    "forecast_stage_m": f"{each.stage_m:.3f}",
                    "forecast_low_m": f"{each.low_m:.3f}",
                    "forecast_high_m": f"{each.high_m:.3f}",
                    "training_from_at": utc_text(parameters.fitted_from),
                    "training_to_at": utc_text(parameters.fitted_to),
                    "training_origin": parameters.training_origin,
                }


def origin_of(grid: Grid) -> str:
    """The origin of forecasts from these readings: observed only where all of them were."""
    found = set(grid.origins())
    return next(iter(found)) if len(found) == 1 else "synthetic"


def run(
    settings: Settings, registry: Registry, parameters: ParameterSet, begin: datetime, end: datetime, every: timedelta
) -> Counter[str]:
    """Issue forecasts from ``begin`` to ``end`` and send them; returns how many rows of each method Kafka took.

    A row arrives when it is made, also in a replay, whose clock is the recorded one; issuing again sends equal rows,
    which are duplicates.

    Raises:
        LakeError: Kafka is down, or the namespace lacks the tables.
    """
    inputs = {station: own for station, own in inputs_of(registry).items() if station in parameters.stations}
    grid = read_grid(settings, begin - HISTORY, end, entities_of(inputs))
    origin = origin_of(grid)
    gateway = Gateway.open(registry, settings)
    sent: Counter[str] = Counter()
    with Publisher(settings, endpoints(settings).kafka) as publisher:
        for moment in issues(begin, end, every):
            for row in forecasts(grid, parameters, [moment]):
                received_at = moment + GRACE
                publisher.publish(gateway.accept(DATASET, row, source=_SOURCE, origin=origin, received_at=received_at))
                sent[row["forecast_method"]] += 1
    return sent
