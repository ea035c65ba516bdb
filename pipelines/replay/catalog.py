"""The replays there are: what each sends, from which data, and how its readings are made.

A replay of what was recorded names its datasets; the one named `sample` sends every other stream that has a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts.registry import Registry
from pipelines.replay import cameras, flood, mobility, traffic
from pipelines.replay.deliveries import Replay
from pipelines.replay.faults import NO_FAULTS, FaultPlan, build_replay
from pipelines.replay.readings import Reading, Source
from pipelines.replay.sample_readings import sample_readings, sample_streams
from pipelines.replay.sensor_faults import break_sensors


@dataclass(frozen=True)
class ReplayInfo:
    """One replay: its name, what it is (Vietnamese first), the help of its command, and its datasets.

    `datasets` is empty where the contracts decide: see :func:`datasets_of`.
    """

    name: str
    title_vi: str
    title_en: str
    help: str
    datasets: tuple[str, ...]
    source: Source


def _samples(registry: Registry, data: Path, seed: int) -> tuple[Reading, ...]:
    return tuple(sample_readings(registry, seed, 1.0, datasets_of(replay_info(SAMPLE), registry)))


SAMPLE = "sample"
"""The replay of everything that has a `sample` in its contract and no recording."""


def _broken_sensors(registry: Registry, data: Path, seed: int) -> tuple[Reading, ...]:
    return break_sensors(flood.readings(registry, data), seed)[0]


REPLAYS: tuple[ReplayInfo, ...] = (
    ReplayInfo(
        "broken-sensors",
        "Trận lũ tháng 10–11/2025 với cảm biến hỏng: vọt, đứng yên, trôi, mất tín hiệu, nghẽn (dữ liệu tổng hợp)",
        "The flood of 2025 seen by broken sensors: spikes, stuck, drift, dropouts, blocked gauges (synthetic)",
        "Cảm biến hỏng. The flood with seeded sensor faults, to see what quality flags make of them.",
        ("rain_gauge", "reservoir_op", "river_stage"),
        _broken_sensors,
    ),
    ReplayInfo(
        "cameras",
        "Camera và sự kiện vi phạm trong chiều tối 27/10/2025 (dữ liệu tổng hợp)",
        "Cameras and violation events in the evening of 27 October 2025 (synthetic)",
        "Camera. Synthetic health of 40 cameras and violation events; plates become tokens at the gateway.",
        ("camera_health", "violation_event"),
        cameras.readings,
    ),
    ReplayInfo(
        "flood-2025",
        "Trận lũ tháng 10–11/2025: mực nước, mưa, hồ chứa, bước 10 phút, dự báo chính thức",
        "The flood of October–November 2025: stages, rain, reservoirs, 10-minute steps, official forecasts",
        "Trận lũ 10–11/2025. Stages, rain, reservoirs, official forecasts; exact at every published figure.",
        ("flood_forecast", "rain_gauge", "reservoir_op", "river_stage"),
        flood.readings,
    ),
    ReplayInfo(
        "mobility",
        "Đèn tín hiệu, xe buýt, số xe theo loại trong ngày 7/11/2025 (dữ liệu tổng hợp)",
        "Signals, buses and counts by class on 7 November 2025 (synthetic)",
        "Đèn, xe buýt, đếm xe. Synthetic signals with queues, buses on the sample timetable, counts by class.",
        ("lane_class_count", "signal_event", "vehicle_position"),
        mobility.readings,
    ),
    ReplayInfo(
        SAMPLE,
        "Số liệu mẫu tổng hợp của mọi luồng khác trong danh mục, đến hết ngày 9/11/2025",
        "Synthetic sample readings of every other stream of the catalogue, until 9 November 2025",
        "Số liệu mẫu. Synthetic readings of every other stream, drawn from its contract; bigger ones: lake sample.",
        (),
        _samples,
    ),
    ReplayInfo(
        "traffic",
        "Chuỗi bộ dò xe thực đo (2015) gán cho các nút giao của Huế",
        "Real loop-detector series (2015) on junctions of Huế",
        "Bộ dò xe. Three real loop-detector series with real anomalies, on junctions of Huế.",
        ("lane_minute",),
        traffic.readings,
    ),
)


def replay_info(name: str) -> ReplayInfo:
    """The replay with this name.

    Raises:
        KeyError: there is none; the message lists those there are.
    """
    for info in REPLAYS:
        if info.name == name:
            return info
    raise KeyError(f"no replay {name!r}; there are: {', '.join(r.name for r in REPLAYS)}")


def datasets_of(info: ReplayInfo, registry: Registry) -> tuple[str, ...]:
    """The datasets that a replay sends: those it names, or every stream with a sample that no other replay names."""
    if info.name != SAMPLE:
        return info.datasets
    return sample_streams(registry, {dataset for other in REPLAYS for dataset in other.datasets})


def make_replay(name: str, registry: Registry, data: Path, plan: FaultPlan = NO_FAULTS) -> Replay:
    """Build a replay from the contracts and the folder `data/`; equal arguments give an equal replay.

    Raises:
        KeyError: an unknown name.
        pipelines.runtime.errors.LakeError: a data file is missing or contradicts itself.
    """
    return build_replay(name, replay_info(name).source(registry, data, plan.seed), registry, plan)
