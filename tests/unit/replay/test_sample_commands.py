"""`lake sample`: what it chooses, what it refuses, and what its help says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from catalogue import city
from typer.testing import CliRunner

from pipelines.cli import COMMANDS
from pipelines.gateway.envelope import RawRecord
from pipelines.replay import sample_commands, sender
from pipelines.replay.sample_commands import sample_app, select
from pipelines.replay.truth import load_truth
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()


def test_everything_is_chosen_or_what_is_asked_for() -> None:
    everything = select(REGISTRY, None, streams=True)
    assert set(everything.tables) == {d.id for d in REGISTRY.sector_tables()}
    assert "meter_read" in everything.streams
    assert "river_stage" not in everything.streams
    assert select(REGISTRY, None, streams=False).streams == ()
    some = select(REGISTRY, "meter_read, chart", streams=True)
    assert (some.tables, some.streams) == (("chart",), ("meter_read",))


def test_what_has_no_sample_is_refused_with_what_there_is() -> None:
    with pytest.raises(LakeError, match=r"no sample of river_stage\. Allowed: .*chart"):
        select(REGISTRY, "river_stage,chart", streams=True)
    with pytest.raises(LakeError, match="no sample of meter_read"):
        select(REGISTRY, "meter_read", streams=False)


def test_the_city_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    monkeypatch.setenv("LAKE_NAMESPACE", "city")
    result = CliRunner().invoke(sample_app, ["--scale", "0.1"])
    assert result.exit_code == 1
    assert "--allow-city" in result.output


class Brokers:
    """Stands for Kafka: counts by topic what was published, and remembers the values."""

    values: ClassVar[list[bytes]] = []

    def __init__(self, *_: object) -> None:
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Brokers:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def publish(self, record: RawRecord) -> None:
        self.counts[record.topic] += 1
        self.values.append(record.value)


def test_streams_are_sent_one_by_one_and_their_truths_stand_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    monkeypatch.setenv("LAKE_NAMESPACE", "unit")
    monkeypatch.setattr(sender, "Publisher", Brokers)
    monkeypatch.setattr(sample_commands, "ensure_topics", lambda *_: None)
    monkeypatch.setattr(sample_commands, "endpoints", lambda _: SimpleNamespace(kafka="none:1", postgres="none"))
    result = CliRunner().invoke(
        sample_app, ["--scale", "0.1", "--datasets", "meter_read,lighting_cabinet,school_safety_event"]
    )
    assert result.exit_code == 0, result.output
    assert "synthetic rows of 3 datasets" in " ".join(result.output.split())
    truth = load_truth(Settings.load(), "sample")
    assert {name: t.silver_rows for name, t in truth.datasets.items()} == {
        "lighting_cabinet": 192,
        "meter_read": 192,
        "school_safety_event": 40,
    }
    assert len(Brokers.values) == 424
    assert all(json.loads(value)["origin"] == "synthetic" for value in Brokers.values)


def test_the_help_teaches_and_the_command_is_mounted() -> None:
    shown = " ".join(CliRunner().invoke(sample_app, ["--help"]).output.split())
    for word in ("--scale", "--datasets", "--no-streams", "--allow-city", "synthetic", "Dữ liệu mẫu"):
        assert word in shown
    assert COMMANDS["sample"].attribute == "sample_app"
