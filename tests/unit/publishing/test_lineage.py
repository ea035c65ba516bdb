"""Lineage of the whole repository, and what it rests on: SQL that is followed, functions that are declared."""

import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from catalogue import city
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.contracts.targets import flink
from pipelines.publishing.lineage import openlineage
from pipelines.publishing.lineage.build import build_lineage
from pipelines.publishing.lineage.functions import load_functions
from pipelines.publishing.lineage.graph import ROWS, Column, Edge, Lineage, checked
from pipelines.publishing.lineage.sql import Untraceable, parse, select, table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
JAVA = HOME / "pipelines" / "streaming" / "java" / "src" / "main" / "java" / "vn" / "hue" / "lake" / "flink"
REGISTRY = city()
OUTSIDE = ("sender.", "sector.", "codelist.")

COUNTS_ROWS = {
    "gold.kpi_flood_alarm.reading_count": "count(*) of the day's readings",
    "gold.kpi_flood_alarm.episode_count": "count(*) of the episodes raised on the day",
    "gold.kpi_traffic_hour.reading_count": "count(*) of the hour's readings",
    "gold.kpi_feedback_month.ticket_count": "count(*) of the month's tickets",
    "gold.kpi_camera_event_day.event_count": "count(*) of the day's events",
    "gold.kpi_camera_health_day.expected_minute_count": "count(*) of the day's minutes",
    "gold.kpi_camera_health_day.reported_minute_count": "count(*) of the camera's minutes",
    "gold.kpi_camera_health_day.outage_count": "count(*) of the outages that begin",
    "gold.kpi_camera_health_day.repaired_count": "count(*) of the outages that end",
    "gold.kpi_camera_share.query_count": "count(*) of the month's queries",
    "gold.kpi_camera_share.system_count": "count(*) of the listed systems",
    "gold.kpi_fire_event.suspected_count": "count(*) of the month's suspicions",
    "gold.kpi_toll_day.passage_count": "count(*) of the day's passages",
    "gold.kpi_transit_on_time.scheduled_arrival_count": "count(*) of the timetable's stops",
    "gold.kpi_transit_on_time.arrival_count": "count(*) of the observed arrivals",
    "gold.kpi_vehicle_mix_hour.reading_count": "count(*) of the hour's counts",
    **{
        f"gold.kpi_sensor_quality.{item.name}": "count(*) of the readings of a day, all or those with a flag or finding"
        for item in REGISTRY.dataset("kpi_sensor_quality").fields
        if item.name.endswith("_count")
    },
}
"""The figures that come from no column: they count rows, and their way goes up over the rows of every table."""

SAID_BY_THE_MODEL = {
    "gold.fct_flood_forecast.is_official": "which of the two tables a forecast stands in",
    "gold.fct_neighbour_check.dataset_id": "the name of the stream",
    "gold.fct_neighbour_check.field_name": "the name of the compared field",
    "gold.kpi_sensor_quality.dataset_id": "the name of the stream",
}
"""Columns that hold a word of the model itself: they come from nowhere."""

SET_BY_THE_PLATFORM = {
    "origin": "the gateway or the load says observed, replay or synthetic",
    "received_at": "the clock of the receipt",
}
"""Columns of the marts that no source sends: their way ends where the platform sets them."""


@cache
def lineage():
    """The lineage of the repository: seconds of work, so only where it is asked for."""
    return build_lineage(HOME, REGISTRY)


def up(text):
    (column,) = lineage().resolve(text)
    return lineage().reach(column)


def sources_of_value(column):
    """The upper end of the values alone: what only decides which value it is (an order, a condition) does not count."""
    above = [edge.source for edge in lineage().next(column) if edge.is_value]
    return {column} if not above else {end for source in above for end in sources_of_value(source)}


def edges_into(text):
    return {(str(e.source), e.how) for e in lineage().next(lineage().resolve(text)[0])}


def test_everything_is_followed_field_by_field():
    assert lineage().untraced == ()


