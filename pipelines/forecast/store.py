"""``catalog.forecast_parameters``: every parameter set, named by its content, with the range that it was fitted on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from filelock import FileLock

from pipelines.contracts.targets.delta import PROPERTIES
from pipelines.forecast.model import Band, Input, StationModel, Windows
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

TABLE = "forecast_parameters"
_FIRST_WINDOWS = Windows(rate_h=3, stage_held_h=0.5, input_held_h={"rain": 0.0, "outflow": 3.0, "stage": 1.0})
"""Those with which every set was fitted that does not say its own; they never change, whatever a new fit takes."""
_TEXT, _INSTANT = pa.string(), pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"comment": said})
        for name, kind, said in (
            ("parameter_set_id", _TEXT, "Mã bộ tham số, băm từ nội dung — Id, a hash of the content"),
            ("fitted_from_at", _INSTANT, "Số liệu từ — Beginning of the training range"),
            ("fitted_to_at", _INSTANT, "Số liệu đến — End of the training range"),
            ("training_origin", _TEXT, "Nguồn gốc số liệu huấn luyện — Origin of the training readings"),
            ("training_readings", _TEXT, "Số bản ghi theo nguồn gốc — Training readings by origin, JSON"),
            ("stations", _TEXT, "Các trạm — Stations, separated by spaces"),
            ("parameters", _TEXT, "Tham số — Parameters, JSON"),
            ("fitted_at", _INSTANT, "Lúc ước lượng — When it was fitted"),
        )
    ]
)


@dataclass(frozen=True)
class ParameterSet:
    """Parameters of every station, and what they were fitted on; instants in UTC.

    ``training_readings`` counts the readings by origin; ``training_origin`` is the only one of them, or ``mixed``.
    ``windows`` is None in a set that was kept before sets said them: its content, and so its id, stays what it was.
    """

    fitted_from: datetime
    fitted_to: datetime
    training_readings: Mapping[str, int]
    stations: Mapping[str, StationModel]
    windows: Windows | None

    @property
    def known_windows(self) -> Windows:
        """The windows of the fit, which its forecasts take too."""
        return self.windows or _FIRST_WINDOWS

    @property
    def training_origin(self) -> str:
        """The label that every forecast of this set carries."""
        return next(iter(self.training_readings)) if len(self.training_readings) == 1 else "mixed"

    @property
    def content(self) -> str:
        """The canonical text that the id is made of."""
        said = {
            "fitted_from": self.fitted_from.isoformat(),
            "fitted_to": self.fitted_to.isoformat(),
            "training_readings": dict(self.training_readings),
            "stations": {name: asdict(model) for name, model in self.stations.items()},
            **({"windows": asdict(self.windows)} if self.windows else {}),
        }
        return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """The first 12 digits of the content's SHA-256: another range, reading or code makes another set."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:12]

    @classmethod
    def read(cls, content: str) -> ParameterSet:
        """Read what :attr:`content` wrote."""
        said: dict[str, Any] = json.loads(content)
        return cls(
            datetime.fromisoformat(said["fitted_from"]),
            datetime.fromisoformat(said["fitted_to"]),
            said["training_readings"],
            {name: _station(model) for name, model in said["stations"].items()},
            Windows(**said["windows"]) if "windows" in said else None,
        )


def _station(said: Mapping[str, Any]) -> StationModel:
    inputs = tuple(Input(**{**each, "sources": tuple(each["sources"])}) for each in said["inputs"])
    bands = {method: {lead: Band(**band) for lead, band in own.items()} for method, own in said["bands"].items()}
    return StationModel(**{**said, "inputs": inputs, "bands": bands})


def save(settings: Settings, found: ParameterSet) -> bool:
    """Keep a set; returns whether it is new. A set is never changed: a better one has another id."""
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "forecast.lock", timeout=60):
        if found.id in {row["parameter_set_id"] for row in _rows(settings)}:
            return False
        path = settings.table_path("catalog", TABLE)
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {
            "parameter_set_id": found.id,
            "fitted_from_at": found.fitted_from,
            "fitted_to_at": found.fitted_to,
            "training_origin": found.training_origin,
            "training_readings": json.dumps(dict(found.training_readings), sort_keys=True),
            "stations": " ".join(sorted(found.stations)),
            "parameters": found.content,
            "fitted_at": datetime.now(UTC),
        }
        write_deltalake(
            str(path),
            pa.Table.from_pylist([row], schema=_SCHEMA),
            mode="append",
            name=TABLE,
            description="Bộ tham số dự báo lũ — Parameter sets of the flood forecasts",
            configuration=dict(PROPERTIES),
        )
    return True


def sets(settings: Settings) -> Mapping[str, ParameterSet]:
    """Every set by its id, in the order in which they were fitted."""
    rows = sorted(_rows(settings), key=lambda row: (row["fitted_at"], row["parameter_set_id"]))
    return {row["parameter_set_id"]: ParameterSet.read(row["parameters"]) for row in rows}


def load(settings: Settings, set_id: str | None) -> ParameterSet:
    """The set with this id, the newest one for None.

    Raises:
        LakeError: there is none.
    """
    known = sets(settings)
    if not known:
        raise LakeError(
            f"The namespace {settings.namespace} has no forecast parameters.",
            "Fit them on readings that it holds: lake forecast fit --from … --to ….",
        )
    if set_id is None:
        return list(known.values())[-1]
    if set_id not in known:
        raise LakeError(f"There is no parameter set {set_id!r}.", f"There are: {', '.join(known)}.")
    return known[set_id]


def _rows(settings: Settings) -> list[dict[str, Any]]:
    path = str(settings.table_path("catalog", TABLE))
    if not DeltaTable.is_deltatable(path):
        return []
    rows: list[dict[str, Any]] = arrow_table(DeltaTable(path)).to_pylist()
    return rows
