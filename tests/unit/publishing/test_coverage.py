"""Stages read from a lake of a few tables: no service runs."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.ingestion import records
from pipelines.ingestion.records import LoadRun
from pipelines.publishing import coverage as module
from pipelines.publishing import ledger
from pipelines.publishing.catalog import write_catalog
from pipelines.publishing.coverage import STAGES, coverage
from pipelines.publishing.ledger import Publication
from pipelines.quality import store
from pipelines.quality.model import Verdict
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
NOW = datetime(2025, 10, 27, 13, tzinfo=UTC)
NAMES = ("river_stage", "flood_alert", "fct_river_stage", "kpi_flood_alarm", "feedback_ticket", "rain_gauge")


def small_registry() -> Registry:
    """Six contracts and two systems, so that what is asserted does not follow the growth of the catalogue."""
    full = city()
    systems = {"river_stage": (18,), "flood_alert": (18,), "kpi_flood_alarm": (18,), "feedback_ticket": (33,)}
    datasets = tuple(full.dataset(n).model_copy(update={"systems": systems.get(n, ())}) for n in sorted(NAMES))
    kept = tuple(s for s in full.systems if s.id in {18, 30, 33})
    parts = {name: getattr(full, name) for name in full.__dataclass_fields__}
    return Registry(**{**parts, "datasets": datasets, "systems": kept})


REGISTRY = small_registry()


@pytest.fixture
def settings(tmp_path):
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


@pytest.fixture
def nothing_generated(monkeypatch, tmp_path):
    """The generated DCAT catalogue is not looked at: it may or may not have been built."""
    monkeypatch.setattr(module, "DCAT", tmp_path / "none.jsonld")


def reading(settings, layer="silver"):
    values = {
        "station_id": "71520",
        "observed_at": NOW,
        "stage_m": Decimal("1.5"),
        "received_at": NOW,
        "observed_date": date(2025, 10, 27),
        "received_date": date(2025, 10, 27),
        "payload": b"{}",
    }
    schema = arrow_schema(REGISTRY.dataset("river_stage"), layer)
    write_deltalake(
        str(settings.table_path(layer, "river_stage")), pa.Table.from_pylist([values], schema=schema), mode="append"
    )


def mart(settings, name, rows=1):
    schema = pa.schema([pa.field(f.name, f.type.arrow) for f in REGISTRY.dataset(name).fields])
    write_deltalake(str(settings.table_path("gold", name)), pa.Table.from_pylist([{}] * rows, schema=schema))


def judge(settings, version, verdict="passed", failed=()):
    given = Verdict("r", "silver", "river_stage", version, verdict, failed, (), (), 1, "", "1.0.0", None, NOW, 0.1)
    store.save(settings, [(given, [])])


def stages(settings, dataset):
    found = next(d for d in coverage(settings, REGISTRY).datasets if d.dataset == dataset)
    return {name: stage.state for name, stage in found.stages.items()}, found.stages


def test_an_empty_lake_has_contracts_only(settings, nothing_generated):
    found = coverage(settings, REGISTRY)
    assert [(s.system.id, len(s.datasets)) for s in found.systems] == [(18, 3), (30, 0), (33, 1)]
    assert [d.dataset for d in found.others] == ["fct_river_stage", "rain_gauge"]
    total = found.to_dict()["total"]
    assert (total["datasets"], total["systems_with_datasets"]) == (6, 2)
    reached = {name: count["reached"] for name, count in total["counts"].items()}
    assert reached == dict.fromkeys(STAGES, 0) | {"contract": 6}
    assert total["counts"]["source"]["of"] == 3  # what is computed has no source of its own


def test_every_stage_is_found_where_it_happened(settings, nothing_generated):
    reading(settings, "bronze")
    assert stages(settings, "river_stage")[0]["source"] == "reached"
    reading(settings)
    judge(settings, 0)
    mart(settings, "fct_river_stage", rows=0)
    state, said = stages(settings, "river_stage")
    assert (state["silver"], state["checked"], state["mart"]) == ("reached", "reached", "missing")
    assert said["checked"].note == "passed" and said["silver"].note == "1 rows, version 0"
    mart(settings, "kpi_flood_alarm")
    pin = Publication("river_stage", "silver", 0, None, "published", "publish", "passed", "r", "", "A", NOW)
    ledger.record(settings, [pin])
    write_catalog(settings, REGISTRY)
    state, said = stages(settings, "river_stage")
    assert set(state.values()) == {"reached"}
    assert (said["mart"].note, said["published"].note) == ("kpi_flood_alarm", "version 0")
    state, said = stages(settings, "kpi_flood_alarm")
    assert (state["silver"], state["source"], state["mart"]) == ("not_applicable", "not_applicable", "reached")


def test_a_verdict_counts_for_its_version_and_a_failed_one_is_a_check(settings):
    reading(settings)
    judge(settings, 0, "failed", ("row_count",))
    assert stages(settings, "river_stage")[1]["checked"].note == "failed: row_count"
    reading(settings)
    state, said = stages(settings, "river_stage")
    assert state["checked"] == "missing"
    assert said["checked"].note == "failed at version 0, but the newest is 1"


def test_a_finished_load_is_a_source_even_of_an_empty_table(settings):
    records.record(settings, LoadRun("r1", "feedback_ticket", NOW, NOW, status=records.FAILED, error="no"))
    assert stages(settings, "feedback_ticket")[0]["source"] == "missing"
    records.record(settings, LoadRun("r2", "feedback_ticket", NOW, NOW))
    state, said = stages(settings, "feedback_ticket")
    assert (state["source"], said["source"].note) == ("reached", "1 loads")


def test_the_generated_dcat_catalogue_counts_too(settings, monkeypatch, tmp_path):
    path = tmp_path / "catalog.jsonld"
    graph = [{"type": "dcat:Dataset", "identifier": "river_stage"}, {"dct:identifier": {"@value": "rain_gauge"}}]
    context = {"identifier": "dct:identifier"}
    path.write_text(json.dumps({"@context": context, "@graph": graph}), encoding="utf-8")
    monkeypatch.setattr(module, "DCAT", path)
    for name, expected in (("river_stage", "reached"), ("rain_gauge", "reached"), ("flood_alert", "missing")):
        assert stages(settings, name)[0]["catalogued"] == expected


def test_one_system_and_an_unknown_one(settings):
    found = coverage(settings, REGISTRY, 33)
    assert [s.system.id for s in found.systems] == [33] and not found.others
    with pytest.raises(LakeError, match="Không có hệ thống 99"):
        coverage(settings, REGISTRY, 99)


def test_a_table_that_cannot_be_read_is_an_error_that_names_it(settings):
    reading(settings)
    log = settings.table_path("silver", "river_stage") / "_delta_log"
    (log / f"{0:020d}.json").write_text("{broken", encoding="utf-8")
    with pytest.raises(LakeError, match="Không đọc được"):
        coverage(settings, REGISTRY)
    assert not DeltaTable.is_deltatable(str(settings.table_path("gold", "kpi_flood_alarm")))


def test_the_command_prints_every_system_and_json(settings, monkeypatch):
    monkeypatch.setenv("LAKE_STATE", str(settings.state))
    printed = CliRunner().invoke(app, ["catalog", "coverage"])
    assert printed.exit_code == 0
    assert "Tổng" in printed.stdout and "30. Kinh phí" in printed.stdout
    said = json.loads(CliRunner().invoke(app, ["catalog", "coverage", "--json"]).stdout)
    assert len(said["systems"]) == said["total"]["systems"] == 34