def test_a_namespace_of_fewer_datasets_is_followed_as_far_as_its_marts_read():
    part = build_lineage(HOME, city().only("demo"))
    assert part.untraced == ()
    read = {edge.source.dataset for edge in part.next(part.resolve("kpi_sensor_quality.reading_count")[0])}
    assert "silver.river_stage" in read and "silver.device_heartbeat" not in read


def test_no_edge_joins_a_column_that_does_not_exist():
    assert checked(lineage()) is lineage()
    wrong = Edge(
        Column("silver.river_stage", "stage_cm"), Column("gold.fct_river_stage", "stage_m"), "identity", "", "x"
    )
    with pytest.raises(ValueError, match=r"no silver\.river_stage\.stage_cm"):
        checked(Lineage(lineage().columns, (*lineage().edges, wrong)))


@pytest.mark.parametrize("mart", REGISTRY.marts(), ids=lambda d: d.id)
def test_every_column_of_a_mart_goes_up_to_a_source(mart):
    for field in mart.fields:
        column = Column(f"gold.{mart.id}", field.name)
        values = [edge for edge in lineage().reach(column) if edge.is_value]
        sources = {source for source in lineage().sources(column) if source.dataset.startswith(OUTSIDE)}
        assert bool(values) != (str(column) in SAID_BY_THE_MODEL), f"{column} comes from nothing"
        if not values:
            continue
        if field.name in SET_BY_THE_PLATFORM:
            sent = {source for source in sources_of_value(column) if source.dataset.startswith(OUTSIDE)}
            assert not sent, f"{column} is no longer set by the platform: take it off the list"
            continue
        fields = {source for source in sources if source.field != ROWS}
        assert sources, f"{column} ends before a source"
        direct = {edge.source.field for edge in lineage().next(column) if edge.is_value}
        assert (direct == {ROWS}) == (str(column) in COUNTS_ROWS), f"{column}: {COUNTS_ROWS.get(str(column))}"
        assert fields or str(column) in COUNTS_ROWS


def test_the_peak_of_the_flood_goes_up_to_the_gauge():
    way = [(str(e.source), e.how, e.process) for e in up("kpi_flood_alarm.peak_stage_m")]
    assert way == [
        ("gold.fct_river_stage.stage_m", "aggregate", "dbt kpi_flood_alarm"),
        ("silver.river_stage.stage_m", "identity", "dbt fct_river_stage"),
        ("clean.river_stage.stage_m", "identity", "landing"),
        ("raw.river_stage.stage_m", "identity", "flink flood"),
        ("fiware.WaterObserved.height", "identity", "gateway"),
        ("sender.river_stage.stage_m", "identity", "gateway"),
        ("sensorthings.result", "identity", "gateway"),
    ]
    assert up("kpi_flood_alarm.peak_stage_m")[0].detail == "MAX(stage_m)"


def test_and_the_gauge_goes_down_to_the_marts_and_what_people_read():
    below = {str(e.target) for e in lineage().reach(Column("sender.river_stage", "stage_m"), down=True)}
    assert {
        "bronze.river_stage.payload",
        "silver.flood_alert.peak_stage_m",
        "gold.kpi_flood_alarm.*",
        "published.kpi_flood_alarm.peak_stage_m",
        "live.river_stage.stage_m",
    } <= below


def test_the_alarm_function_is_known_by_its_declaration():
    threshold = next(e for e in lineage().next(Column("alert.flood", "threshold_m")))
    assert (str(threshold.source), threshold.how) == ("codelist.alarm_levels.threshold_m", "function")
    assert threshold.detail.startswith("FloodAlarm(") and "uid" not in threshold.detail
    assert ("clean.river_stage.stage_m", "function") in edges_into("alert.flood.peak_stage_m")
    rows = {(str(e.source), e.how) for e in lineage().next(Column("alert.flood", ROWS))}
    assert ("clean.river_stage.qc_flag", "filter") in rows
    assert ("clean.river_stage.disposition", "filter") in rows


def test_free_storage_comes_from_the_level_and_the_storage_table():
    found = {source for source, how in edges_into("agg.reservoir_state.free_storage_mm3") if how == "function"}
    assert found == {
        "clean.reservoir_op.level_m",
        "clean.reservoir_op.qc_flag",
        "codelist.reservoirs.normal_level_m",
        "codelist.reservoir_storage.storage_mm3",
    }


