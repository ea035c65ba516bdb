"""What scenarios ask to be said becomes messages: in their words, for their wards, and never twice with the alarms."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lxml import etree

from pipelines.contracts.targets.delta import arrow_schema
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.publishing.cap import delivery, desk, register, rules
from pipelines.publishing.cap.compose import Desk
from pipelines.publishing.cap.message import NAMESPACE, cap_time
from pipelines.publishing.cap.readings import Alarms, Requests, read_requests
from pipelines.publishing.cap.requests import Outcome, Run, requests
from pipelines.publishing.cap.wording import validity_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.scenarios.dry_run import dry_run

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()
NAMES = {"cap": NAMESPACE}
START = datetime(2025, 10, 27, tzinfo=UTC)
FLOODING, RIVER = "commune_flooding", "river_alarm_two"
WARD, OTHER_WARD = "19753", "19774"
NO_ALARMS = Alarms(())
DESK = Desk.open(Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": "/nonexistent"}), REGISTRY)
MODERATE_H = 12


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def detail(scenario_id: str = FLOODING) -> Mapping[str, Any]:
    """What the compiled rule gives the job, and the job its outcome."""
    actions = compile_rule(REGISTRY.scenario(scenario_id), REGISTRY).rule["output"]["actions"]
    return next(action["detail"] for action in actions if action["kind"] == "cap_draft")


def run_id(begun: float, scope: str = WARD, scenario_id: str = FLOODING) -> str:
    return f"{scenario_id}|{scope}|{at(begun):%Y-%m-%dT%H:%M:%SZ}"


def asked(
    begun: float,
    ended: float | None = None,
    *,
    scope: str = WARD,
    ward: str | None = WARD,
    scenario_id: str = FLOODING,
    origin: str = "observed",
    **other: Any,
) -> tuple[Outcome, ...]:
    """What one run leaves: its request, and the cancellation when it has ended."""
    run = run_id(begun, scope, scenario_id)
    found = []
    for hours, kind in ((begun, "cap_draft_requested"), (ended, "cap_cancel_requested")):
        if hours is not None:
            said = {"vi": "Phú Xuân: ngập 35 cm, lúc 07:00", "en": "Phú Xuân: flooding 35 cm, at 07:00"}
            values = {
                "outcome_id": f"{run}|{kind}|2", "run_id": run, "scenario_id": scenario_id,
                "is_request": kind == "cap_draft_requested", "at": at(hours),
                "received_at": at(hours) + timedelta(seconds=4, milliseconds=300), "agency_id": "H57.KHCN",
                "ward_code": ward, "headlines": said, "detail": detail(), "origin": origin,
            }  # fmt: skip
            found.append(Outcome(**{**values, **other}))
    return tuple(found)


def book(*outcomes: Outcome, reason: str = "recovered", kind: str = "ward", until: float | None = None) -> Requests:
    """The outcomes with the rows of their runs, as they are once both have landed."""
    over = {outcome.run_id for outcome in outcomes if not outcome.is_request}
    runs = {o.run_id: Run(kind, reason if o.run_id in over else None) for o in outcomes}
    return Requests(outcomes, runs, {} if until is None else {FLOODING: at(until)})


def drafts(found: Requests, known: Sequence[str] = ()) -> tuple[register.Entry, ...]:
    return desk.plan_drafts(DESK, NO_ALARMS, known, found)


# ── chains ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_an_alert_and_its_cancellation_a_cancel_that_refers_to_it() -> None:
    alert, cancel = drafts(book(*asked(0, 3)))
    assert (alert.cap_status, alert.cap_msg_type, alert.cap_severity) == ("Draft", "Alert", "Moderate")
    assert (alert.station_id, alert.alarm_level, alert.ward_codes) == (None, None, WARD)
    assert alert.cap_identifier == "HUE-city-commune_flooding-19753-20251027T000000Z-Q2.draft"
    assert (cancel.cap_msg_type, cancel.ward_codes) == ("Cancel", WARD)
    assert cancel.cap_references == f"{alert.sender},{alert.cap_identifier},{cap_time(alert.issued_at)}"
    assert alert.expires_at - alert.issued_at == timedelta(hours=MODERATE_H)
    for entry in (alert, cancel):
        assert rules.problems(entry.xml.encode()) == ()


def test_a_request_while_another_stands_updates_it_and_only_the_newest_run_can_end_it() -> None:
    found = drafts(book(*asked(0, 2.5), *asked(2, 5)))
    assert [e.cap_msg_type for e in found] == ["Alert", "Update", "Cancel"]
    assert [e.issued_at for e in found] == [at(h) + timedelta(seconds=4) for h in (0, 2, 5)]
    for before, entry in pairwise(found):
        assert before.cap_identifier in entry.cap_references
    assert len({e.chain for e in found}) == 1


def test_after_its_end_the_next_run_is_an_alert_of_its_own() -> None:
    found = drafts(book(*asked(0, 2), *asked(4)))
    assert [e.cap_msg_type for e in found] == ["Alert", "Cancel", "Alert"]
    assert found[2].cap_references == "" and found[2].chain != found[0].chain


def test_two_wards_are_two_chains() -> None:
    found = drafts(book(*asked(0, 2), *asked(1, 3, scope=OTHER_WARD, ward=OTHER_WARD)))
    assert [(e.ward_codes, e.cap_msg_type) for e in found] == [
        (WARD, "Alert"), (OTHER_WARD, "Alert"), (WARD, "Cancel"), (OTHER_WARD, "Cancel"),
    ]  # fmt: skip


def test_what_lasts_longer_than_its_message_is_said_again_by_the_clock_of_its_facts() -> None:
    found = drafts(book(*asked(0), until=25))
    assert [(e.cap_msg_type, e.issued_at) for e in found] == [
        (kind, at(hours) + timedelta(seconds=4)) for kind, hours in (("Alert", 0), ("Update", 12), ("Update", 24))
    ]
    assert "cập nhật lúc 19:00 27/10/2025" in found[1].xml
    assert [e.cap_msg_type for e in drafts(book(*asked(0, 3), until=25))] == ["Alert", "Cancel"]


def test_a_chain_goes_no_further_than_the_rows_of_its_runs_have_landed() -> None:
    outcomes = (*asked(0, 2), *asked(4))
    whole = book(*outcomes)
    nothing_yet = replace(whole, runs={})
    lasting = replace(whole, runs={**whole.runs, run_id(0): Run("ward", None)})
    assert drafts(nothing_yet) == ()
    assert [e.cap_msg_type for e in drafts(lasting)] == ["Alert"], "why it ended is not known yet"
    assert [e.cap_msg_type for e in drafts(whole)] == ["Alert", "Cancel", "Alert"]


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.permutations((*asked(0, 2), *asked(4, 5), *asked(1, scope=OTHER_WARD, ward=OTHER_WARD))))
def test_the_order_in_which_outcomes_are_read_changes_nothing(order: list[Outcome]) -> None:
    found = book(*order)

    def said(each: Requests) -> list[str]:
        return [r.name for r in requests(each.outcomes, each.runs, lambda d: validity_of(DESK, d), each.clock)]

    assert said(found) == said(book(*sorted(order, key=lambda o: o.outcome_id)))


# ── words and places ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_message_says_what_the_scenario_declares_in_both_languages() -> None:
    (entry,) = drafts(book(*asked(0)))
    root = etree.fromstring(entry.xml.encode())
    vi, en = root.findall("cap:info", NAMES)
    action = detail()
    for info, language in ((vi, "vi"), (en, "en")):
        assert info.findtext("cap:event", "", NAMES) == action["event"][language]
        assert info.findtext("cap:instruction", "", NAMES) == action["instruction"][language]
        for tag in ("category", "urgency", "severity", "certainty"):
            assert info.findtext(f"cap:{tag}", "", NAMES) == action[tag]
    assert vi.findtext("cap:headline", "", NAMES) == "[DỰ THẢO] Phú Xuân: ngập 35 cm, lúc 07:00"
    assert en.findtext("cap:headline", "", NAMES) == "[DRAFT] Phú Xuân: flooding 35 cm, at 07:00"
    assert [node.text for node in vi.iterfind("cap:area/cap:geocode/cap:value", NAMES)] == [WARD]
    assert vi.findtext("cap:area/cap:polygon", "", NAMES)


@pytest.mark.parametrize(
    ("reason", "said", "response"),
    [
        ("recovered", "Đã hết: ", "AllClear"),
        ("silence", "Không còn ghi nhận thêm: ", "Monitor"),
        ("rule_disabled", "Bản tin không còn hiệu lực: ", "Monitor"),
        ("rule_changed", "Bản tin không còn hiệu lực: ", "Monitor"),
    ],
)
def test_only_a_recovery_gives_the_all_clear(reason: str, said: str, response: str) -> None:
    _, cancel = drafts(book(*asked(0, 3), reason=reason))
    assert cancel.headline_vi.startswith(f"[DỰ THẢO] {said}")
    assert f"<responseType>{response}</responseType>" in cancel.xml


def test_a_headline_that_is_too_long_is_cut_and_stands_whole_in_the_description() -> None:
    said = "Ngập " + "rất " * 60 + "sâu"
    (entry,) = drafts(book(*asked(0, headlines={"vi": said, "en": said})))
    assert len(entry.headline_vi) <= 160 and entry.headline_vi.endswith("…")
    assert said in entry.xml


def test_the_whole_city_and_a_station_have_wards_too() -> None:
    (everywhere,) = drafts(book(*asked(0, scope="city", ward=None), kind="city"))
    assert len(everywhere.ward_codes.split()) == 40
    (river,) = drafts(book(*asked(0, scope="71520", ward=None), kind="station_id"))
    assert river.ward_codes.split() == [area.ward_code for area in DESK.wards("71520", 4)]


def test_what_cannot_be_said_is_named_and_keeps_nothing_else_back() -> None:
    nowhere = asked(0, scope="LAMP 7, B", ward=None)
    odd = asked(1, scope=OTHER_WARD, ward=OTHER_WARD, detail={"event": {"vi": "Ngập", "en": "Flood"}})
    both = book(*nowhere, *odd, *asked(2))
    both = replace(both, runs={**both.runs, nowhere[0].run_id: Run("entity", None)})
    with pytest.raises(desk.Undrafted, match=r"without category.*about 'LAMP 7, B', whose wards are not known") as told:
        drafts(both)
    assert [e.ward_codes for e in told.value.entries] == [WARD]


def test_what_is_over_and_could_not_be_said_is_no_error_any_more() -> None:
    assert drafts(book(*asked(0, 2, ward="99999"))) == ()


# ── from the tables ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


def put(settings: Settings, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write silver rows as landing does."""
    dataset = REGISTRY.dataset(name)
    system = {"revision": 0, "raw_partition": 0, "raw_offset": 0, "trigger_partition": 0, "trigger_offset": 0}
    schema = arrow_schema(dataset, "silver")
    day = str(dataset.partition)
    event = str(dataset.event_time)
    whole = [{**system, **row, day: row[event].date()} for row in rows]
    path = settings.table_path("silver", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = [{key: value for key, value in row.items() if key in schema.names} for row in whole]
    table = pa.Table.from_pylist(known, schema=schema)
    write_deltalake(str(path), table, mode="overwrite", partition_by=[day])


def land(settings: Settings, *outcomes: Outcome, reason: str = "recovered", kind: str = "ward") -> None:
    """The tables that the job of the scenarios fills; with them empty ones of the alarms."""
    over = {outcome.run_id for outcome in outcomes if not outcome.is_request}
    put(
        settings,
        "scenario_outcome",
        [
            {
                "outcome_id": o.outcome_id, "run_id": o.run_id, "scenario_id": o.scenario_id,
                "outcome_kind": "cap_draft_requested" if o.is_request else "cap_cancel_requested", "outcome_at": o.at,
                "agency_id": o.agency_id, "ward_code": o.ward_code, "headline_vi": o.headlines["vi"],
                "headline_en": o.headlines["en"], "detail_json": json.dumps(o.detail), "origin": o.origin,
                "received_at": o.received_at,
            }
            for o in outcomes
        ],
    )  # fmt: skip
    put(
        settings,
        "scenario_run_v2",
        [
            {
                "run_id": run, "scenario_id": run.partition("|")[0], "started_at": START, "trigger_kind": "automatic",
                "run_result": "completed" if run in over else "running", "severity": "high", "agency_id": "H57.KHCN",
                "scope_kind": kind, "scope_key": WARD, "end_reason": reason if run in over else None,
                "headline_vi": "", "headline_en": "", "start_evidence_json": "{}", "origin": "observed",
                "received_at": START,
            }
            for run in sorted({o.run_id for o in outcomes})
        ],
    )  # fmt: skip
    put(settings, "flood_alert", [])
    put(settings, "river_stage", [])


def test_requests_are_drafted_once_and_a_person_releases_them(settings: Settings) -> None:
    land(settings, *asked(0))
    (first,) = desk.draft(settings, REGISTRY)
    assert desk.draft(settings, REGISTRY) == ()
    assert first.cap_status == "Draft" and delivery.undelivered(settings) == ()
    alert = desk.release(settings, REGISTRY, first.cap_identifier, by="An", reason="đã xem camera", now=at(0.2))
    assert (alert.cap_status, alert.cap_msg_type) == ("Actual", "Alert")
    assert "DỰ THẢO" not in alert.headline_vi and rules.problems(alert.xml.encode()) == ()

    land(settings, *asked(0, 3))
    (end,) = desk.draft(settings, REGISTRY)
    with pytest.raises(LakeError, match=rf"out of date: {end.cap_identifier} says “\[DỰ THẢO\] Đã hết"):
        desk.release(
            settings, REGISTRY, _redrafted(settings, first).cap_identifier, by="An", reason="đúng", now=at(3.1)
        )
    cancel = desk.release(settings, REGISTRY, end.cap_identifier, by="An", reason="nước rút", now=at(3.2))
    assert cancel.cap_msg_type == "Cancel"
    assert cancel.cap_references == f"{alert.sender},{alert.cap_identifier},{cap_time(alert.issued_at)}"
    assert [e.cap_identifier for e in delivery.undelivered(settings)] == [alert.cap_identifier, cancel.cap_identifier]


def _redrafted(settings: Settings, entry: register.Entry) -> register.Entry:
    """Another draft of the same chain that nobody has released."""
    other = replace(entry, cap_identifier=f"{entry.cap_identifier}x")
    register.record(settings, [other])
    return other


def test_a_person_takes_back_what_a_scenario_had_said(settings: Settings) -> None:
    land(settings, *asked(0))
    (first,) = desk.draft(settings, REGISTRY)
    alert = desk.release(settings, REGISTRY, first.cap_identifier, by="An", reason="đúng", now=at(0.2))
    gone = desk.withdraw(settings, REGISTRY, alert.cap_identifier, by="An", reason="Đo nhầm", now=at(0.5))
    assert (gone.cap_status, gone.cap_msg_type, gone.ward_codes) == ("Actual", "Cancel", WARD)
    assert gone.headline_vi == "Huỷ bản tin cảnh báo «Ngập lụt đô thị» tại Phường Phú Xuân"
    assert alert.cap_identifier in gone.cap_references and rules.problems(gone.xml.encode()) == ()


@pytest.mark.parametrize("origin", ["replay", "synthetic", "mixed"])
def test_what_was_not_observed_is_an_exercise_and_reaches_the_readers_as_one(settings: Settings, origin: str) -> None:
    land(settings, *asked(0, 3, origin=origin))
    found = desk.draft(settings, REGISTRY)
    assert [(e.cap_status, e.cap_msg_type) for e in found] == [("Exercise", "Alert"), ("Exercise", "Cancel")]
    with pytest.raises(LakeError, match="is an exercise: its readings are"):
        desk.release(settings, REGISTRY, found[0].cap_identifier, by="An", reason="đúng", now=at(1))
    assert [e.cap_identifier for e in delivery.undelivered(settings)] == [e.cap_identifier for e in found]
    contract = REGISTRY.dataset("alert_cap")
    for row in (row for entry in found for row in delivery.rows(entry)):
        assert set(row) == contract.has
        assert not [f.name for f in contract.fields if f.required and row[f.name] is None]
        assert row["station_id"] is None and row["alarm_level"] is None


def test_a_scenario_over_the_alarms_alone_gets_no_second_message(settings: Settings) -> None:
    assert REGISTRY.scenario(RIVER).datasets == ("flood_alert",)
    river = asked(0, scope="71520", ward=None, scenario_id=RIVER, detail=detail(RIVER))
    land(settings, *river, *asked(1), kind="ward")
    assert [o.scenario_id for o in read_requests(settings, REGISTRY).outcomes] == [FLOODING]
    put(
        settings,
        "flood_alert",
        [
            {
                "alert_id": f"71520|{level}", "transition": "raise", "transition_at": START, "station_id": "71520",
                "alarm_level": level, "stage_m": Decimal("2.1"), "threshold_m": Decimal(level), "origin": "observed",
                "received_at": START,
            }
            for level in (1, 2)
        ],
    )  # fmt: skip
    found = desk.draft(settings, REGISTRY)
    assert [(e.station_id, e.alarm_level) for e in found] == [("71520", 2), (None, None)]


def test_what_cannot_be_drafted_is_an_error_and_the_others_are_in_the_register(settings: Settings) -> None:
    land(settings, *asked(0, ward="99999"), *asked(1, scope=OTHER_WARD, ward=OTHER_WARD))
    with pytest.raises(LakeError, match="'99999', whose wards are not known"):
        desk.draft(settings, REGISTRY)
    assert [e.ward_codes for e in register.entries(settings).values()] == [OTHER_WARD]


def test_the_engine_s_own_rows_of_the_common_scenario_become_messages(settings: Settings) -> None:
    """From depths of a street, by the classes that run in the job, to a valid message for the ward."""
    settings = replace(settings, dist=Path(os.environ.get("LAKE_DIST", HOME / ".lake" / "dist")))
    depths = [5, 35, 40, 38, 10, 5, 5]
    put(
        settings,
        "urban_flood_depth",
        [
            {
                "site_id": "HUE-N-01", "observed_at": START + timedelta(minutes=10 * step), "ward_code": WARD,
                "depth_cm": Decimal(depth), "qc_flag": 1, "origin": "observed", "raw_offset": step,
                "received_at": START + timedelta(minutes=10 * step, seconds=3),
            }
            for step, depth in enumerate(depths)
        ],
    )  # fmt: skip
    found = dry_run(settings, REGISTRY, REGISTRY.scenario(FLOODING), START, at(24))
    for topic, name in (("alert.scenario_outcome", "scenario_outcome"), ("alert.scenario_run", "scenario_run_v2")):
        last = {row.get("outcome_id", row["run_id"]): row for row in found.rows[topic]}
        put(settings, name, [_typed(row) for row in last.values()])
    put(settings, "flood_alert", [])
    put(settings, "river_stage", [])
    alert, cancel = desk.draft(settings, REGISTRY)
    assert (alert.cap_msg_type, cancel.cap_msg_type) == ("Alert", "Cancel")
    assert alert.ward_codes == WARD and alert.cap_identifier in cancel.cap_references
    assert "35" in alert.headline_vi and "<responseType>Monitor</responseType>" in cancel.xml, "it ended by silence"


def _typed(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: datetime.fromisoformat(value) if key.endswith("_at") else value for key, value in row.items()}
