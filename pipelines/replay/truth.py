"""What a replay sent and what must become of it: written down before anything is sent, compared afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings


@dataclass(frozen=True)
class Peak:
    """The largest value of a measure of one entity among its final rows, and when it first occurred (UTC text)."""

    field: str
    value: str
    observed_at: str


@dataclass(frozen=True)
class DatasetTruth:
    """The figures of one dataset.

    sent = refused + duplicate + on_time + late + corrected. `quarantined` is a part of the accepted ones that the
    stream passes and landing sets aside. `silver_rows` counts distinct contract keys that end in silver,
    `revised_rows` those whose final version is not the first. `refused` counts by `reason[:detail]` of the dead letter.
    Not `keyed` (see :func:`pipelines.replay.deliveries.is_keyed`) means that duplicates and corrections are accepted
    ones: on time or late.
    """

    sent: int
    refused: Mapping[str, int]
    duplicate: int
    on_time: int
    late: int
    corrected: int
    quarantined: int
    silver_rows: int
    revised_rows: int
    origins: Mapping[str, int]
    peaks: Mapping[str, Peak]
    keyed: bool = True

    @property
    def refused_total(self) -> int:
        """All refused records, before the topic or by the stream job."""
        return sum(self.refused.values())

    @property
    def accepted(self) -> int:
        """Records that reach landing with an effect of their own."""
        return self.on_time + self.late + self.corrected

    def sent_times(self, times: int) -> DatasetTruth:
        """The truth after the same replay was sent so often: nothing is new but duplicates and refused records.

        It holds for a replay without records beyond the dedupe horizon (`FaultPlan.week_old`).
        """
        refused = {reason: times * count for reason, count in self.refused.items()}
        if not self.keyed:
            on_time, late, aside = times * self.on_time, times * self.late, times * self.quarantined
            return replace(self, sent=times * self.sent, refused=refused, on_time=on_time, late=late, quarantined=aside)
        return replace(
            self,
            sent=times * self.sent,
            refused=refused,
            duplicate=times * self.duplicate + (times - 1) * self.accepted,
        )


@dataclass(frozen=True)
class Truth:
    """The truth of one replay by dataset."""

    name: str
    seed: int
    datasets: Mapping[str, DatasetTruth]

    def to_json(self) -> str:
        """Render as sorted, indented JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Truth:
        """Read what :meth:`to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            name=data["name"],
            seed=data["seed"],
            datasets={
                dataset: DatasetTruth(**{**item, "peaks": {k: Peak(**p) for k, p in item["peaks"].items()}})
                for dataset, item in data["datasets"].items()
            },
        )


def truth_path(settings: Settings, name: str) -> Path:
    """Where the truth of a replay lies: `state/replay/<namespace>/<name>.json`."""
    return settings.state / "replay" / settings.namespace / f"{name}.json"


def save_truth(settings: Settings, truth: Truth) -> Path:
    """Write a truth whole or not at all, and return its path."""
    path = truth_path(settings, truth.name)
    replace_file(path, truth.to_json() + "\n")
    return path


def load_truth(settings: Settings, name: str) -> Truth:
    """Read the truth of a replay that was sent in this namespace.

    Raises:
        LakeError: none was sent.
    """
    path = truth_path(settings, name)
    if not path.is_file():
        raise LakeError(f"No replay {name!r} was sent in {settings.namespace}.", f"Send it first: lake replay {name}.")
    return Truth.from_json(path.read_text(encoding="utf-8"))