def test_a_time_window_is_told_from_a_group():
    found = next(
        e for e in lineage().next(Column("agg.lane_flow_5min", "vehicle_count")) if e.source.field == "vehicle_count"
    )
    assert found.how == "window"
    assert "SUM(vehicle_count)" in found.detail and "TUMBLE" in found.detail and "'5' MINUTE" in found.detail
    assert ("clean.lane_minute.observed_at", "window") in edges_into("agg.lane_flow_5min.window_start_at")


def test_quality_flags_rest_on_what_was_tested_and_only_decide():
    flags = edges_into("clean.lane_minute.qc_flag")
    measures = ("vehicle_count", "mean_speed_kmh", "occupancy_pct", "travel_time_s", "queue_m")
    assert flags == {(f"raw.lane_minute.{name}", "condition") for name in measures}
    flags = edges_into("clean.river_stage.qc_flag")
    columns = {f"raw.river_stage.{name}" for name in ("stage_m", "station_id", "observed_at", "revision")}
    limits = {f"codelist.stage_limits.{name}" for name in ("suspect_low", "suspect_high", "fail_low", "fail_high")}
    seasons = {"codelist.stage_seasons.suspect_low", "codelist.stage_seasons.suspect_high"}
    assert {source for source, _ in flags} == columns | limits | seasons
    assert {how for _, how in flags} == {"condition", "function"}
    assert "raw.river_stage.observed_at" in {source for source, _ in edges_into("clean.river_stage.disposition")}


def test_a_token_says_of_which_clear_column_and_reaches_no_view():
    edge = lineage().next(Column("bronze.feedback_ticket", "phone_token"))[0]
    assert (str(edge.source), edge.how) == ("sector.hues.feedback_ticket.reporter_phone", "token")
    for dataset in REGISTRY.datasets:
        for field in dataset.fields:
            if field.tokenise:
                below = lineage().reach(Column(f"silver.{dataset.id}", field.name), down=True)
                shown = [e for e in below if e.target.dataset.startswith(("published.", "live."))]
                assert not [e for e in shown if e.is_value], field.name


def test_the_declared_functions_are_those_of_the_java_sources():
    functions = load_functions().functions
    for name in ("FloodAlarm", "RainAccumulation", "ReservoirState", "RiverTrend", "UrbanDepth"):
        text = (JAVA / f"{name}.java").read_text(encoding="utf-8")
        assert tuple(functions[name.lower()].adds) == tuple(re.findall(r'DataTypes\.FIELD\("(\w+)"', text)), name
    text = (JAVA / "Disposition.java").read_text(encoding="utf-8")
    assert re.findall(r'DataTypes\.FIELD\("(\w+)"', text) == ["disposition"]
    assert set(functions["disposition"].adds) == {"disposition", "rowtime"}
    assert "PASS_COLUMNS_THROUGH" in text and functions["disposition"].passes_all
    text = (JAVA / "QualityTests.java").read_text(encoding="utf-8")
    assert {*re.findall(r'DataTypes\.FIELD\("(\w+)"', text), "rowtime"} == set(functions["qualitytests"].adds)
    assert "PASS_COLUMNS_THROUGH" in text and functions["qualitytests"].passes_all
    text = (JAVA / "TrafficIncident.java").read_text(encoding="utf-8")
    assert tuple(functions["trafficincident"].adds) == tuple(re.findall(r'DataTypes\.FIELD\("(\w+)"', text))
    assert "PASS_COLUMNS_THROUGH" in text and functions["trafficincident"].passes_all
    text = (JAVA / "CodeListJoin.java").read_text(encoding="utf-8")
    assert "PASS_COLUMNS_THROUGH" in text and functions["codelistjoin"].passes_all
    assert functions["codelistjoin"].joins == "list" and not functions["codelistjoin"].adds


