"""Scenarios on real Kafka and Flink: switched and edited while the job runs, the same again after a rebuild, and the
same in a dry run over what landed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from pipelines.contracts.model import Qc
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Scenario
from pipelines.gateway.intake import Gateway
from pipelines.gateway.publisher import Publisher
from pipelines.landing.drain import drain
from pipelines.landing.tables import ensure_tables
from pipelines.runtime import flink, kafka
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.flink import Cluster
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.scenarios import publish, rules, runs
from pipelines.scenarios.dry_run import dry_run
from pipelines.streaming.job import plan
from pipelines.streaming.submit import Submission, submit
from pipelines.streaming.topics import ensure_topics

T0 = datetime(2025, 10, 27, tzinfo=UTC)
STATION, OTHER = "71520", "71518"
RUNS, CHANGES = "alert.scenario_run", "alert.scenario_change"
START_S, WAIT_S = 180.0, 60.0
Wait = Callable[..., None]
Row = Mapping[str, Any]


def scenario(scenario_id: str, condition: Mapping[str, Any], **more: object) -> Scenario:
    """A scenario over single readings; ``condition`` is the one condition of its trigger."""
    text = {"vi": f"{scenario_id} {{scope}} {{value}}", "en": f"{scenario_id} {{scope}} {{value}}"}
    content: dict[str, object] = {
        "id": scenario_id,
        "title": text,
        "description": text,
        "kind": "department",
        "owner": "H57.NNMT",
        "clauses": ["I.2.i"],
        "severity": "low",
        "status": "verified",
        "enabled": True,
        "trigger": {"conditions": [{"dataset": "river_stage", **condition}]},
        "headline": text,
        "actions": [{"action": "alert"}],
        **more,
    }
    return Scenario.model_validate(content)


def above(scenario_id: str, stage_m: float, **more: object) -> Scenario:
    """Fires from ``stage_m`` on, ends 0.2 m below."""
    form = {"kind": "threshold", "field": "stage_m", "operator": ">=", "value": stage_m, "clear_value": stage_m - 0.2}
    return scenario(scenario_id, form, **more)


HIGH = above("high", 2.0)
"""The one that is switched, edited and switched off."""
MARK = above("mark", 6.0)
"""The last of its readings has been judged when this one fires on it: then so have those before."""
SILENT = scenario("silent", {"kind": "absence", "for": "40 min"}, clear={"after": "0 s"})
BOTH = scenario(
    "both",
    {"kind": "threshold", "field": "stage_m", "operator": ">=", "value": 2.5, "at_least": 2},
    scope={"by": "city"},
    trigger={
        "within": "30 min",
        "conditions": [
            {
                "kind": "threshold",
                "dataset": "river_stage",
                "field": "stage_m",
                "operator": ">=",
                "value": 2.5,
                "at_least": 2,
            }
        ],
    },
)
"""Its two stations lie in two partitions, so its facts are put in order first."""


class Night:
    """A namespace with the jobs flood and scenarios and a landing process, and a sender of river readings."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings, self.registry = settings, registry
        self.jobs: dict[str, str] = {}
        self.gateway = Gateway.open(registry, settings)

    def submit(self, *names: str) -> None:
        """Start jobs without state and wait until they run."""
        where = endpoints(self.settings).kafka
        jobs = [plan(n, self.registry, self.settings, bootstrap=where, now=datetime.now(UTC)) for n in names]
        self.jobs |= submit([Submission(job) for job in jobs], self.settings)
        for job in jobs:
            flink.wait_running(self.settings, job.name, START_S)

    def say(self, *scenarios: Scenario, enabled: bool = True) -> None:
        """Switch scenarios, as given here, while the job runs; returns when the job has taken them in."""
        told = replace(self.registry, scenarios=scenarios)
        for item in scenarios:
            records = publish.switch(self.settings, told, item.id, enabled=enabled, by="test")
            assert rules.wait_until_taken(self.settings, records, WAIT_S) == ()

    def send(self, *readings: tuple[str, int, float]) -> None:
        """Send readings: station, minutes since T0, and metres; each arrives 2 s after it was taken."""
        with Publisher(self.settings, endpoints(self.settings).kafka) as publisher:
            for station, minute, stage_m in readings:
                at = T0 + timedelta(minutes=minute)
                body = {"station_id": station, "observed_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "stage_m": stage_m}
                publisher.publish(
                    self.gateway.accept(
                        "river_stage", body, source="t", origin="replay", received_at=at + timedelta(seconds=2)
                    )
                )

    def count(self, topic: str, partition: int) -> int:
        """How many records a partition holds."""
        consumer = kafka.consumer(self.settings, "test")
        try:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(self.settings.topic(topic), partition), timeout=10
            )
            return int(high - low)
        finally:
            consumer.close()

    def rows(self, topic: str) -> list[Row]:
        """Every row on a topic, in order."""
        place = TopicPartition(self.settings.topic(topic), 0)
        consumer = kafka.consumer(self.settings, "test")
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([TopicPartition(place.topic, 0, low)])
            found: list[Row] = []
            while len(found) < high - low:
                found += [json.loads(m.value() or b"") for m in consumer.consume(500, 0.5) if m.error() is None]
            return found
        finally:
            consumer.close()

    def expect(self, wait_until: Wait, scenario_id: str, *expected: tuple[float, float | None, str]) -> None:
        """Wait until a scenario has exactly these runs."""
        found: list[object] = []

        def same() -> bool:
            found[:] = self.runs(scenario_id)
            return found == list(expected)

        try:
            wait_until(same, WAIT_S, scenario_id)
        except AssertionError:
            assert found == list(expected), scenario_id

    def runs(self, scenario_id: str) -> list[tuple[float, float | None, str]]:
        """The runs of a scenario: begun and ended in minutes since T0, how it ended or where it runs."""
        last = {row["run_id"]: row for row in self.rows(RUNS) if row["scenario_id"] == scenario_id}
        return [
            (_minute(row["started_at"]), _minute(row.get("ended_at")), row.get("end_reason", row["run_result"]))
            for row in last.values()
        ]  # fmt: skip


