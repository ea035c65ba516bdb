"""Formats: what the aliases say becomes the contract's own record, and any bytes at all are kept or understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.media_types import media_types
from pipelines.contracts.registry import Registry
from pipelines.gateway.envelope import RawRecord, seal
from pipelines.gateway.formats.entry import Entry, Unreadable
from pipelines.gateway.formats.select import reader
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import UnknownFormat
from pipelines.gateway.tokens import Tokeniser

RECEIVED = datetime(2025, 10, 27, 13, 0, 5, tzinfo=UTC)
TOKENISER = Tokeniser({1: b"k" * 32})
DATASTREAMS = {
    "12": {"dataset": "river_stage", "station_id": "71520"},
    "13": {"dataset": "river_stage", "station_id": "71518", "unit": "cm"},
    "14": {"dataset": "rain_gauge", "station_id": "HUE-BM"},
}
ALL = ("river_stage", "rain_gauge", "lane_minute", "env_monitoring", "urban_flood_depth", "violation_event")
SOURCE = Source("gw-1", "H57.NNMT", ALL, datastreams=DATASTREAMS)

# The shape of the Smart Data Models' examples, with Huế's places and our own figures.
FLOW_KEY_VALUES = {
    "id": "urn:ngsi-ld:TrafficFlowObserved:HUE-D01",
    "type": "TrafficFlowObserved",
    "laneId": 2,
    "address": {"addressLocality": "Huế", "addressCountry": "VN"},
    "dateObserved": "2025-10-27T19:59:00+07:00/2025-10-27T20:00:00+07:00",
    "intensity": 17,
    "occupancy": 0.165,
    "averageVehicleSpeed": 31.25,
}
FLOW_NORMALISED = {
    "id": "HUE-D01",
    "type": "TrafficFlowObserved",
    "laneId": {"type": "Number", "value": 2},
    "dateObservedTo": {"type": "DateTime", "value": "2025-10-27T13:00:00Z"},
    "intensity": {"type": "Number", "value": 17},
    "occupancy": {"type": "Number", "value": 16.5, "metadata": {"unitCode": {"type": "Text", "value": "P1"}}},
    "averageVehicleSpeed": {"type": "Number", "value": 31.25, "metadata": {}},
}
WATER_LD = {
    "@context": ["https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"],
    "id": "urn:ngsi-ld:WaterObserved:71520",
    "type": "WaterObserved",
    "dateObserved": {"type": "Property", "value": {"@type": "DateTime", "@value": "2025-10-27T13:00:00Z"}},
    "https://smartdatamodels.org/dataModel.Environment/height": {
        "type": "Property",
        "value": 505,
        "unitCode": "CMT",
        "observedAt": "2025-10-27T13:00:00Z",
    },
    "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [107.56, 16.455]}},
}
OBSERVATION = {
    "phenomenonTime": "2025-10-27T12:50:00Z/2025-10-27T13:00:00Z",
    "resultTime": "2025-10-27T13:00:01Z",
    "result": 5.05,
    "Datastream": {"@iot.id": 12},
}


def entries(registry: Registry, dataset: str, body: object, media_type: str = "application/json") -> list[Entry]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(reader(registry.dataset(dataset), media_type, SOURCE).parse(data))


def record(registry: Registry, dataset: str, entry: Entry) -> Mapping[str, Any]:
    assert not entry.problem
    found = seal(
        registry.dataset(dataset),
        entry.raw if entry.body is None else entry.body,
        source="gw-1",
        origin="observed",
        received_at=RECEIVED,
        tokeniser=TOKENISER,
        original=entry.raw,
    )
    assert isinstance(found, RawRecord)
    assert not found.reason, found.detail
    value: Mapping[str, Any] = json.loads(found.value)
    return value


FLOW = {
    "detector_id": "HUE-D01",
    "lane_no": 2,
    "observed_at": "2025-10-27T13:00:00Z",
    "vehicle_count": 17,
    "mean_speed_kmh": 31.25,
    "occupancy_pct": 16.5,
    "origin": "observed",
    "revision": 0,
}


@pytest.mark.parametrize("media_type", ["application/json", "application/ld+json"])
def test_fiware_entities_in_either_form_are_the_same_reading(registry: Registry, media_type: str) -> None:
    one, two = entries(registry, "lane_minute", [FLOW_KEY_VALUES, FLOW_NORMALISED], media_type)
    assert record(registry, "lane_minute", one) == FLOW
    assert record(registry, "lane_minute", two) == FLOW
    assert (one.dropped, two.dropped) == (1, 0)


def test_a_brokers_notification_is_its_entities(registry: Registry) -> None:
    body = {"subscriptionId": "5f", "data": [FLOW_KEY_VALUES, FLOW_NORMALISED]}
    assert [record(registry, "lane_minute", e) for e in entries(registry, "lane_minute", body)] == [FLOW, FLOW]


def test_ngsi_ld_gives_urns_iris_and_unit_codes(registry: Registry) -> None:
    (entry,) = entries(registry, "river_stage", WATER_LD, "application/ld+json")
    assert record(registry, "river_stage", entry) == {
        "station_id": "71520",
        "observed_at": "2025-10-27T13:00:00Z",
        "stage_m": 5.05,
        "origin": "observed",
        "revision": 0,
    }


def test_units_ratios_and_constants_follow_the_aliases(registry: Registry) -> None:
    air = {
        "id": "MT-001",
        "type": "AirQualityObserved",
        "dateObserved": "2025-10-27T13:00:00Z",
        "pm25": 31.5,
        "co": {"value": 0.9, "unitCode": "GP"},
        "relativeHumidity": 0.82,
        "temperature": 26,
    }
    (entry,) = entries(registry, "env_monitoring", air)
    found = record(registry, "env_monitoring", entry)
    assert (found["env_station_kind"], found["co_ugm3"], found["air_humidity_pct"]) == ("air", 900, 82)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "WeatherObserved"}, "type: an entity of another type; accepted: WaterObserved"),
        ({"height": {"value": 1, "unitCode": "KMH"}}, "stage_m: its unit is one of speed, not m"),
        ({"height": {"value": 1, "unitCode": "FOT"}}, "stage_m: its unit is not known"),
        ({"height": {"value": "x", "unitCode": "CMT"}}, "stage_m: a number is expected"),
        ({"height": {"value": True, "unitCode": "CMT"}}, "stage_m: a number is expected"),
        ({"dateObserved": "2025-10-27T12:00:00Z/2025-10-27T13:00:00Z"}, "observed_at: a period is given where"),
        (
            {"height": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:a"}]},
            "stage_m: an attribute with several values",
        ),
    ],
)
def test_what_cannot_be_translated_says_why_and_keeps_its_bytes(
    registry: Registry, change: Mapping[str, Any], problem: str
) -> None:
    plain = {"id": "71520", "type": "WaterObserved", "dateObserved": "2025-10-27T13:00:00Z", "height": 5.05}
    body = json.dumps({**plain, **change}, indent=1).encode()
    (entry,) = entries(registry, "river_stage", body)
    assert entry.raw == body
    assert entry.problem.startswith(problem)


def test_an_observation_means_what_its_datastream_is_registered_for(registry: Registry) -> None:
    with_unit = {**OBSERVATION, "Datastream": {"@iot.id": "13"}, "result": 505}
    wrong = {**OBSERVATION, "Datastream": {"@iot.id": 14}}
    unknown = {**OBSERVATION, "Datastream": {"@iot.id": 99}}
    found = entries(registry, "river_stage", {"value": [OBSERVATION, with_unit, wrong, unknown]})
    one, two = record(registry, "river_stage", found[0]), record(registry, "river_stage", found[1])
    assert (one["station_id"], one["stage_m"], one["observed_at"]) == ("71520", 5.05, "2025-10-27T13:00:00Z")
    assert (two["station_id"], two["stage_m"]) == ("71518", 5.05)
    assert found[2].problem == "Datastream: it is registered for rain_gauge"
    assert "station_id" not in (found[3].body or {})


def test_an_observation_may_carry_its_datastream(registry: Registry) -> None:
    stream = {"Thing": {"name": "71520"}, "unitOfMeasurement": {"name": "centimetre", "symbol": "cm"}}
    (entry,) = entries(registry, "river_stage", {**OBSERVATION, "Datastream": stream, "result": 505.5})
    found = record(registry, "river_stage", entry)
    assert (found["station_id"], found["stage_m"]) == ("71520", 5.055)


def test_a_data_array_is_its_rows_and_each_keeps_its_own_bytes(registry: Registry) -> None:
    body = (
        b'[{"Datastream":{"@iot.id":12},"components":["phenomenonTime","result"],"dataArray@iot.count":3,'
        b'"dataArray":[["2025-10-27T13:00:00Z",5.050],["2025-10-27T13:10:00Z", "x"],["2025-10-27T13:20:00Z"]]}]'
    )
    found = entries(registry, "river_stage", body)
    assert record(registry, "river_stage", found[0])["stage_m"] == 5.05
    assert found[0].body is not None
    assert str(found[0].body["result" if "result" in found[0].body else "stage_m"]) == "5.050"
    assert b'["2025-10-27T13:10:00Z", "x"]' in found[1].raw
    assert found[2].problem == "the row does not fit the components"


def test_native_and_foreign_records_may_stand_in_one_batch(registry: Registry) -> None:
    native = {"station_id": "71520", "observed_at": "2025-10-27T13:00:00Z", "stage_m": 5.05}
    water = {"id": "71520", "type": "WaterObserved", "dateObserved": "2025-10-27T13:00:00Z", "height": 5.05}
    found = entries(registry, "river_stage", [native, water, OBSERVATION])
    values = [record(registry, "river_stage", entry) for entry in found]
    assert values[0] == values[1] == values[2]
    lines = b"\n".join(json.dumps(body).encode() for body in (native, water, OBSERVATION)) + b"\n\n"
    assert [
        record(registry, "river_stage", e) for e in entries(registry, "river_stage", lines, "application/x-ndjson")
    ] == values


def test_csv_rows_are_records_and_a_bad_row_is_its_own_problem(registry: Registry) -> None:
    body = (
        "\ufeffstation_id;observed_at;stage_m;revision;note\r\n"
        '71520;2025-10-27T20:00:00+07:00;5.05;1;"đo tay;\r\nlần hai"\r\n'
        "71518;2025-10-27T20:00:00+07:00;4.1\r\n"
        "\r\n"
        "71518;2025-10-27T20:10:00+07:00;4.12;;\r\n"
        '71518;"2025\r\n1;2;3\r\n'
    ).encode()
    found = entries(registry, "river_stage", body, "text/csv; charset=utf-8")
    assert record(registry, "river_stage", found[0]) == {
        "station_id": "71520",
        "observed_at": "2025-10-27T13:00:00Z",
        "stage_m": 5.05,
        "note": "đo tay;\r\nlần hai",
        "origin": "observed",
        "revision": 1,
    }
    assert found[1].problem == "3 cells under a header of 5"
    assert found[1].raw.endswith(b"71518;2025-10-27T20:00:00+07:00;4.1\r\n")
    assert record(registry, "river_stage", found[2])["stage_m"] == 4.12
    assert found[3].problem.startswith("not CSV")
    assert found[3].raw.endswith(b'71518;"2025\r\n1;2;3\r\n')


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"a,a\n1,2\n", b"a,,b\n1,2,3\n", b'"a\n'])
def test_a_table_without_a_usable_header_is_unreadable(registry: Registry, body: bytes) -> None:
    with pytest.raises(Unreadable):
        entries(registry, "river_stage", body, "text/csv")


def test_a_dataset_takes_only_what_its_contract_accepts(registry: Registry) -> None:
    assert media_types(registry.dataset("river_stage")) == (
        "application/json",
        "application/x-ndjson",
        "text/csv",
        "application/ld+json",
    )
    assert "application/ld+json" not in media_types(registry.dataset("violation_event"))
    with pytest.raises(UnknownFormat, match="Allowed: application/json"):
        reader(registry.dataset("violation_event"), "application/ld+json", SOURCE)
    (entry,) = entries(registry, "violation_event", WATER_LD)
    assert entry == Entry(json.dumps(WATER_LD).encode())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["value", "type", "@iot.id"]), inner),
    max_leaves=8,
)
HEADS = ["id", "type", "dateObserved", "height", "result", "Datastream", "phenomenonTime", "components", "dataArray"]
SHAPED = st.dictionaries(st.sampled_from([*HEADS, "items", "data", "value"]), JSON_VALUES | st.just("WaterObserved"))
CELLS = st.text(alphabet='ab71,;"\n\r\u2028 ', min_size=1)
TABLES = st.lists(CELLS).map(lambda rows: b"station_id\n" + "\n".join(rows).encode())
BODIES = st.one_of(
    st.binary(),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(SHAPED).map(lambda value: json.dumps(value).encode()),
    SHAPED.map(lambda value: json.dumps(value).encode()),
    TABLES,
)
MEDIA_TYPES = st.sampled_from(["application/json", "application/x-ndjson", "application/ld+json", "text/csv"])


@given(BODIES, MEDIA_TYPES, st.sampled_from(["river_stage", "lane_minute", "urban_flood_depth"]))
def test_no_bytes_make_a_parser_fail_and_what_is_no_use_is_kept_as_it_came(
    registry: Registry, body: bytes, media_type: str, dataset: str
) -> None:
    try:
        found = entries(registry, dataset, body, media_type)
    except Unreadable:
        return
    for entry in found:
        assert entry.raw
        result = seal(
            registry.dataset(dataset),
            entry.raw if entry.body is None else entry.body,
            source="gw-1",
            origin="observed",
            received_at=RECEIVED,
            tokeniser=TOKENISER,
            original=entry.raw,
        )
        if isinstance(result, RawRecord) and result.as_came:
            assert result.value == entry.raw


@given(st.lists(JSON_VALUES), st.sampled_from([None, 1]))
def test_an_array_is_cut_into_its_elements(registry: Registry, values: list[Any], indent: int | None) -> None:
    body = json.dumps(values, indent=indent).encode()
    found = entries(registry, "rain_gauge", body)
    assert json.dumps([json.loads(entry.raw) for entry in found]) == json.dumps(values)


@given(st.lists(st.binary()))
def test_lines_lose_nothing_but_the_space_around_them(registry: Registry, lines: list[bytes]) -> None:
    found = entries(registry, "violation_event", b"\n".join(lines), "application/x-ndjson")
    between = b" \t\r\n"
    kept = [line.strip(between) for line in b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    assert [entry.raw for entry in found] == [line for line in kept if line]


@given(TABLES)
def test_the_rows_of_a_table_are_all_of_it(registry: Registry, body: bytes) -> None:
    found = entries(registry, "river_stage", body, "text/csv")
    rows = b"".join(entry.raw.removeprefix(b"station_id\n") for entry in found)
    assert rows.translate(None, b"\r\n") == body.removeprefix(b"station_id\n").translate(None, b"\r\n")