def test_a_joined_code_list_adds_its_columns_and_its_keys_decide():
    into = edges_into("agg.lane_class_flow_5min.flow_pcuh")
    assert ("codelist.vehicle_classes.pcu_factor", "function") in into
    assert ("clean.lane_class_count.vehicle_class", "function") in into
    assert ("codelist.lane_free_flow.free_flow_speed_kmh", "function") in edges_into("agg.lane_flow_5min.is_congested")
    incident = {source for source, _ in edges_into("alert.traffic.transition")}
    assert {"codelist.incident_thresholds.docctd_ratio", "clean.lane_minute.occupancy_pct"} <= incident


def test_an_undeclared_function_is_not_guessed():
    functions = load_functions()
    with pytest.raises(Untraceable, match="does not say what Magic makes"):
        functions.take_out("SELECT * FROM Magic(input => TABLE t PARTITION BY a)", {"t": table("silver.t", ["a"])})
    with pytest.raises(Untraceable, match="no known relation"):
        functions.take_out(flink.conformed(REGISTRY.dataset("river_stage")), {})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a as x from t", {("a", "identity")}),
        ("select a + b as x from t", {("a", "expression"), ("b", "expression")}),
        ("select case when a > 1 then b end as x from t", {("a", "condition"), ("b", "expression")}),
        ("select if(a > 1, 'yes', 'no') as x from t", {("a", "condition")}),
        ("select sum(a) filter (where b > 1) as x from t", {("a", "aggregate"), ("b", "condition")}),
        ("select max(a) over (partition by b order by b) as x from t", {("a", "window"), ("b", "order")}),
        ("select min_by(a, b) as x from t", {("a", "aggregate"), ("b", "order")}),
        ("select count(*) as x from t", {(ROWS, "aggregate")}),
        ("select x from (select a as x from t union all select b as x from t)", {("a", "identity"), ("b", "identity")}),
        ("with q as (select *, a * 2 as d from t) select coalesce(max(d), 0) as x from q", {("a", "aggregate")}),
        ("select 1 as x from t", set()),
    ],
)  # fmt: skip
def test_the_part_that_a_column_plays(sql, expected):
    relation = select(parse(sql), {"t": table("silver.t", ["a", "b", "c"])})
    assert {(item.field, item.how) for item in relation.columns["x"]} == expected


def test_what_decides_upon_rows():
    sql = "select t.a from t join u on t.b = u.b where t.c > 1 group by t.a"
    relation = select(parse(sql), {"t": table("silver.t", ["a", "b", "c"]), "u": table("silver.u", ["b"])})
    assert {(i.dataset, i.field, i.how) for i in relation.rows} == {
        ("silver.t", ROWS, "table"),
        ("silver.u", ROWS, "table"),
        ("silver.t", "b", "join"),
        ("silver.u", "b", "join"),
        ("silver.t", "c", "filter"),
        ("silver.t", "a", "group"),
    }


@pytest.mark.parametrize(
    "sql",
    ["select nothing from t", "select a from unknown", "select (select max(a) from t) as x from t", "not sql ("],
)
def test_what_is_not_followed_is_said(sql):
    with pytest.raises(Untraceable):
        select(parse(sql), {"t": table("silver.t", ["a"])})


def test_a_mart_that_cannot_be_followed_keeps_its_tables(tmp_path):
    (tmp_path / "dbt_project" / "models").mkdir(parents=True)
    (tmp_path / "dbt_project" / "dbt_project.yml").write_text("vars: {}\n", encoding="utf-8")
    found = build_lineage(tmp_path, REGISTRY)
    assert "dbt kpi_flood_alarm: dbt has no model kpi_flood_alarm" in found.untraced
    into = {(str(e.source), e.how) for e in found.next(Column("gold.kpi_flood_alarm", ROWS))}
    assert into == {("gold.fct_river_stage.*", "table"), ("gold.fct_flood_episode.*", "table")}


