"""All replays: seeded, consistent with their truth under the platform's law, identical when sent twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from catalogue import city
from typer.testing import CliRunner

from pipelines.contracts.registry import Registry
from pipelines.gateway import normalise
from pipelines.gateway.envelope import RawRecord
from pipelines.gateway.intake import Gateway
from pipelines.replay import traffic
from pipelines.replay.catalog import REPLAYS, SAMPLE, datasets_of, make_replay, replay_info
from pipelines.replay.commands import replay_app
from pipelines.replay.deliveries import Replay
from pipelines.replay.faults import KINDS, NO_FAULTS, FaultPlan
from pipelines.replay.readings import LOCAL
from pipelines.replay.sender import check_namespace, raw_records
from pipelines.replay.truth import Truth, load_truth, save_truth
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
FAULTY = FaultPlan(duplicates=0.02, corrections=0.02, late=0.02, malformed=0.005, week_old=3, seed=7)
FUTURE = timedelta(minutes=5)
NAMES = [info.name for info in REPLAYS]


@cache
def replayed(name: str, plan: FaultPlan = NO_FAULTS) -> Replay:
    """A replay that no test changes, made once."""
    return make_replay(name, city(), HOME / "data", plan)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    state = tmp_path_factory.mktemp("state")
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(state), "LAKE_NAMESPACE": "unit"})


@pytest.fixture(scope="module", params=NAMES)
def faulty(request: pytest.FixtureRequest) -> Replay:
    return replayed(request.param, FAULTY)


@pytest.fixture(scope="module")
def records(faulty: Replay, registry: Registry, settings: Settings) -> list[RawRecord]:
    return list(raw_records(faulty, Gateway.open(registry, settings)))


def has_codes(registry: Registry, dataset: str) -> bool:
    """Whether a code can be unknown in this stream."""
    return any(f.code_list for f in registry.dataset(dataset).fields)


def law(registry: Registry, records: list[RawRecord]) -> dict[str, Counter[str]]:
    """The platform's law, written once more and simply: what a stream job must decide about raw records alone."""
    counts: dict[str, Counter[str]] = {}
    seen: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}
    for record in records:
        dataset = registry.dataset(record.topic.removeprefix("raw."))
        assert dataset.stream is not None
        count = counts.setdefault(dataset.id, Counter())
        count["sent"] += 1
        try:
            body = json.loads(record.value)
            event = datetime.fromisoformat(body[dataset.event_time])
            key = (dataset.id, *(str(body[k]) for k in dataset.key))
            for item in dataset.fields:
                if item.type.is_numeric and body.get(item.name) is not None:
                    Decimal(str(body[item.name]))
                if item.type.name == "boolean" and body.get(item.name) not in {None, True, False}:
                    raise ValueError(item.name)
        except (ValueError, KeyError, TypeError, ArithmeticError):
            count["refused"] += 1
            continue
        received = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        if event > received + FUTURE:
            count["refused"] += 1
            continue
        is_late = event < received - dataset.stream.watermark
        if dataset.domain not in {"flood", "transport", "camera"}:
            # The shared job keeps no state: it decides by the record alone.
            count["late" if is_late else "on_time"] += 1
            continue
        content = json.dumps({**body, "revision": None}, sort_keys=True)
        known = [
            s for s in seen.get(key, []) if record.timestamp_ms - s[0] <= dataset.stream.dedupe.total_seconds() * 1000
        ]
        if any(content == c for _, _, c in known):
            count["duplicate"] += 1
            continue
        seen.setdefault(key, []).append((record.timestamp_ms, body["revision"], content))
        if known:
            assert body["revision"] > known[-1][1]
            count["corrected"] += 1
        else:
            count["late" if is_late else "on_time"] += 1
    return counts


def test_the_truth_is_what_the_law_decides(faulty: Replay, records: list[RawRecord], registry: Registry) -> None:
    decided = law(registry, records)
    assert set(decided) == set(faulty.truth.datasets)
    for dataset, truth in faulty.truth.datasets.items():
        told = {
            "sent": truth.sent,
            "refused": truth.refused_total,
            "duplicate": truth.duplicate,
            "on_time": truth.on_time,
            "late": truth.late,
            "corrected": truth.corrected,
        }
        assert Counter(told) == decided[dataset], dataset


