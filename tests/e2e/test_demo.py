"""From sensor bytes and a sector database to a KPI in Trino: the demo at small size, and what its readers see."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from demo_run import PLAN, DemoRun, rows

from pipelines.commands.demo import REPLAYS, wait_until_settled
from pipelines.contracts.system import REFUSALS
from pipelines.contracts.targets.trino import is_live
from pipelines.landing.ledger import ledger
from pipelines.publishing.cap.rules import problems
from pipelines.replay import cameras
from pipelines.replay.catalog import make_replay
from pipelines.replay.kept import letters
from pipelines.replay.resend import Resender
from pipelines.replay.sender import send_replay
from pipelines.runtime.decision import Decision
from pipelines.runtime.launcher import LOG_NAME
from pipelines.runtime.ports import service_folder
from pipelines.runtime.servers.flink import TASKMANAGER
from pipelines.runtime.services import endpoints
from pipelines.serving.trino import Client, QueryError

pytestmark = pytest.mark.timeout(1500)
T0 = datetime(2025, 1, 1, tzinfo=UTC)


def _query(run: DemoRun, sql: str, user: str = "analyst") -> list[tuple[object, ...]]:
    with Client(run.settings, user=user) as client:
        return [tuple(row) for row in client.query(sql)]


def test_the_published_peaks_of_the_flood_are_exact(demo_run: DemoRun) -> None:
    peaks = _query(
        demo_run,
        "SELECT station_id, max(stage_m), CAST(max_by(observed_at, stage_m) AT TIME ZONE 'UTC' AS varchar) "
        "FROM published.fct_river_stage GROUP BY station_id ORDER BY station_id",
    )
    assert [(station, peak) for station, peak, _ in peaks] == [("71518", Decimal("5.310")), ("71520", Decimal("5.050"))]
    assert str(peaks[1][2]).startswith("2025-10-27 13:00:00"), "Kim Long peaks at 20:00 in Huế"
    phu_oc = _query(
        demo_run,
        "SELECT local_date, peak_stage_m FROM published.kpi_flood_alarm "
        "WHERE station_id = '71518' AND peak_stage_m IN (5.250, 5.270, 5.310) ORDER BY local_date",
    )
    assert [(str(day), peak) for day, peak in phu_oc] == [
        ("2025-10-27", Decimal("5.250")),
        ("2025-10-29", Decimal("5.270")),
        ("2025-11-03", Decimal("5.310")),
    ]


def test_the_jobs_share_the_memory_that_the_configuration_names(demo_run: DemoRun) -> None:
    """Flink ignores the size without a word while it manages memory itself; each job then has a sixteenth of it."""
    settings = demo_run.settings
    config = (settings.home / "infra/flink/config.yaml").read_text(encoding="utf-8")
    wanted = re.search(r"^state\.backend\.rocksdb\.memory\.fixed-per-tm: (\d+)m$", config, re.MULTILINE)
    assert wanted
    log = (service_folder(settings, TASKMANAGER) / LOG_NAME).read_text(encoding="utf-8")
    sizes = {int(size) for size in re.findall(r"Obtained shared RocksDB cache of size (\d+) bytes", log)}
    assert sizes == {int(wanted[1]) << 20}


def test_the_night_is_measured_against_the_record_known_before_it(demo_run: DemoRun) -> None:
    rows = _query(
        demo_run,
        "SELECT alert_id, peak_stage_m FROM published.fct_flood_episode WHERE alarm_level = 4 ORDER BY raised_at",
    )
    assert [peak for _, peak in rows] == [Decimal("5.250"), Decimal("5.270"), Decimal("5.310")]
    assert all(str(alert_id).startswith("record|71518|2025-1") for alert_id, _ in rows)


def test_live_rates_sums_and_levels_are_those_of_the_bulletins(demo_run: DemoRun) -> None:
    """Duplicates, corrections and late records are among the readings: the figures are exact all the same."""
    ((rate, hours),) = _query(
        demo_run,
        "SELECT avg(rise_1h_mh), count(*) FROM live.river_trend WHERE station_id = '71520' AND minute(observed_at) = 0 "
        "AND observed_at BETWEEN TIMESTAMP '2025-10-27 01:00:00 UTC' AND TIMESTAMP '2025-10-27 13:00:00 UTC'",
    )
    assert hours == 13 and abs(float(str(rate)) - 0.113) < 0.005, "1.47 m in 13 hours"
    assert _query(
        demo_run,
        "SELECT rain_24h_mm, coverage_24h_pct FROM live.rain_accumulation "
        "WHERE station_id = 'HUE-BM' AND observed_at = TIMESTAMP '2025-10-27 12:00:00 UTC'",
    ) == [(Decimal("1739.000"), Decimal("100.000"))]
    assert _query(
        demo_run,
        "SELECT below_normal_m, net_inflow_m3s FROM live.reservoir_state "
        "WHERE reservoir_id = 'TA-TRACH' AND observed_at = TIMESTAMP '2025-10-27 00:00:00 UTC'",
    ) == [(Decimal("2.820"), Decimal("6498.000"))]


def test_alerts_of_a_replay_are_exercises_with_their_xml(demo_run: DemoRun) -> None:
    rows = _query(
        demo_run,
        "SELECT a.cap_identifier, min(a.cap_status), min(a.cap_severity), count(*), min(m.xml) FROM live.alert_cap a "
        "JOIN live.catalog_cap_message m ON m.cap_identifier = a.cap_identifier GROUP BY 1",
    )
    assert {status for _, status, *_ in rows} == {"Exercise"}
    assert {severity for _, _, severity, *_ in rows} == {"Minor", "Moderate", "Severe", "Extreme"}
    for identifier, _, _, wards, xml in rows:
        assert problems(str(xml).encode()) == (), identifier
        assert str(xml).count("<geocode>") == 2 * int(str(wards)), "in both languages"


def test_forecasts_are_scored_on_the_wave_that_they_have_not_seen(demo_run: DemoRun) -> None:
    rows = _query(
        demo_run,
        "SELECT station_id, forecaster, lead_h, forecast_count, in_sample_count, persistence_skill, training_origin "
        "FROM published.kpi_flood_forecast WHERE alarm_level = 0 AND forecaster <> 'kttv_hue'",
    )
    assert {(station, method) for station, method, *_ in rows} == {
        (station, method) for station in ("71518", "71520") for method in ("persistence", "trend", "lag_route")
    }
    for station, method, lead, count, in_sample, skill, origin in rows:
        assert (in_sample, origin) == (0, "mixed") and int(str(count)) > 40
        if method == "persistence":
            assert abs(float(str(skill))) < 0.1, (
                "persistence is what it is measured against, but for readings that came late"
            )
        elif method == "lag_route":
            assert float(str(skill)) > 0, f"{station} at {lead} h"
    official = _query(
        demo_run,
        "SELECT lead_h, mae_m FROM published.kpi_flood_forecast WHERE forecaster = 'kttv_hue' AND alarm_level = 0",
    )
    assert sorted(int(str(lead)) for lead, _ in official) == [6, 12, 16]


def test_every_record_is_accounted_for_as_the_replays_truth_says(demo_run: DemoRun) -> None:
    assert demo_run.result.balance.violations == ()
    entries = {entry.dataset: entry for entry in demo_run.result.balance.records.datasets}
    for name in REPLAYS:
        for dataset, truth in demo_run.truth(name).datasets.items():
            entry = entries[dataset]
            counted = (entry.received, entry.refused, entry.duplicate, entry.on_time, entry.late, entry.corrected)
            expected = (
                *(truth.sent, truth.refused_total, truth.duplicate),
                *(truth.on_time, truth.late, truth.corrected),
            )
            assert counted == expected, dataset
            assert (entry.quarantined, entry.rows_in_silver) == (truth.quarantined, truth.silver_rows), dataset


def test_every_refusal_has_its_reason_and_its_bytes(demo_run: DemoRun) -> None:
    path = demo_run.settings.table_path("quality", "dead_letter")
    letters = DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    for name in REPLAYS:
        for dataset, truth in demo_run.truth(name).datasets.items():
            found: dict[str, set[tuple[int, int]]] = {}
            for letter in (item for item in letters if item["dataset"] == dataset):
                reason = ":".join(part for part in (letter["reason"], letter["detail"]) if part)
                found.setdefault(reason, set()).add((letter["raw_partition"], letter["raw_offset"]))
                assert letter["payload"] or reason == "empty", f"{dataset} {reason} lost its bytes"
            assert {reason: len(places) for reason, places in found.items()} == dict(truth.refused), dataset


def test_live_and_settled_alarms_agree_or_their_difference_is_a_row(demo_run: DemoRun) -> None:
    live = _query(demo_run, "SELECT DISTINCT alert_id FROM published.flood_alert WHERE transition = 'raise'")
    settled = _query(demo_run, "SELECT alert_id FROM published.fct_flood_episode")
    different = _query(
        demo_run,
        "SELECT alert_id FROM published.fct_flood_alarm_difference WHERE is_in_live <> is_in_settled",
    )
    assert settled
    assert set(live) ^ set(settled) == set(different)


def test_the_scenario_ran_with_every_second_alarm_as_an_exercise(demo_run: DemoRun) -> None:
    alarms = "SELECT station_id, transition_at FROM live.flood_alert WHERE alarm_level = 2 AND transition = {}"
    runs = "SELECT scope_key, {} FROM live.scenario_run_v2 WHERE scenario_id = 'river_alarm_two' AND {} IS NOT NULL"
    for alarm, column in (("'raise'", "started_at"), ("'clear'", "ended_at")):
        expected = sorted(_query(demo_run, alarms.format(alarm)))
        assert len(expected) >= (2 if column == "started_at" else 0), "the river stays above level 2 until the end"
        assert sorted(_query(demo_run, runs.format(column, column))) == expected
    kinds = _query(demo_run, "SELECT DISTINCT trigger_kind, origin FROM live.scenario_run_v2")
    assert {kind for kind, _ in kinds} == {"exercise"}
    assert {origin for _, origin in kinds} <= {"replay", "synthetic"}
    assert "nước sông đạt báo động 2" in demo_run.output


def test_everything_published_is_judged_and_readable(demo_run: DemoRun) -> None:
    published = {str(row[0]) for row in _query(demo_run, "SHOW TABLES FROM published")}
    live = {str(row[0]) for row in _query(demo_run, "SHOW TABLES FROM live")}
    assert {d.id for d in demo_run.registry.datasets} <= published
    assert {d.id for d in demo_run.registry.datasets if is_live(d)} <= live
    assert {pin.dataset for pin in demo_run.result.balance.pins} == {d.id for d in demo_run.registry.datasets}


def test_an_analyst_reads_neither_the_layers_below_nor_personal_columns(demo_run: DemoRun) -> None:
    for statement in (
        "SELECT * FROM silver.river_stage",
        "SELECT * FROM gold.dim_ward",
        "DROP VIEW published.dim_ward",
    ):
        with pytest.raises(QueryError):
            _query(demo_run, statement)
    columns = {str(row[0]) for row in _query(demo_run, "DESCRIBE published.feedback_ticket")}
    assert "ticket_id" in columns
    assert not columns & {"content_text", "reporter_token", "phone_token"}


def test_no_table_of_any_layer_holds_a_clear_plate(demo_run: DemoRun) -> None:
    """The plates that the cameras read exist as tokens only: in the bytes as they came, in silver, gold and quality."""
    home = demo_run.settings.home
    events = cameras.readings(demo_run.registry, home / "data", PLAN.faults.seed)
    plates = {str(r.body["plate"]) for r in events if r.body.get("plate")}
    forms = {form for plate in plates for form in (plate, "".join(c for c in plate if c.isalnum()))}
    looks_like_one = re.compile(r"\d{2}-?[A-Z]{1,2}\d?[- ]?\d{3}\.?\d{2}")
    searched = 0
    for log in sorted((demo_run.settings.lake_root / demo_run.settings.namespace).rglob("_delta_log")):
        table = DeltaTable(str(log.parent)).to_pyarrow_table()
        for name in table.column_names:
            column = table[name].combine_chunks()
            if pa.types.is_list(column.type):
                column = column.flatten()
            for value in column.unique().to_pylist():
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                if isinstance(text, str):
                    searched += 1
                    found = forms & set(looks_like_one.findall(text))
                    assert not found, f"{log.parent}.{name} holds {found}"
    assert len(plates) > 200 and searched > 5_000


def test_the_recorded_slowdowns_are_found_as_they_arrive(demo_run: DemoRun) -> None:
    """Labelled windows of 15 and 16 September 2015, ten years and some days later on the detector of the replay."""
    raised = _query(
        demo_run,
        "SELECT section_id, incident_method, origin, CAST(raised_at AT TIME ZONE 'UTC' AS varchar) "
        "FROM published.traffic_incident WHERE transition = 'raise' AND detector_id = 'HUE-D01' ORDER BY raised_at",
    )
    days = [str(at)[:10] for *_, at in raised]
    assert {"2025-09-16", "2025-09-17"} <= set(days), raised
    assert {row[:3] for row in raised} == {("HUE-D01", "speed_threshold", "replay")}


def test_the_story_is_told_with_origins(demo_run: DemoRun) -> None:
    for expected in ("Kim Long", "Phú Ốc", "5.310", "BĐ3", "replay", "synthetic", "✓ Khớp"):
        assert expected in demo_run.output
    assert "chưa có số liệu" not in demo_run.output


def test_sending_the_same_replay_again_changes_nothing(demo_run: DemoRun) -> None:
    settings, registry = demo_run.settings, demo_run.registry
    replay = make_replay("flood-2025", registry, settings.home / "data", PLAN.faults)
    names = tuple(replay.truth.datasets)
    before = {name: rows(settings, registry.dataset(name)) for name in (*names, "flood_alert")}
    send_replay(replay, settings, registry, endpoints(settings).kafka)
    wait_until_settled(settings, registry, 240)
    for name, table in before.items():
        assert rows(settings, registry.dataset(name)).equals(table), name
    entries = {entry.dataset: entry for entry in ledger(settings, registry).datasets}
    for name in names:
        truth = replay.truth.datasets[name]
        assert entries[name].received == 2 * truth.sent
        assert entries[name].refused == 2 * truth.refused_total
        assert entries[name].inserted == truth.silver_rows


def test_sending_again_what_was_kept_changes_nothing_and_is_counted(demo_run: DemoRun) -> None:
    settings, registry = demo_run.settings, demo_run.registry
    resender = Resender(settings, registry, endpoints(settings).kafka)
    names = ("river_stage", "lane_minute", "violation_event")
    before = {name: rows(settings, registry.dataset(name)) for name in names}
    refused = letters(settings)
    assert {letter.place.dataset for letter in refused} >= set(names)
    arrived = resender.arrived("river_stage", T0)
    assert arrived >= before["river_stage"].num_rows
    decision = Decision("kiểm thử", "gửi lại nguyên trạng")
    sent = resender.letters([letter.place for letter in refused], decision, origin="replay")
    assert sent.total() == len(refused)
    wait_until_settled(settings, registry, 240)
    for name, table in before.items():
        assert rows(settings, registry.dataset(name)).equals(table), name
    assert ledger(settings, registry).violations == ()
    # What was refused for its content is refused again, by the name of a new place; the old one says that it was sent.
    now = letters(settings)
    assert sum(1 for letter in now if letter.resent == 1) == len(refused)
    # Out of bronze went the refused readings too, each once; but for those that the gateway had kept out of the topic.
    stages = [letter for letter in refused if letter.place.dataset == "river_stage" and letter.detail not in REFUSALS]
    from_bronze = {(letter.place.partition, letter.received_at, letter.reason) for letter in stages}
    assert from_bronze
    assert len(now) == 2 * len(refused) + len(from_bronze)
    # Bronze holds every sending; what would be sent next time is what it was.
    assert resender.arrived("river_stage", T0) == arrived
