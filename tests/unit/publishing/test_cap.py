"""Public alerts: what is said when, that it is valid CAP, and that nothing but a person makes it actual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from catalogue import city as contracts
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lxml import etree

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.publishing.cap import delivery, desk, register, rules
from pipelines.publishing.cap.compose import Desk, compose, outlines
from pipelines.publishing.cap.message import NAMESPACE, cap_time, polygon, to_xml
from pipelines.publishing.cap.readings import Alarms, read_alarms
from pipelines.publishing.cap.situations import Situation, Transition, situations
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
REGISTRY = contracts()
NAMES = {"cap": NAMESPACE}
START = datetime(2025, 10, 27, 0, 0, tzinfo=UTC)
KIM_LONG, PHU_OC = "71520", "71518"
VALIDITY = {0: timedelta(hours=6), **{level: timedelta(hours=12) for level in (1, 2, 3, 4)}}


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def change(
    level: int, hours: float, stage: str, *, raised: bool = True, station: str = KIM_LONG, origin: str = "observed"
) -> Transition:
    threshold = {1: "1.0", 2: "2.0", 3: "3.5", 4: "5.81"}[level]
    received = at(hours) + timedelta(seconds=5, milliseconds=250)
    return Transition(station, raised, level, at(hours), received, Decimal(stage), Decimal(threshold), origin)


FLOOD = (
    change(1, 0, "1.20"),
    change(2, 3, "2.05"),
    change(3, 5, "3.61"),
    change(3, 9, "3.30", raised=False),
    change(2, 11, "1.80", raised=False),
    change(1, 13, "0.70", raised=False),
)


def alarms(transitions: Sequence[Transition] = FLOOD, until: float = 13.0) -> Alarms:
    stages = tuple((at(hour), Decimal(hour) / 10) for hour in range(200))
    return Alarms(tuple(transitions), {KIM_LONG: stages}, {KIM_LONG: at(until)})


def told(found: Sequence[Situation]) -> list[tuple[float, int]]:
    return [((s.at - START) / timedelta(hours=1), s.level) for s in found]


def told_of(found: Alarms) -> list[tuple[float, int]]:
    return told(situations(found.transitions, VALIDITY, found.stage_at, found.clock))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path_factory.mktemp("state"))})
    return Desk.open(settings, REGISTRY)


# ── situations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_change_of_the_highest_level_is_told_once() -> None:
    assert told_of(alarms()) == [(0, 1), (3, 2), (5, 3), (9, 2), (11, 1), (13, 0)]


def test_levels_that_are_passed_by_one_reading_are_one_message() -> None:
    night = [change(1, 0, "3.6"), change(2, 0, "3.6"), change(3, 0, "3.6")]
    assert told_of(alarms(night, 1)) == [(0, 3)]


def test_a_lower_level_that_clears_later_says_nothing_while_a_higher_one_stands() -> None:
    odd = [change(2, 0, "2.1"), change(3, 1, "3.6"), change(2, 2, "3.6", raised=False)]
    assert told_of(alarms(odd, 3)) == [(0, 2), (1, 3)]


def test_a_clear_without_a_raise_begins_nothing() -> None:
    assert told_of(alarms([change(3, 0, "3.3", raised=False)], 1)) == []


def test_what_lasts_longer_than_its_message_is_said_again_with_the_stage_of_that_hour() -> None:
    lasting = alarms([change(3, 0, "3.6")], until=30)
    found = situations(lasting.transitions, VALIDITY, lasting.stage_at, lasting.clock)
    assert told(found) == [(0, 3), (12, 3), (24, 3)]
    assert [(s.is_renewal, s.stage_m) for s in found[1:]] == [(True, Decimal("1.2")), (True, Decimal("2.4"))]
    assert found[1].sent == found[0].sent + timedelta(hours=12)
    ended = alarms([change(3, 0, "3.6"), change(3, 20, "3.1", raised=False)], until=90)
    assert told_of(ended) == [(0, 3), (12, 3), (20, 0)], "after its end a flood is not said again"


def test_a_station_that_falls_silent_has_a_message_of_its_own_for_every_time_it_is_said_again() -> None:
    raised = change(3, 0, "3.6")
    found = situations([raised], VALIDITY, lambda *_: (raised.at, raised.stage_m), {KIM_LONG: at(40)})
    assert [s.at for s in found] == [raised.at] * 4
    assert len({s.name for s in found}) == 4


def test_one_reading_that_was_not_observed_makes_the_rest_of_the_chain_an_exercise() -> None:
    mixed = [change(1, 0, "1.2"), change(2, 1, "2.1", origin="synthetic"), change(3, 2, "3.6")]
    found = situations(mixed, VALIDITY, alarms().stage_at, {})
    assert [s.is_exercise for s in found] == [False, True, True]


@hypothesis_settings(deadline=None)
@given(st.permutations(FLOOD))
def test_the_order_in_which_alarms_are_read_changes_nothing(order: list[Transition]) -> None:
    assert told_of(alarms(order)) == told_of(alarms())


# ── messages ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_drafts_are_valid_and_each_refers_to_the_one_before(city: Desk) -> None:
    drafts = desk.plan_drafts(city, alarms(), ())
    assert [e.cap_msg_type for e in drafts] == ["Alert", "Update", "Update", "Update", "Update", "Cancel"]
    assert [e.cap_severity for e in drafts] == ["Minor", "Moderate", "Severe", "Moderate", "Minor", "Minor"]
    assert {e.cap_status for e in drafts} == {"Draft"}
    for before, entry in pairwise(drafts):
        assert entry.cap_references == f"{before.sender},{before.cap_identifier},{cap_time(before.issued_at)}"
        assert rules.problems(entry.xml.encode()) == ()
    assert drafts[0].cap_identifier == "HUE-city-71520-20251027T000000Z-L1.draft"
    assert len(drafts[0].ward_codes.split()) < len(drafts[2].ward_codes.split())
    assert drafts[2].ward_codes == drafts[5].ward_codes, "who was warned is told of the end"


def test_a_record_is_extreme_and_names_the_record(city: Desk) -> None:
    night = [change(level, 0, "5.90") for level in (1, 2, 3, 4)]
    (entry,) = desk.plan_drafts(city, alarms(night, 1), ())
    assert entry.cap_severity == "Extreme"
    assert "5,90 m" in entry.headline_vi and "mức lịch sử 5,81 m" in entry.headline_vi
    assert "record 5.81 m" in entry.xml


def test_the_message_speaks_both_languages_in_the_time_of_hue(city: Desk) -> None:
    root = etree.fromstring(desk.plan_drafts(city, alarms(), ())[1].xml.encode())
    vi, en = root.findall("cap:info", NAMES)
    assert [vi.findtext("cap:language", "", NAMES), en.findtext("cap:language", "", NAMES)] == ["vi-VN", "en-US"]
    assert root.findtext("cap:sent", "", NAMES) == "2025-10-27T10:00:05+07:00"
    assert vi.findtext("cap:expires", "", NAMES) == "2025-10-27T22:00:05+07:00"
    assert vi.findtext("cap:category", "", NAMES) == "Met"
    assert vi.findtext("cap:headline", "", NAMES) == (
        "[DỰ THẢO] Lũ sông Hương tại Kim Long trên báo động 2: 2,05 m lúc 10:00 27/10/2025"
    )
    assert vi.findtext("cap:event", "", NAMES) == "Lũ sông Hương"
    assert {a.findtext("cap:geocode/cap:valueName", "", NAMES) for a in vi.iterfind("cap:area", NAMES)} == {
        "vn.ward_code"
    }


def test_outlines_are_closed_and_latitude_stands_first() -> None:
    rings = outlines(HOME / "data" / "wards" / "wards.geojson")
    assert set(rings) == {row["ward_code"] for row in REGISTRY.code_list("wards").rows}
    for parts in rings.values():
        for ring in parts:
            assert ring[0] == ring[-1] and len(ring) >= 4
            assert all(15.9 < lat < 16.8 and 107.0 < lon < 108.3 for lat, lon in ring)
    assert len(rings["19828"]) == 2, "Phong Phú has two parts"
    assert polygon(((16.5, 107.5), (16.6, 107.5), (16.6, 107.6), (16.5, 107.5))).split()[0] == "16.5,107.5"


def test_every_station_with_alarm_levels_has_wards_and_every_level_its_words(city: Desk) -> None:
    for row in REGISTRY.code_list("alarm_levels").rows:
        assert city.wards(row["station_id"], row["alarm_level"])
        assert row["alarm_level"] in city.templates
    with pytest.raises(LakeError, match=r"No ward is warned of level 1 at HUE-TN.*alert_areas"):
        city.wards("HUE-TN", 1)


def _message(city: Desk) -> bytes:
    (situation, *_) = situations(FLOOD, VALIDITY, alarms().stage_at, {})
    return to_xml(compose(city, situation, status="Draft", msg_type="Alert", highest_level=1))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<sent>2025-10-27T07:00:05+07:00", "<sent>2025-10-27T00:00:05Z", "sent"),
        ("<sent>2025-10-27T07:00:05+07:00", "<sent>2025-10-27T00:00:05+00:00", "not in the time of Huế"),
        ("<msgType>Alert", "<msgType>Update", "msgType Update needs references"),
        ("<status>Draft", "<status>Real", "not an element of the set"),
        ("<identifier>HUE-", "<identifier>HUE ", "holds a space"),
        ("<expires>2025-10-28", "<expires>2025-10-20", "before it takes effect"),
        ("<value>19753</value>", "<value>19753</value></geocode><geocode>", "Missing child element"),
        ("<valueName>vn.ward_code", "<valueName>ward", "no geocode vn.ward_code"),
        ("<language>en-US", "<language>fr-FR", "vi-VN first, then en-US"),
        ("<polygon>16.", "<polygon>116.", "not latitude,longitude"),
        ("<headline>[DRAFT]", "<headline>{river}", "a placeholder that was not filled in"),
        ("</alert>", "", "not XML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_message_is_said(city: Desk, old: str, new: str, problem: str) -> None:
    text = _message(city).decode()
    assert rules.problems(text.encode()) == ()
    assert old in text
    broken = text.replace(old, new, 1).encode()
    assert any(problem in found for found in rules.problems(broken)), rules.problems(broken)
    with pytest.raises(rules.InvalidMessage):
        rules.checked(broken)


@given(st.text(min_size=1).filter(str.strip))
def test_any_words_of_a_person_are_text_and_never_markup(reason: str) -> None:
    known = {e.cap_identifier: e for e in [replace(e, cap_status="Exercise") for e in DRAFTS]}
    try:
        entry = desk.plan_withdrawal(
            CITY, known, DRAFTS[0].cap_identifier, by="An", reason=reason, now=datetime(2026, 1, 1, tzinfo=UTC)
        )
    except (LakeError, ValueError):
        return  # control characters and braces have no place in a message, and are said to have none
    root = etree.fromstring(entry.xml.encode())
    found = root.findtext("cap:info/cap:description", "", NAMES)
    assert found.split() == reason.replace("\r", "\n").split()


CITY = Desk.open(Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": "/nonexistent"}), REGISTRY)
DRAFTS = desk.plan_drafts(CITY, alarms(), ())


# ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


def write(settings: Settings, registry: Registry, transitions: Sequence[Transition], hours: int = 13) -> None:
    """The silver tables as landing writes them; the reading of 2 h came a week late."""
    common = {"revision": 0, "raw_partition": 0, "trigger_partition": 0, "trigger_offset": 0}
    alerts = [
        {
            **common,
            "alert_id": f"{t.level}|{t.at}", "transition": "raise" if t.is_raise else "clear", "transition_at": t.at,
            "station_id": t.station_id, "alarm_level": t.level, "stage_m": t.stage_m, "threshold_m": t.threshold_m,
            "origin": t.origin, "received_at": t.received_at, "transition_date": t.at.date(),
        }
        for t in transitions
    ]  # fmt: skip
    ignored = {**alerts[0], "transition": "ignored_older", "alarm_level": None}
    stages = [
        {
            **common,
            "station_id": KIM_LONG, "observed_at": at(h), "stage_m": Decimal(h) / 10, "qc_flag": 4 if h % 2 else 1,
            "origin": "observed", "received_at": at(h + 168 if h == 2 else h), "raw_offset": h,
            "observed_date": at(h).date(),
        }
        for h in range(hours)
    ]  # fmt: skip
    for name, rows in (("flood_alert", [*alerts, ignored]), ("river_stage", stages)):
        dataset = registry.dataset(name)
        path = settings.table_path("silver", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=arrow_schema(dataset, "silver"))
        write_deltalake(str(path), table, mode="overwrite", partition_by=[str(dataset.partition)])


def test_the_desk_reads_alarms_and_usable_stages(settings: Settings) -> None:
    with pytest.raises(LakeError, match=r"no table silver\.flood_alert.*lake start"):
        read_alarms(settings)
    write(settings, REGISTRY, FLOOD)
    found = read_alarms(settings)
    assert sorted(found.transitions, key=lambda t: t.at) == list(FLOOD)
    assert found.stage_at(KIM_LONG, at(3.5)) == (at(2), Decimal("0.200")), "the reading of 3 h failed"
    assert found.stage_at("other", at(3)) is None
    assert found.clock == {KIM_LONG: at(12)}, "what comes late does not make the flood last"


def test_drafting_twice_changes_nothing(settings: Settings) -> None:
    write(settings, REGISTRY, FLOOD[:2])
    assert len(desk.draft(settings, REGISTRY)) == 2
    assert desk.draft(settings, REGISTRY) == ()
    write(settings, REGISTRY, FLOOD)
    assert len(desk.draft(settings, REGISTRY)) == 4
    assert [e.cap_identifier for e in register.entries(settings).values()] == [e.cap_identifier for e in DRAFTS]
    assert delivery.undelivered(settings) == (), "a draft reaches nobody"


def test_a_person_releases_the_newest_draft_and_later_ones_refer_to_it(settings: Settings) -> None:
    write(settings, REGISTRY, FLOOD[:1])
    (first,) = desk.draft(settings, REGISTRY)
    by, reason = "Nguyễn Văn An, Ban Chỉ huy PCTT", "Đã đối chiếu camera cầu Trường Tiền"
    alert = desk.release(settings, REGISTRY, first.cap_identifier, by=by, reason=reason, now=at(0.5))
    assert (alert.cap_status, alert.cap_msg_type, alert.cap_references) == ("Actual", "Alert", "")
    assert (alert.decided_by, alert.reason, alert.source_identifier) == (by, reason, first.cap_identifier)
    assert alert.cap_identifier == "HUE-city-71520-20251027T000000Z-L1"
    assert by not in alert.xml and reason not in alert.xml, "an officer's name is not for the public"
    assert "DỰ THẢO" not in alert.headline_vi
    with pytest.raises(LakeError, match=f"was released by {by}"):
        desk.release(settings, REGISTRY, first.cap_identifier, by=by, reason=reason, now=at(0.6))

    write(settings, REGISTRY, FLOOD[:3])
    second, third = desk.draft(settings, REGISTRY)
    with pytest.raises(LakeError, match=rf"out of date: {third.cap_identifier} says level 3"):
        desk.release(settings, REGISTRY, second.cap_identifier, by=by, reason=reason, now=at(5.5))
    update = desk.release(settings, REGISTRY, third.cap_identifier, by=by, reason=reason, now=at(5.5))
    assert update.cap_msg_type == "Update"
    assert update.cap_references == f"{alert.sender},{alert.cap_identifier},{cap_time(alert.issued_at)}"
    assert [e.cap_identifier for e in delivery.undelivered(settings)] == [alert.cap_identifier, update.cap_identifier]

    gone = desk.withdraw(settings, REGISTRY, update.cap_identifier, by=by, reason="Trạm hỏng", now=at(6))
    assert (gone.cap_status, gone.cap_msg_type) == ("Actual", "Cancel")
    assert "Trạm hỏng" in gone.xml and update.cap_identifier in gone.cap_references
    with pytest.raises(LakeError, match="was withdrawn by"):
        desk.withdraw(settings, REGISTRY, update.cap_identifier, by=by, reason="Trạm hỏng", now=at(6))
    with pytest.raises(LakeError, match="is a cancellation itself"):
        desk.withdraw(settings, REGISTRY, gone.cap_identifier, by=by, reason="Trạm hỏng", now=at(6))

    write(settings, REGISTRY, FLOOD)
    *_, end = desk.draft(settings, REGISTRY)
    with pytest.raises(LakeError, match="nothing was made public"):
        desk.release(settings, REGISTRY, end.cap_identifier, by=by, reason=reason, now=at(13.5))


def test_what_cannot_be_released_says_why(settings: Settings) -> None:
    write(settings, REGISTRY, FLOOD[:1])
    (draft,) = desk.draft(settings, REGISTRY)

    def release(identifier: str = draft.cap_identifier, by: str = "An", reason: str = "đúng", hours: float = 1) -> None:
        desk.release(settings, REGISTRY, identifier, by=by, reason=reason, now=at(hours))

    with pytest.raises(LakeError, match="There is no message 'x'"):
        release("x")
    with pytest.raises(LakeError, match="needs a name and a reason"):
        release(by=" ")
    with pytest.raises(LakeError, match="expired at 2025-10-28 00:00 UTC"):
        release(hours=25)
    write(settings, REGISTRY, [change(1, 0.5, "1.2")])
    with pytest.raises(LakeError, match="no longer say"):
        release()
    with pytest.raises(LakeError, match="nobody has seen it"):
        desk.withdraw(settings, REGISTRY, draft.cap_identifier, by="An", reason="sai", now=at(1))


@pytest.mark.parametrize("origin", ["replay", "synthetic", "mixed"])
def test_a_replay_emits_exercises_and_nobody_can_make_them_actual(settings: Settings, origin: str) -> None:
    write(settings, REGISTRY, [replace(t, origin=origin) for t in FLOOD])
    found = desk.draft(settings, REGISTRY)
    assert {e.cap_status for e in found} == {"Exercise"}
    assert all("<status>Exercise</status>" in e.xml and "[DIỄN TẬP]" in e.headline_vi for e in found)
    for entry in found:
        with pytest.raises(LakeError, match="is an exercise: its readings are"):
            desk.release(settings, REGISTRY, entry.cap_identifier, by="An", reason="đúng", now=at(1))
    assert [e.cap_identifier for e in delivery.undelivered(settings)] == [e.cap_identifier for e in found]
    gone = desk.withdraw(settings, REGISTRY, found[-2].cap_identifier, by="An", reason="hết giờ diễn tập", now=at(20))
    assert (gone.cap_status, gone.cap_msg_type) == ("Exercise", "Cancel")


def test_another_namespace_than_the_citys_makes_no_actual_alert(settings: Settings) -> None:
    drill = settings.with_namespace("drill")
    write(drill, REGISTRY, FLOOD[:1])
    (draft,) = desk.draft(drill, REGISTRY)
    with pytest.raises(LakeError, match="The namespace drill is an exercise: only city makes actual alerts"):
        desk.release(drill, REGISTRY, draft.cap_identifier, by="An", reason="đúng", now=at(1))


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rows_of_a_message_keep_the_contract_of_alert_cap() -> None:
    dataset = REGISTRY.dataset("alert_cap")
    for entry in (replace(e, cap_status="Exercise") for e in DRAFTS):
        found = list(delivery.rows(entry))
        assert [row["ward_code"] for row in found] == entry.ward_codes.split()
        for row in found:
            assert set(row) == dataset.has
            assert not [f.name for f in dataset.fields if f.required and row[f.name] is None]
            assert row["effective_at"] >= row["issued_at"] and row["expires_at"] > row["effective_at"]
            assert row["area_polygon"].split()[0] == row["area_polygon"].split()[-1]


def test_the_view_of_the_register_hides_who_decided(settings: Settings) -> None:
    write(settings, REGISTRY, FLOOD[:1])
    desk.draft(settings, REGISTRY)
    from deltalake import DeltaTable

    columns = [f.name for f in DeltaTable(str(settings.table_path("catalog", "cap_message"))).schema().fields]
    assert set(columns) - set(trino.CAP_MESSAGE_COLUMNS) == {"decided_by", "reason"}
    assert set(trino.CAP_MESSAGE_COLUMNS) <= set(columns)