def test_the_truth_adds_up(faulty: Replay, registry: Registry) -> None:
    for dataset, truth in faulty.truth.datasets.items():
        assert truth.sent == truth.refused_total + truth.duplicate + truth.accepted
        assert truth.silver_rows == len(faulty.final_rows(dataset))
        assert (truth.quarantined > 0) == has_codes(registry, dataset)
        if dataset == "flood_forecast":
            # Three published figures: a fault may repeat them a week later, never alter or delay them.
            assert (truth.late, truth.corrected, truth.silver_rows) == (FAULTY.week_old, 0, 3)
            continue
        assert truth.late > FAULTY.week_old
        assert truth.revised_rows > 0
        if truth.keyed:
            assert truth.silver_rows == truth.accepted - truth.corrected - truth.quarantined - FAULTY.week_old
            assert truth.corrected > 0
            assert truth.duplicate > 0
        else:
            assert truth.corrected == truth.duplicate == 0
            assert truth.silver_rows < truth.accepted - truth.quarantined - FAULTY.week_old


def test_faults_change_no_final_key_and_no_published_figure(faulty: Replay) -> None:
    clean = replayed(faulty.name)
    for dataset, truth in clean.truth.datasets.items():
        assert set(faulty.final_rows(dataset)) == set(clean.final_rows(dataset))
        assert truth.accepted == truth.sent == truth.on_time == truth.silver_rows
        if dataset == "river_stage":
            assert faulty.truth.datasets[dataset].peaks == truth.peaks


@pytest.mark.parametrize("name", NAMES)
def test_a_clock_that_was_set_back_makes_late_rows_under_its_own_time(
    name: str, registry: Registry, settings: Settings
) -> None:
    clean = replayed(name)
    replay = make_replay(name, registry, HOME / "data", FaultPlan(set_back=6))
    decided = law(registry, list(raw_records(replay, Gateway.open(registry, settings))))
    for dataset_id, truth in replay.truth.datasets.items():
        dataset = registry.dataset(dataset_id)
        assert dataset.stream is not None
        true, told = ([d for d in r.deliveries if d.dataset == dataset_id] for r in (clean, replay))
        assert Counter(d.received_at for d in true) == Counter(d.received_at for d in told), "all arrive as they did"
        known = {(d.key, str((d.body or {})[dataset.event_time])) for d in true}
        back = [d for d in told if (d.key, str((d.body or {})[dataset.event_time])) not in known]
        assert len(back) <= 6 and (back or dataset_id == "flood_forecast"), "what was published is never touched"
        assert {d.disposition for d in back} <= {"late"}
        assert len({(d.body or {})[dataset.stream.device or dataset.entity_key[0]] for d in back}) <= 1
        behind = {d.received_at - datetime.fromisoformat(str((d.body or {})[dataset.event_time])) for d in back}
        assert all(
            dataset.stream.watermark + timedelta(hours=2) < lag < timedelta(hours=3) + dataset.stream.watermark
            for lag in behind
        )
        before = clean.truth.datasets[dataset_id]
        assert (truth.late, truth.on_time) == (before.late + len(back), before.on_time - len(back))
        assert truth.silver_rows == before.silver_rows and truth.corrected == truth.duplicate == 0
        assert {d.key for d in back} <= replay.final_rows(dataset_id).keys(), "nothing tells them from late readings"
        assert (decided[dataset_id]["late"], decided[dataset_id]["corrected"]) == (truth.late, 0)


def test_the_arrival_clock_is_monotone(faulty: Replay, records: list[RawRecord]) -> None:
    for topic in {r.topic for r in records}:
        clock = [r.timestamp_ms for r in records if r.topic == topic]
        assert all(a <= b for a, b in pairwise(clock))


def test_twice_is_the_same_bytes(
    faulty: Replay, records: list[RawRecord], registry: Registry, settings: Settings
) -> None:
    again = make_replay(faulty.name, registry, HOME / "data", FAULTY)
    assert again.truth == faulty.truth
    assert list(raw_records(again, Gateway.open(registry, settings))) == records