def _minute(text: str | None) -> Any:
    return None if text is None else (datetime.fromisoformat(text) - T0).total_seconds() / 60


@pytest.fixture(scope="module")
def night(lake_services: Any) -> Iterator[Night]:
    lake_services.need("kafka", "flink")
    settings: Settings = lake_services.namespace("scenario")
    known = registry_of(settings)
    # The readings of these tests leap on purpose; a quality test would keep them from the rules.
    untested = tuple(d.model_copy(update={"qc": Qc()}) if d.id == "river_stage" else d for d in known.datasets)
    registry = replace(known, datasets=untested, scenarios=())
    ensure_topics(settings, registry)
    ensure_tables(settings, registry)
    found = Night(settings, registry)
    landing = subprocess.Popen(
        [sys.executable, "-c", "from pipelines.landing.commands import landing_app; landing_app()", "run"],
        env={**os.environ, **settings.environment()},
    )
    try:
        found.submit("flood", "scenarios")
        yield found
    finally:
        landing.terminate()
        landing.wait(30)
        with Cluster(endpoints(settings).flink_rest) as cluster:
            for job_id in found.jobs.values():
                cluster.cancel(job_id)


def test_a_rule_is_switched_and_edited_while_the_job_runs(night: Night, wait_until: Wait) -> None:
    before = dict(night.jobs)
    night.say(MARK)
    night.send((STATION, 0, 3.0), (STATION, 10, 6.0), (STATION, 20, 0.5))
    night.expect(wait_until, "mark", (10, 20, "recovered"))

    night.say(HIGH)
    night.send((STATION, 30, 2.1), (STATION, 40, 1.5), (STATION, 50, 2.0))
    night.expect(wait_until, "high", (30, 40, "recovered"), (50, None, "running"))

    # The edit begins without memory: the run that was open ends, and 2.4 m are now too little.
    night.say(above("high", 3.0))
    night.send(
        *((STATION, minute, stage) for minute, stage in ((60, 2.4), (70, 3.1), (80, 2.9), (90, 6.1), (100, 2.0)))
    )
    edited = [(30, 40, "recovered"), (50, 50.0 + 2 / 60, "rule_changed"), (70, 100, "recovered")]
    night.expect(wait_until, "high", *edited)

    night.say(HIGH, enabled=False)
    night.send((STATION, 110, 4.0), (STATION, 120, 6.2), (STATION, 130, 0.5))
    wait_until(lambda: night.runs("mark")[-1] == (120, 130, "recovered"), WAIT_S, "what was sent after it is judged")
    assert night.runs("high") == edited, "it is off"

    log = [
        (row["scenario_id"], row["change_kind"], row["is_enabled"], row["rule_offset"]) for row in night.rows(CHANGES)
    ]
    assert log == [
        ("mark", "enabled", True, 0),
        ("high", "enabled", True, 1),
        ("high", "edited", True, 2),
        ("high", "disabled", False, 3),
    ]
    with Cluster(endpoints(night.settings).flink_rest) as cluster:
        now = {name: cluster.alive(name) for name in before}
    assert {name: job.job_id for name, job in now.items() if job} == before, "no job was restarted"