def test_names_are_found_with_and_without_layer():
    assert lineage().resolve("river_stage.stage_m") == (Column("silver.river_stage", "stage_m"),)
    assert lineage().resolve("raw.river_stage.stage_m") == (Column("raw.river_stage", "stage_m"),)
    assert len(lineage().resolve("kpi_flood_alarm")) == len(REGISTRY.dataset("kpi_flood_alarm").fields)
    with pytest.raises(LakeError, match=r"không có trường 'peak'.*It has: station_id"):
        lineage().resolve("kpi_flood_alarm.peak")
    with pytest.raises(LakeError, match=r"Không có bộ dữ liệu.*bronze\.river_stage"):
        lineage().resolve("stage.stage_m")


def test_the_command_prints_a_tree_and_json(monkeypatch, tmp_path):
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    printed = CliRunner().invoke(app, ["lineage", "kpi_flood_alarm.peak_stage_m"])
    assert printed.exit_code == 0
    lines = printed.stdout.splitlines()
    assert lines[0].strip() == "gold.kpi_flood_alarm.peak_stage_m"
    assert "sender.river_stage.stage_m  identity  gateway" in printed.stdout
    said = json.loads(CliRunner().invoke(app, ["lineage", "silver.river_stage.qc_flag", "--down", "--json"]).stdout)
    assert said["direction"] == "down"
    assert {"gold.kpi_flood_alarm"} <= {edge["target"]["dataset"] for edge in said["edges"]}


def test_openlineage_events_have_the_structure_of_the_specification(monkeypatch, tmp_path):
    """Spec 2-0-2, facets columnLineage 1-2-0, schema 1-2-0, documentation 1-1-0: required keys, closed values."""
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    file = tmp_path / "events.json"
    assert CliRunner().invoke(app, ["lineage", "--openlineage", str(file)]).exit_code == 0
    events = json.loads(file.read_text(encoding="utf-8"))
    base = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
    kinds = {event["schemaURL"].removeprefix(base) for event in events}
    assert kinds == {"DatasetEvent", "JobEvent"}
    datasets = {e["dataset"]["name"]: e["dataset"] for e in events if "dataset" in e}
    assert set(datasets) == set(lineage().columns)
    for event in events:
        assert datetime.fromisoformat(event["eventTime"]).tzinfo and event["producer"].startswith("https://")
        named = [event["dataset"]] if "dataset" in event else [event["job"], *event["inputs"], *event["outputs"]]
        assert all(item["namespace"] == "lake://city" and item["name"] for item in named)
    for name, dataset in datasets.items():
        for facet_name, facet in dataset["facets"].items():
            assert facet["_producer"] and facet_name in {"schema", "columnLineage", "documentation"}
            assert re.fullmatch(
                r"https://openlineage\.io/spec/facets/\d-\d-\d/(\w+)\.json#/\$defs/\1", facet["_schemaURL"]
            )
        columns = [field["name"] for field in dataset["facets"]["schema"]["fields"]]
        assert columns == list(lineage().columns[name])
        followed = dataset["facets"].get("columnLineage")
        if followed is None:
            continue
        assert set(followed["fields"]) <= set(columns)
        inputs = [i for field in followed["fields"].values() for i in field["inputFields"]]
        for item in [*inputs, *followed.get("dataset", [])]:
            assert item["field"] in lineage().columns[item["name"]]
            for way in item["transformations"]:
                assert way["type"] in {"DIRECT", "INDIRECT"}
                assert way["subtype"] in {
                    "IDENTITY", "TRANSFORMATION", "AGGREGATION",
                    "JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL",
                }  # fmt: skip


def test_a_token_is_said_to_be_masking():
    at = datetime(2025, 11, 1, tzinfo=UTC)
    events = openlineage.events(lineage(), REGISTRY, "drill", at)
    bronze = next(e["dataset"] for e in events if e.get("dataset", {}).get("name") == "bronze.feedback_ticket")
    (source,) = bronze["facets"]["columnLineage"]["fields"]["phone_token"]["inputFields"]
    assert source["namespace"] == "lake://drill" and source["field"] == "reporter_phone"
    assert source["transformations"][0]["masking"] is True
    assert events == openlineage.events(lineage(), REGISTRY, "drill", at)


def test_settings_are_not_needed_to_build():
    assert build_lineage(Settings.load({"LAKE_HOME": str(HOME)}).home, REGISTRY).edges == lineage().edges