def test_another_seed_chooses_other_faults(faulty: Replay, registry: Registry) -> None:
    other = make_replay(faulty.name, registry, HOME / "data", replace(FAULTY, seed=8))
    assert [d.received_at for d in other.deliveries] != [d.received_at for d in faulty.deliveries]


def test_every_kind_of_bad_input_is_there(faulty: Replay, records: list[RawRecord], registry: Registry) -> None:
    for dataset in faulty.truth.datasets:
        own = [d for d in faulty.deliveries if d.dataset == dataset]
        broken = [d for d in own if d.reason or d.quarantined]
        assert len(broken) >= len(KINDS) - (not has_codes(registry, dataset))
        assert sum(isinstance(d.payload, bytes) and len(d.payload) > 5_000_000 for d in own) == 1
        assert b"" in [d.payload for d in own]
    assert all(len(r.value) < 512 * 1024 for r in records)


def test_no_plate_leaves_the_gateway(registry: Registry, settings: Settings) -> None:
    replay = replayed("cameras", FAULTY)
    plates = {d.payload["plate"] for d in replay.deliveries if isinstance(d.payload, dict) and d.payload.get("plate")}
    sent = list(raw_records(replay, Gateway.open(registry, settings)))
    everything = b"".join(r.key + r.value for r in sent)
    files = b"".join(p.read_bytes() for p in settings.lake_root.rglob("*violation*/*") if p.is_file())
    assert len(plates) > 200
    for plate in sorted(plates)[::5]:
        for form in (plate, plate.replace(".", ""), "".join(c for c in plate if c.isalnum())):
            assert form.encode() not in everything
            assert form.encode() not in files
    tokens = Counter(json.loads(r.value).get("plate_token") for r in sent if b"plate_token" in r.value)
    assert max(count for token, count in tokens.items() if token) > 1


def test_clean_sizes() -> None:
    sizes = {
        dataset: truth.sent
        for name in NAMES
        if name != SAMPLE
        for dataset, truth in replayed(name).truth.datasets.items()
    }
    assert sizes == {
        "river_stage": 2324,
        "rain_gauge": 9114,
        "reservoir_op": 582,
        "lane_class_count": 1152,
        "signal_event": 8208,
        "vehicle_position": 2874,
        "lane_minute": 6007,
        "camera_health": 9600,
        "violation_event": 480,
        "flood_forecast": 3,
    }


def test_traffic_keeps_weekday_and_clock(registry: Registry) -> None:
    readings = traffic.readings(registry, HOME / "data")
    first = next(r for r in readings if "mean_speed_kmh" in r.body)
    local = first.event_at.astimezone(LOCAL)
    source = datetime(2015, 9, 8, 11, 39)
    assert (local.weekday(), local.time()) == (source.weekday(), source.time())
    assert local.year == 2025
    assert first.body["mean_speed_kmh"] == Decimal("117.482")
    assert {r.origin for r in readings} == {"replay"}


def test_load_events_are_distinct_seeded_and_on_time() -> None:
    batches = list(traffic.load_events(25_000, seed=1, rate=1000))
    again = list(traffic.load_events(25_000, seed=1, rate=1000))
    assert batches == again
    values: list[dict[str, Any]] = [json.loads(v) for b in batches for v in b.values]
    keys = {(v["detector_id"], v["lane_no"], v["observed_at"]) for v in values}
    assert len(keys) == len(values) == 25_000
    stamps = [t for b in batches for t in b.timestamps_ms]
    assert stamps[-1] - stamps[0] == 24_999
    first = batches[0]
    assert first.keys[0].decode() == f"{values[0]['detector_id']}|{values[0]['lane_no']}"
    assert datetime.fromisoformat(values[-1]["observed_at"]).timestamp() * 1000 == stamps[-1]
    with pytest.raises(ValueError, match="rate"):
        next(traffic.load_events(1, seed=1, rate=100_000))


