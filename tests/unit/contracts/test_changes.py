"""Every difference between two editions of a contract is noticed, and judged as those who use it would."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipelines.contracts import changes as module
from pipelines.contracts.changes import (
    Bump,
    Codes,
    Edition,
    Kind,
    Severity,
    changes,
    compare,
    declared_bump,
    edition,
    required_bump,
)
from pipelines.contracts.logical_types import parse
from pipelines.contracts.model import (
    Alias,
    Completeness,
    ContractField,
    Dataset,
    Deletes,
    Derived,
    Mart,
    Reference,
    RetentionBy,
    RowCount,
    Sector,
    Stream,
    Text,
    Tokenise,
    Tolerance,
)
from pipelines.contracts.registry import Registry

TODAY = date(2026, 11, 21)
TEXT = Text(vi="Khác", en="Other")
SPEED = "averageVehicleSpeed"
FLOW = "fiware.TrafficFlowObserved"


@pytest.fixture
def old(registry: Registry) -> Edition:
    return _with(edition(registry, registry.dataset("lane_minute")), version="1.0.0")


def _with(old: Edition, **values: Any) -> Edition:
    return replace(old, dataset=old.dataset.model_copy(update=values))


def _with_field(old: Edition, name: str, **values: Any) -> Edition:
    fields = tuple(f.model_copy(update=values) if f.name == name else f for f in old.dataset.fields)
    return _with(old, fields=fields)


def _part(old: Edition, part: str, **values: Any) -> Edition:
    return _with(old, **{part: getattr(old.dataset, part).model_copy(update=values)})


def _only(old: Edition, new: Edition) -> tuple[Kind, Severity]:
    (change,) = changes(old, new)
    return change.kind, change.severity


def test_equal_editions_differ_in_nothing(registry: Registry) -> None:
    for dataset in registry.datasets:
        one = edition(registry, dataset)
        assert changes(one, edition(registry, dataset)) == ()
        assert compare(one, one, TODAY).state == "unchanged"


BREAKING, COMPATIBLE, DOCUMENTATION = Severity.BREAKING, Severity.COMPATIBLE, Severity.DOCUMENTATION
FIELD: dict[str, list[tuple[dict[str, Any], Kind, Severity]]] = {
    "type": [({"type": parse("double")}, Kind.TYPE_CHANGED, BREAKING)],
    "unit": [({"unit": "m/s"}, Kind.UNIT_CHANGED, BREAKING)],
    "required": [({"required": True}, Kind.REQUIRED_TIGHTENED, BREAKING)],
    "minimum": [
        ({"minimum": Decimal(1)}, Kind.RANGE_NARROWED, BREAKING),
        ({"minimum": None}, Kind.RANGE_WIDENED, COMPATIBLE),
        ({"minimum": Decimal(-1)}, Kind.RANGE_WIDENED, COMPATIBLE),
    ],
    "maximum": [
        ({"maximum": Decimal(100)}, Kind.RANGE_NARROWED, BREAKING),
        ({"maximum": Decimal(300)}, Kind.RANGE_WIDENED, COMPATIBLE),
        ({"minimum": Decimal(1), "maximum": Decimal(300)}, Kind.RANGE_NARROWED, BREAKING),
    ],
    "code_list": [({"code_list": "severities"}, Kind.CODE_LIST_ADDED, BREAKING)],
    "classification": [({"classification": "internal"}, Kind.CLASSIFICATION_RAISED, BREAKING)],
    "tokenise": [
        ({"tokenise": Tokenise(source="plate", kind="plate")}, Kind.TOKENISATION_CHANGED, BREAKING),
    ],
    "free_text": [({"free_text": True}, Kind.FREE_TEXT_SET, BREAKING)],
    "references": [
        ({"references": Reference(dataset="dim_ward", field="ward_code")}, Kind.REFERENCE_ADDED, COMPATIBLE)
    ],
    "aliases": [
        ({"aliases": {}}, Kind.INPUT_NAME_REMOVED, BREAKING),
        ({"aliases": {FLOW: Alias(path=("speed",))}}, Kind.INPUT_NAME_REMOVED, BREAKING),
        ({"aliases": {FLOW: Alias(path=(SPEED,), unit="m/s")}}, Kind.INPUT_NAME_REMOVED, BREAKING),
        ({"aliases": {FLOW: Alias(path=("speed", SPEED))}}, Kind.ALIASES_CHANGED, DOCUMENTATION),
        ({"aliases": {FLOW: Alias(path=(SPEED,)), "gtfs.x": Alias(path=("v",))}}, Kind.ALIASES_CHANGED, DOCUMENTATION),
    ],
    "title": [({"title": TEXT}, Kind.TEXT_CHANGED, DOCUMENTATION)],
    "description": [({"description": TEXT}, Kind.TEXT_CHANGED, DOCUMENTATION)],
}


def test_every_key_of_a_field_has_a_judged_change() -> None:
    assert set(FIELD) | {"name"} == set(ContractField.model_fields)


@pytest.mark.parametrize(("values", "kind", "severity"), [case for cases in FIELD.values() for case in cases])
def test_a_field_that_changed(old: Edition, values: dict[str, Any], kind: Kind, severity: Severity) -> None:
    new = _with_field(old, "mean_speed_kmh", **values)
    found = [change for change in changes(old, new) if not change.subject.endswith(("title.en", "description.en"))]
    assert [(change.kind, change.severity) for change in found] == [(kind, severity)]


@pytest.mark.parametrize(
    ("tokenise", "kind", "severity"),
    [
        (Tokenise(source="plate", kind="plate", joins=False), Kind.ROTATION_CHANGED, COMPATIBLE),
        (Tokenise(source="plate_no", kind="plate", joins=False), Kind.TOKENISATION_CHANGED, BREAKING),
        (None, Kind.TOKENISATION_CHANGED, BREAKING),
    ],
)
def test_a_token_that_changed(registry: Registry, tokenise: Tokenise | None, kind: Kind, severity: Severity) -> None:
    event = edition(registry, registry.dataset("violation_event"))
    changed = _with_field(event, "plate_token", tokenise=tokenise)
    assert _only(event, changed) == (kind, severity)
    if kind is Kind.ROTATION_CHANGED:
        assert _only(changed, event) == (kind, severity)


def test_a_stream_that_the_platform_takes_over_loses_its_formats_without_a_new_major(old: Edition) -> None:
    own = _part(old, "stream", written_by="platform", accepts=())
    assert {change.kind for change in changes(old, own)} == {Kind.WRITER_CHANGED, Kind.STREAM_CHANGED}
    assert required_bump(changes(old, own)) is Bump.MINOR


def test_what_was_bound_may_be_loosened(old: Edition) -> None:
    codes = _with_field(old, "detector_id", code_list=None)
    assert _only(old, codes) == (Kind.CODE_LIST_REMOVED, COMPATIBLE)
    assert _only(old, _with_field(old, "detector_id", code_list="stations")) == (Kind.CODE_LIST_CHANGED, BREAKING)
    assert _only(old, _with_field(old, "lane_no", required=False)) == (Kind.REQUIRED_LOOSENED, BREAKING)
    internal = _with_field(old, "queue_m", classification="internal", free_text=True)
    lowered = {change.kind for change in changes(internal, old)}
    assert lowered == {Kind.CLASSIFICATION_LOWERED, Kind.FREE_TEXT_UNSET}
    referring = _with_field(old, "queue_m", references=Reference(dataset="a", field="b"))
    other = _with_field(old, "queue_m", references=Reference(dataset="a", field="c"))
    assert _only(referring, old) == (Kind.REFERENCE_REMOVED, COMPATIBLE)
    assert _only(referring, other) == (Kind.REFERENCE_CHANGED, COMPATIBLE)


def test_a_name_in_a_format_that_the_stream_does_not_take_is_no_change(old: Edition) -> None:
    other = {"fiware.WaterObserved": Alias(path=("height",))}
    assert changes(old, _with_field(old, "queue_m", aliases=other)) == ()


def test_fields_come_and_go(old: Edition) -> None:
    queue = old.dataset.field("queue_m")
    shorter = _with(old, fields=tuple(f for f in old.dataset.fields if f.name != "queue_m"))
    assert _only(shorter, old) == (Kind.FIELD_ADDED, COMPATIBLE)
    assert _only(old, shorter) == (Kind.FIELD_REMOVED, BREAKING)
    needed = _with(shorter, fields=(*shorter.dataset.fields, queue.model_copy(update={"required": True})))
    assert _only(shorter, needed) == (Kind.REQUIRED_FIELD_ADDED, BREAKING)
    turned = _with(old, fields=tuple(reversed(old.dataset.fields)))
    assert _only(old, turned) == (Kind.FIELDS_REORDERED, DOCUMENTATION)
    (change,) = changes(shorter, old)
    assert str(change) == "queue_m optional field added: — → decimal(9,3)"


def test_a_word_of_a_list_is_part_of_the_contract_a_thing_of_a_register_is_data(old: Edition) -> None:
    words = replace(old, codes={"statuses": Codes(False, ("open", "closed"))})
    more = replace(old, codes={"statuses": Codes(False, ("open", "closed", "paused"))})
    assert _only(words, more) == (Kind.CODES_ADDED, COMPATIBLE)
    assert _only(more, words) == (Kind.CODES_REMOVED, BREAKING)
    things = replace(old, codes={"cameras": Codes(True, ("c1",))})
    grown = replace(old, codes={"cameras": Codes(True, ("c1", "c2"))})
    assert changes(things, grown) == ()
    assert _only(grown, things) == (Kind.CODES_REMOVED, BREAKING)


RULE = Completeness(rule="completeness", field="queue_m", minimum_pct=Decimal(90))
WHOLE: list[tuple[dict[str, Any], Kind, Severity]] = [
    ({"domain": "roads"}, Kind.DOMAIN_CHANGED, COMPATIBLE),
    ({"clauses": ("I.1",)}, Kind.NOTE_CHANGED, DOCUMENTATION),
    ({"systems": (13, 14)}, Kind.NOTE_CHANGED, DOCUMENTATION),
    ({"unverified": ("a",)}, Kind.NOTE_CHANGED, DOCUMENTATION),
    ({"owner": "H57.CA"}, Kind.OWNER_CHANGED, COMPATIBLE),
    ({"classification": "internal"}, Kind.CLASSIFICATION_RAISED, BREAKING),
    ({"data_class": "core"}, Kind.DATA_CLASS_CHANGED, COMPATIBLE),
    ({"grain": "one day of one lane"}, Kind.GRAIN_CHANGED, BREAKING),
    ({"key": ("detector_id", "observed_at")}, Kind.KEY_CHANGED, BREAKING),
    ({"partition": None}, Kind.PARTITION_CHANGED, BREAKING),
    ({"personal_purpose": TEXT}, Kind.PURPOSE_CHANGED, COMPATIBLE),
    ({"legal_basis": ("luat_91_2025",)}, Kind.LEGAL_BASIS_CHANGED, COMPATIBLE),
    ({"end_date": TODAY}, Kind.END_DATE_CHANGED, COMPATIBLE),
    ({"supersedes": "lane_hour"}, Kind.NOTE_CHANGED, DOCUMENTATION),
    ({"quality": (RowCount(rule="row_count", minimum=2),)}, Kind.RULE_CHANGED, COMPATIBLE),
    ({"quality": ()}, Kind.RULE_REMOVED, COMPATIBLE),
    ({"quality": (RowCount(rule="row_count", minimum=1), RULE)}, Kind.RULE_ADDED, COMPATIBLE),
]


@pytest.mark.parametrize(("values", "kind", "severity"), WHOLE)
def test_a_dataset_that_changed(old: Edition, values: dict[str, Any], kind: Kind, severity: Severity) -> None:
    assert _only(old, _with(old, **values)) == (kind, severity)


@pytest.mark.parametrize(
    ("part", "values", "kind", "severity"),
    [
        ("stream", {"event_time": "created_at"}, Kind.EVENT_TIME_CHANGED, BREAKING),
        ("stream", {"partitions": 0}, Kind.TOPIC_SHRUNK, BREAKING),
        ("stream", {"partitions": 4}, Kind.STREAM_CHANGED, COMPATIBLE),
        ("stream", {"accepts": ()}, Kind.INPUT_FORMAT_REMOVED, BREAKING),
        (
            "stream",
            {"accepts": ("native", FLOW, "sensorthings")},
            Kind.STREAM_CHANGED,
            COMPATIBLE,
        ),
        ("stream", {"written_by": "platform"}, Kind.WRITER_CHANGED, COMPATIBLE),
        ("stream", {"watermark": timedelta(minutes=9)}, Kind.STREAM_CHANGED, COMPATIBLE),
        ("sla", {"freshness": timedelta(hours=1)}, Kind.SLA_CHANGED, COMPATIBLE),
        ("qc", {"gross_range": {}}, Kind.QC_CHANGED, COMPATIBLE),
        ("retention", {"silver": timedelta(days=1)}, Kind.RETENTION_SHORTENED, BREAKING),
        ("retention", {"bronze": timedelta(days=99)}, Kind.RETENTION_LENGTHENED, COMPATIBLE),
        (
            "retention",
            {"by": RetentionBy(field="station_id", code_list="event_retention", days="retention_d")},
            Kind.RETENTION_BY_CODE,
            COMPATIBLE,
        ),
        ("description", {"usage": "Otherwise."}, Kind.TEXT_CHANGED, DOCUMENTATION),
        ("title", {"vi": "Khác"}, Kind.TEXT_CHANGED, DOCUMENTATION),
    ],
)
def test_a_setting_that_changed(
    old: Edition, part: str, values: dict[str, Any], kind: Kind, severity: Severity
) -> None:
    assert _only(old, _part(old, part, **values)) == (kind, severity)


def test_settings_of_the_other_sources(registry: Registry) -> None:
    table = edition(registry, registry.dataset("road_asset"))
    assert _only(table, _part(table, "sector", schedule="0 3 * * *")) == (Kind.SECTOR_CHANGED, COMPATIBLE)
    keys = _part(table, "sector", deletes=Deletes.model_validate("keys"))
    assert [str(change) for change in changes(table, keys)] == ["sector.deletes sector setting changed: — → keys"]
    assert _only(table, keys) == (Kind.SECTOR_CHANGED, COMPATIBLE)
    assert _only(table, _part(table, "sector", tolerance=Tolerance(deleted_pct=50))) == (
        Kind.SECTOR_CHANGED, COMPATIBLE
    )  # fmt: skip
    derived = edition(registry, registry.dataset("flood_alert"))
    assert _only(derived, _part(derived, "derived", topic="alert.water")) == (Kind.TOPIC_CHANGED, BREAKING)
    assert _only(derived, _part(derived, "derived", inputs=("rain_gauge",))) == (Kind.DERIVED_CHANGED, COMPATIBLE)
    mart = edition(registry, registry.dataset("kpi_flood_alarm"))
    assert _only(mart, _part(mart, "mart", inputs=("river_stage",))) == (Kind.MART_CHANGED, COMPATIBLE)
    assert _only(mart, _with(mart, mart=None, sector=table.dataset.sector)) == (Kind.SOURCE_CHANGED, BREAKING)


def test_every_key_of_a_dataset_is_compared() -> None:
    assert set(module._WHOLE) | module._ELSEWHERE == set(Dataset.model_fields)
    assert {name for part in (Stream, Sector, Derived, Mart) for name in part.model_fields} >= {"event_time", "topic"}


def test_the_gravest_change_comes_first_and_decides_the_version(old: Edition) -> None:
    new = _with(old, clauses=("I.1",), owner="H57.CA", grain="one day of one lane")
    found = changes(old, new)
    assert [change.severity for change in found] == [BREAKING, COMPATIBLE, DOCUMENTATION]
    assert required_bump(found) is Bump.MAJOR
    assert required_bump(found[1:]) is Bump.MINOR
    assert required_bump(found[2:]) is Bump.PATCH
    assert required_bump(()) is Bump.NONE


@pytest.mark.parametrize(
    ("old", "new", "bump"),
    [
        ("1.2.3", "1.2.3", Bump.NONE),
        ("1.2.3", "1.2.4", Bump.PATCH),
        ("1.2.3", "1.3.0", Bump.MINOR),
        ("1.9.0", "1.10.0", Bump.MINOR),
        ("1.2.3", "2.0.0", Bump.MAJOR),
        ("1.2.3", "1.2.2", None),
        ("2.0.0", "1.9.9", None),
    ],
)
def test_which_part_of_a_version_rose(old: str, new: str, bump: Bump | None) -> None:
    assert declared_bump(old, new) == bump


def test_a_version_must_rise_as_its_changes_need(old: Edition) -> None:
    changed = _with(old, owner="H57.CA")
    stayed = compare(old, changed, TODAY)
    assert stayed.problem == ("its version stayed 1.0.0, but a minor one is due (owner owner changed: H57.XD → H57.CA)")
    assert stayed.remedy == "write `version: 1.1.0`"
    patched = compare(old, _with(changed, version="1.0.1"), TODAY)
    assert "rose only to 1.0.1" in patched.problem
    for version in ("1.1.0", "1.2.0"):
        assert not compare(old, _with(changed, version=version), TODAY).problem
    assert compare(old, _with(old, version="0.9.0"), TODAY).problem == "went back from 1.0.0 to 0.9.0"
    assert not compare(old, _with(old, version="1.0.1"), TODAY).problem


def test_a_breaking_change_in_place_is_refused_whatever_its_version(old: Edition) -> None:
    new = _with_field(old, "queue_m", unit="km")
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        judged = compare(old, _with(new, version=version), TODAY)
        assert judged.problem == "breaks those who use 1.0.0: queue_m unit changed: m → km"
        assert judged.remedy == (
            "restore this here, put the new form in schemas/datasets/transport/lane_minute_v2.yaml with "
            "`id: lane_minute_v2`, `version: 2.0.0` and `supersedes: lane_minute`, and give lane_minute an `end_date`"
        )
    assert "lives beside the old one" in compare(old, _with(old, version="2.0.0"), TODAY).remedy


def test_a_contract_goes_only_after_its_end_date(old: Edition) -> None:
    assert compare(old, None, TODAY).problem == "the contract was removed, but it has no end date"
    assert "2026-11-21 has not passed" in compare(_with(old, end_date=TODAY), None, TODAY).problem
    gone = compare(_with(old, end_date=date(2026, 11, 20)), None, TODAY)
    assert (gone.problem, gone.state) == ("", "removed")
    assert compare(None, old, TODAY).state == "new"
    with pytest.raises(ValueError, match="nothing to compare"):
        compare(None, None, TODAY)