def test_silence_and_facts_of_several_partitions(night: Night, wait_until: Wait) -> None:
    night.say(SILENT, BOTH)
    # The second partition must not be idle: then the clock would go on without it, as it may when nothing comes.
    night.send((OTHER, 135, 1.0))
    wait_until(lambda: night.count("clean.river_stage", 1) == 1, WAIT_S, "a reading of the other station")
    night.send(
        *((STATION, 140, 2.6), (OTHER, 145, 2.6), (STATION, 150, 2.7), (OTHER, 155, 2.5), (STATION, 160, 2.6)),
        *((OTHER, minute, 1.0) for minute in range(165, 206, 10)),
    )
    silence = 160 + 40 + 2 / 60
    night.expect(wait_until, "silent", (silence, None, "running"))
    night.expect(wait_until, "both", (145, 165, "recovered"))
    night.send((STATION, 210, 1.0))
    night.expect(wait_until, "silent", (silence, 210 + 2 / 60, "recovered"))


def test_a_dry_run_over_what_landed_tells_the_same(night: Night, wait_until: Wait) -> None:
    settings, registry = night.settings, night.registry
    drain(settings, registry, endpoints(settings).kafka, timeout_s=WAIT_S)
    live = {row["run_id"]: row for row in night.rows(RUNS) if row["scenario_id"] in {"mark", "silent", "both"}}
    told = replace(registry, scenarios=(MARK, SILENT, BOTH))
    end = T0 + timedelta(minutes=220)
    past = dry_run(settings, told, MARK, T0, end).runs
    for item in (SILENT, BOTH):
        past += dry_run(settings, told, item, T0 + timedelta(minutes=135), end).runs
    assert {row["run_id"]: row for row in past} == live
    landed = {row["run_id"]: row for row in runs.runs(settings)}
    assert landed.keys() >= live.keys()
    assert {row["run_result"] for row in landed.values()} == {"completed", "aborted"}


def test_an_agency_acknowledges_a_run(night: Night, wait_until: Wait) -> None:
    settings, registry = night.settings, night.registry
    run_id = runs.runs(settings, scenario="both")[0]["run_id"]
    first = runs.acknowledge(settings, registry, run_id, agency="H57.XD", by="truc-ban", note="đã cử người")
    drain(settings, registry, endpoints(settings).kafka, timeout_s=WAIT_S)
    found = {row["outcome_kind"]: row for row in runs.outcomes(settings, run_id)}
    assert found.keys() == {"alert_issued", "alert_ended", "acknowledged"}
    assert found["acknowledged"]["acknowledged_by"] == "truc-ban"
    assert found["acknowledged"]["origin"] == "replay"
    again = runs.acknowledge(settings, registry, run_id, agency="H57.XD", by="another")
    assert again["acknowledged_by"] == first["acknowledged_by"]


def test_a_job_without_state_writes_the_same_rows_again(night: Night, wait_until: Wait) -> None:
    def all_rows() -> list[str]:
        topics = (RUNS, "alert.scenario_outcome", CHANGES)
        found = [json.dumps([topic, row], sort_keys=True) for topic in topics for row in night.rows(topic)]
        return sorted(text for text in found if "acknowledged" not in text)

    before = all_rows()
    assert len(before) > 20
    with Cluster(endpoints(night.settings).flink_rest) as cluster:
        cluster.cancel(night.jobs[night.settings.group("scenarios")])
    night.submit("scenarios")
    wait_until(lambda: len(all_rows()) >= 2 * len(before), WAIT_S, "every row again")
    assert all_rows() == sorted(before * 2)