def test_load_events_pass_the_gateway_unchanged(registry: Registry, settings: Settings) -> None:
    batch = next(traffic.load_events(100, seed=1, rate=1000))
    gateway = Gateway.open(registry, settings)
    for key, value in zip(batch.keys, batch.values, strict=True):
        record = gateway.accept(
            "lane_minute", value, source="load", origin="synthetic", received_at=datetime(2025, 11, 10, tzinfo=UTC)
        )
        assert record.key == key
        assert not record.as_came
        sealed, made = json.loads(record.value), json.loads(value)
        assert normalise.instant(sealed.pop("observed_at")) == normalise.instant(made.pop("observed_at"))
        assert sealed == made


def test_truth_is_kept_in_a_file(faulty: Replay, settings: Settings) -> None:
    path = save_truth(settings, faulty.truth)
    assert path == settings.state / "replay" / "unit" / f"{faulty.name}.json"
    assert load_truth(settings, faulty.name) == faulty.truth
    assert Truth.from_json(path.read_text()) == faulty.truth
    with pytest.raises(LakeError, match="No replay"):
        load_truth(settings, "none")


def test_the_truth_of_sending_twice() -> None:
    plan = FaultPlan(duplicates=0.1, malformed=0.01, seed=3)
    truth = make_replay("traffic", city(), HOME / "data", plan).truth.datasets["lane_minute"]
    twice = truth.sent_times(2)
    assert twice.sent == 2 * truth.sent == twice.refused_total + twice.duplicate + twice.accepted
    assert twice.silver_rows == truth.silver_rows


def test_a_replay_stays_out_of_the_city(settings: Settings) -> None:
    check_namespace(settings, allow_city=False)
    city = settings.with_namespace("city")
    check_namespace(city, allow_city=True)
    with pytest.raises(LakeError, match="LAKE_NAMESPACE=demo"):
        check_namespace(city, allow_city=False)


def test_wrong_plans_and_names_are_refused() -> None:
    for wrong in (
        {"late": -0.1},
        {"malformed": 2.0},
        {"late": 0.5, "duplicates": 0.5},
        {"week_old": -1},
        {"set_back": -1},
    ):
        with pytest.raises(ValueError, match=r"shares|week_old"):
            FaultPlan(**wrong)
    with pytest.raises(KeyError, match="flood-2025"):
        replay_info("flood")


def test_every_replay_has_its_command_and_refuses_in_a_sentence() -> None:
    for info in REPLAYS:
        shown = " ".join(CliRunner().invoke(replay_app, [info.name, "--help"]).output.split())
        assert info.help in shown
        assert "--allow-city" in shown
    result = CliRunner().invoke(replay_app, ["traffic", "--late", "0.9", "--duplicates", "0.9"])
    assert result.exit_code == 1
    assert "at most 0.9" in " ".join(result.output.split())


def test_the_sample_sends_every_stream_that_has_one_and_no_recording(registry: Registry) -> None:
    own = datasets_of(replay_info(SAMPLE), registry)
    recorded = {dataset for info in REPLAYS for dataset in info.datasets}
    assert {"lighting_cabinet", "meter_read", "school_safety_event"} <= set(own)
    assert recorded.isdisjoint(own)
    replay = replayed(SAMPLE)
    for dataset in own:
        contract = registry.dataset(dataset).sample
        assert contract is not None
        assert replay.truth.datasets[dataset].sent == replay.truth.datasets[dataset].silver_rows == contract.rows
        assert replay.truth.datasets[dataset].origins == {"synthetic": contract.rows}


def test_a_sample_is_accepted_whole_by_the_gateway(registry: Registry, settings: Settings) -> None:
    gateway = Gateway.open(registry, settings)
    replay = replayed(SAMPLE)
    for record in raw_records(replay, gateway):
        body = json.loads(record.value)
        assert body["origin"] == "synthetic"
    assert {what for _, what in gateway.counts} == {"accepted"}


def test_sending_a_stream_without_state_again_is_accepted_again() -> None:
    truth = replayed(SAMPLE, FAULTY).truth
    for dataset in truth.datasets.values():
        twice = dataset.sent_times(2)
        assert twice.sent == 2 * dataset.sent == twice.refused_total + twice.duplicate + twice.accepted
        assert twice.silver_rows == dataset.silver_rows
    assert Truth.from_json(truth.to_json()) == truth
