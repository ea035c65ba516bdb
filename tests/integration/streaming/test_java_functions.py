"""The Java format and process table functions inside a real Flink mini cluster, called from SQL as the jobs do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flink_cluster import BACKENDS, collect, plan_error, write

from pipelines.contracts.registry import Registry
from pipelines.streaming.job import alarm_levels, job_sql

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

# --- the format ------------------------------------------------------------------------------------------------------

BAD_RECORDS: Mapping[bytes, str] = {
    b"": "empty",
    b" \t ": "empty",
    b"not json": "malformed",
    b'{"stage_m":1.0} tail': "malformed",
    b'{"station_id":"\xff"}': "malformed",
    b'[{"stage_m":1.0},{"stage_m":2.0}]': "not_an_object",
    b'"text"': "not_an_object",
    b'{"stage_m":true}': "type:stage_m",
    b'{"observed_at":"2025-10-27T13:00:00"}': "type:observed_at",
    b'{"revision":1.5}': "type:revision",
    b'{"stage_m":1e999999999}': "overflow:stage_m",
    b'{"revision":2147483648}': "overflow:revision",
    b'{"lake.refused":{"reason":"too_large","ref":"a/b","size_bytes":5242880}}': "refused:too_large",
}


def _raw_table(flink: TableEnvironment, uri: str) -> str:
    name = f"raw_{uuid.uuid4().hex}"
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE {name} (
            `_raw` BYTES, station_id STRING, observed_at TIMESTAMP_LTZ(6), stage_m DECIMAL(9, 3), revision INT,
            `_err` STRING
        ) WITH ('connector' = 'filesystem', 'path' = '{uri}', 'format' = 'lake-json')
    """)
    return name


def test_every_bad_record_is_one_row_with_its_bytes_and_reason(flink: TableEnvironment, tmp_path: Path) -> None:
    good = '{"station_id":"Phú Ốc","observed_at":"2025-10-27T13:00:00.5Z","stage_m":5.25}'.encode()
    lines = [line for bad in BAD_RECORDS for line in (bad, good)]
    table = _raw_table(flink, write(tmp_path, lines))
    rows = collect(
        flink, f"SELECT `_raw`, `_err`, station_id, CAST(observed_at AS STRING), stage_m, revision FROM {table}"
    )
    expected: list[tuple[Any, ...]] = []
    for raw, reason in BAD_RECORDS.items():
        expected.append((raw, reason, None, None, None, None))
        expected.append((good, None, "Phú Ốc", "2025-10-27 13:00:00.500000", Decimal("5.250"), None))
    assert [(None if raw is None else bytes(raw), *rest) for raw, *rest in rows] == expected


def test_projections_without_the_reserved_columns(flink: TableEnvironment, tmp_path: Path) -> None:
    table = _raw_table(flink, write(tmp_path, [b'{"station_id":"a","stage_m":1}', b"broken"]))
    assert collect(flink, f"SELECT stage_m, station_id FROM {table}") == [(Decimal("1.000"), "a"), (None, None)]
    assert collect(flink, f"SELECT `_err` FROM {table}") == [(None,), ("malformed",)]


def test_unsuitable_columns_are_refused_at_planning(flink: TableEnvironment, tmp_path: Path) -> None:
    name = f"raw_{uuid.uuid4().hex}"
    uri = write(tmp_path, [])
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE {name} (station_id STRING NOT NULL, `_err` STRING)
        WITH ('connector' = 'filesystem', 'path' = '{uri}', 'format' = 'lake-json')
    """)
    assert "declare it nullable" in plan_error(flink, f"SELECT * FROM {name}")


# --- disposition -----------------------------------------------------------------------------------------------------

HOUR_S = 3600
DAY_MS = 24 * HOUR_S * 1000


def _clock(second: int) -> str:
    """Seconds since 2025-10-27T00:00:00Z as the wire format writes them."""
    return (datetime(2025, 10, 27, tzinfo=UTC) + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(flink: TableEnvironment, tmp_path: Path, rows: Sequence[tuple[str, int, float, int, int]]) -> str:
    """A view of (station, event second, stage, revision, arrival second), as a job's parsed step makes it."""
    lines = [
        json.dumps(
            {
                "station_id": station,
                "observed_at": _clock(event),
                "stage_m": stage,
                "revision": revision,
                "received_at": _clock(arrival),
                "raw_offset": offset,
            }
        ).encode()
        for offset, (station, event, stage, revision, arrival) in enumerate(rows)
    ]
    suffix = uuid.uuid4().hex
    # Flink's json here: the arrival clock is NOT NULL, as Kafka's timestamp is; a file has no such metadata.
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE raw_{suffix} (
            station_id STRING, observed_at TIMESTAMP_LTZ(6), stage_m DECIMAL(9, 3), revision INT,
            received_at TIMESTAMP_LTZ(3) NOT NULL, raw_offset BIGINT,
            event_rowtime AS COALESCE(CAST(observed_at AS TIMESTAMP_LTZ(3)), received_at),
            WATERMARK FOR event_rowtime AS received_at - INTERVAL '61' SECOND
        ) WITH ('connector' = 'filesystem', 'path' = '{write(tmp_path, lines)}', 'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601', 'scan.watermark.emit.strategy' = 'on-event')
    """)
    flink.execute_sql(f"""
        CREATE TEMPORARY VIEW parsed_{suffix} AS
        SELECT
            station_id, observed_at, stage_m,
            COALESCE(revision, 0) AS `_revision`,
            received_at AS `_received_at`,
            event_rowtime < received_at - INTERVAL '60' SECOND AS `_late`,
            event_rowtime AS `_rowtime`,
            raw_offset AS `_raw_offset`,
            HEX(TIMESTAMPDIFF(MINUTE, TO_TIMESTAMP_LTZ(0, 3), observed_at) / 10) AS `_block`
        FROM raw_{suffix}
    """)
    return f"parsed_{suffix}"


def _disposed(flink: TableEnvironment, parsed: str, horizon_ms: int = DAY_MS) -> str:
    """A view over the function. By the Table API: Flink writes a SQL view down without the key's brackets."""
    view = f"disposed_{uuid.uuid4().hex}"
    flink.create_temporary_view(
        view,
        flink.sql_query(f"""
            SELECT * FROM Disposition(
                input => TABLE {parsed} PARTITION BY (`_block`, station_id),
                instant => CAST('observed_at' AS STRING),
                horizon_ms => CAST({horizon_ms} AS BIGINT),
                on_time => DESCRIPTOR(`_rowtime`),
                uid => 'river_stage_disposition')
        """),
    )
    return view


SCRIPT: Sequence[tuple[tuple[str, int, float, int, int], str]] = (
    (("a", 0, 1.0, 0, 10), "on_time"),
    (("a", 0, 1.0, 0, 20), "duplicate"),
    (("a", 0, 1.1, 0, 30), "corrected"),
    (("a", 0, 1.0, 0, 40), "duplicate"),  # the first message again: it corrects nothing
    (("a", 0, 1.2, 2, 50), "corrected"),
    (("a", 0, 9.9, 1, 60), "duplicate"),  # a stale revision
    (("a", 0, 1.2, 3, 200), "duplicate"),  # a new number, the same content
    (("b", 0, 1.0, 0, 210), "late"),
    (("b", 0, 1.0, 0, 220), "duplicate"),
    (("b", 0, 1.3, 0, 230), "corrected"),
    (("a", 600, 2.0, 0, 610), "on_time"),
    (("a", 0, 1.2, 3, 10 + 24 * HOUR_S), "duplicate"),  # exactly at the horizon
    (("a", 0, 1.2, 3, 11 + 24 * HOUR_S), "late"),  # beyond it: forgotten
    (("a", 0, 1.2, 3, 12 + 24 * HOUR_S), "duplicate"),
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_disposition_of_a_scripted_sequence(flink: TableEnvironment, tmp_path: Path, backend: str) -> None:
    flink.get_config().set("state.backend.type", backend)
    view = _disposed(flink, _parsed(flink, tmp_path, [row for row, _ in SCRIPT]))
    rows = collect(
        flink, f"SELECT `_raw_offset`, disposition, CAST(rowtime AS STRING), station_id, stage_m FROM {view}"
    )
    assert [(offset, disposition) for offset, disposition, *_ in rows] == [
        (offset, disposition) for offset, (_, disposition) in enumerate(SCRIPT)
    ]
    assert [(station, float(stage)) for *_, station, stage in rows] == [(row[0], row[2]) for row, _ in SCRIPT]
    assert rows[7][2] == "2025-10-27 00:00:00.000", "a late row keeps its event time"


CROWD = [("a", second, 1.0, 0, 600 + second) for second in range(300)]
"""More readings of one entity within ten minutes than share a state."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crowd_of_readings_in_one_block_is_told_apart_like_any_other(
    flink: TableEnvironment, tmp_path: Path, backend: str
) -> None:
    flink.get_config().set("state.backend.type", backend)
    again = [(*row[:4], 900 + n) for n, row in enumerate(CROWD)]
    changed = [(row[0], row[1], 2.0, 0, 1200 + n) for n, row in enumerate(CROWD)]
    view = _disposed(flink, _parsed(flink, tmp_path, [*CROWD, *again, *changed, *changed]))
    rows = collect(flink, f"SELECT `_raw_offset`, disposition FROM {view}")
    said = [disposition for _, disposition in sorted(rows)]
    count = len(CROWD)
    assert set(said[:count]) == {"late"}
    assert set(said[count : 2 * count]) == {"duplicate"}
    assert set(said[2 * count : 3 * count]) == {"corrected"}
    assert set(said[3 * count :]) == {"duplicate"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crowd_is_found_again_after_what_it_stood_beside_was_replaced(
    flink: TableEnvironment, tmp_path: Path, backend: str
) -> None:
    """A new revision forgets the contents of the one before: there is room in the block, but not for who is known."""
    flink.get_config().set("state.backend.type", backend)
    contents = [("a", 0, float(n), 0, 600 + n) for n in range(16)]
    crowd = [("a", second, 1.0, 0, 700 + second) for second in range(1, 300)]
    again = [(*row[:4], 1100 + n) for n, row in enumerate(crowd)]
    view = _disposed(flink, _parsed(flink, tmp_path, [*contents, *crowd, ("a", 0, 99.0, 1, 1050), *again]))
    said = [disposition for _, disposition in sorted(collect(flink, f"SELECT `_raw_offset`, disposition FROM {view}"))]
    assert said[len(contents) + len(crowd)] == "corrected"
    assert set(said[-len(again) :]) == {"duplicate"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_an_instant_the_partition_is_the_reading(flink: TableEnvironment, tmp_path: Path, backend: str) -> None:
    flink.get_config().set("state.backend.type", backend)
    parsed = _parsed(
        flink, tmp_path, [("a", 0, 1.0, 0, 10), ("a", 0, 1.0, 0, 20), ("a", 5, 1.0, 0, 30), ("b", 5, 1.0, 0, 40)]
    )
    rows = collect(
        flink,
        f"""
        SELECT `_raw_offset`, disposition FROM Disposition(
            input => TABLE {parsed} PARTITION BY station_id, instant => CAST('' AS STRING),
            horizon_ms => CAST({DAY_MS} AS BIGINT), on_time => DESCRIPTOR(`_rowtime`), uid => 'events')
        """,
    )
    assert sorted(rows) == [(0, "on_time"), (1, "duplicate"), (2, "corrected"), (3, "on_time")]


def test_windows_after_disposition_count_what_came_on_time(flink: TableEnvironment, tmp_path: Path) -> None:
    rows = [
        ("a", 0, 1.0, 0, 10),
        ("a", 120, 2.0, 0, 130),
        ("a", 120, 2.0, 0, 140),  # duplicate
        ("a", 120, 3.0, 0, 150),  # corrected
        ("b", 299, 9.0, 0, 355),  # behind the newest event, within the delay
        ("a", 310, 4.0, 0, 356),
        ("b", 250, 5.0, 0, 357),  # late by 107 s
        ("a", 10_000_000, 6.0, 0, 400),  # a clock in the future moves nobody's watermark
        ("a", 390, 7.0, 0, 410),
        ("b", 700, 8.0, 0, 710),
    ]
    view = _disposed(flink, _parsed(flink, tmp_path, rows))
    on_time = f"on_time_{uuid.uuid4().hex}"
    flink.execute_sql(f"CREATE TEMPORARY VIEW {on_time} AS SELECT * FROM {view} WHERE disposition = 'on_time'")
    windows = collect(
        flink,
        f"""
        SELECT station_id, CAST(window_start AS STRING), COUNT(*), MAX(stage_m)
        FROM TUMBLE(TABLE {on_time}, DESCRIPTOR(rowtime), INTERVAL '5' MINUTE)
        WHERE window_start < TIMESTAMP '2025-10-28 00:00:00'
        GROUP BY station_id, window_start, window_end
        """,
    )
    assert sorted(windows) == [
        ("a", "2025-10-27 00:00:00.000", 2, Decimal("2.000")),
        ("a", "2025-10-27 00:05:00.000", 2, Decimal("7.000")),
        ("b", "2025-10-27 00:00:00.000", 1, Decimal("9.000")),
        ("b", "2025-10-27 00:10:00.000", 1, Decimal("8.000")),
    ]


def test_disposition_refuses_a_wrong_call_at_planning(flink: TableEnvironment, tmp_path: Path) -> None:
    parsed = _parsed(flink, tmp_path, [])
    call = (
        "SELECT * FROM Disposition(input => TABLE {} PARTITION BY station_id,"
        " instant => CAST('' AS STRING), horizon_ms => {})"
    )
    assert "write CAST(86400000 AS BIGINT)" in plan_error(flink, call.format(parsed, "86400000"))
    assert "above 0" in plan_error(flink, call.format(parsed, "CAST(0 AS BIGINT)"))
    renamed = f"renamed_{uuid.uuid4().hex}"
    flink.execute_sql(f"CREATE TEMPORARY VIEW {renamed} AS SELECT station_id, stage_m, `_late` FROM {parsed}")
    assert "no column _revision" in plan_error(flink, call.format(renamed, "CAST(1000 AS BIGINT)"))


# --- the flood alarm -------------------------------------------------------------------------------------------------

KIM_LONG, PHU_OC = "71520", "71518"
# Published bulletins of the flood of October and November 2025: local time (+07:00) and stage in metres.
ANCHORS = {
    KIM_LONG: (
        "10-26T12:30=1.75 10-27T07:00=3.58 10-27T20:00=5.05 10-28T02:00=4.74 10-28T09:00=4.62 10-28T14:00=4.68"
        " 10-29T05:00=3.87 10-29T09:00=3.62 10-29T20:00=4.93 10-30T06:00=3.89 11-01T17:00=2.56 11-02T13:00=2.26"
        " 11-02T21:00=3.50 11-03T06:00=3.54 11-03T08:00=3.89 11-03T12:00=4.43 11-03T13:00=4.47 11-03T14:00=4.42"
    ),
    PHU_OC: (
        "10-26T12:30=3.13 10-27T07:00=4.52 10-27T14:00=5.25 10-27T20:00=5.06 10-28T04:00=4.67 10-28T14:00=4.78"
        " 10-29T05:00=4.45 10-29T15:00=4.97 10-29T17:00=5.19 10-29T18:00=5.27 10-30T06:00=4.48 11-01T17:00=3.79"
        " 11-02T13:00=3.86 11-02T21:00=4.18 11-03T06:00=4.50 11-03T08:00=4.81 11-03T13:00=5.31 11-03T14:00=5.29"
    ),
}
LEVELS = ";".join(
    f"{station}|{level}|{threshold}|2020-03-20T00:00:00Z|"
    for station, thresholds in ((KIM_LONG, (1.0, 2.0, 3.5)), (PHU_OC, (1.5, 3.0, 4.5)))
    for level, threshold in enumerate(thresholds, start=1)
)


def _readings(flink: TableEnvironment, tmp_path: Path, rows: Sequence[tuple[str, str, float | None, int]]) -> str:
    """A view of (station, local time, stage, QC flag); the offset is the position in the sequence."""
    lines = [
        json.dumps({"station_id": station, "local": local, "stage_m": stage, "qc_flag": flag, "raw_offset": n}).encode()
        for n, (station, local, stage, flag) in enumerate(rows)
    ]
    suffix = uuid.uuid4().hex
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE raw_{suffix} (
            station_id STRING, `local` TIMESTAMP(3), stage_m DECIMAL(9, 3), qc_flag INT, raw_offset BIGINT
        ) WITH ('connector' = 'filesystem', 'path' = '{write(tmp_path, lines)}', 'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601')
    """)
    flink.execute_sql(f"""
        CREATE TEMPORARY VIEW readings_{suffix} AS
        SELECT
            station_id, stage_m, qc_flag, CAST(`local` - INTERVAL '7' HOUR AS TIMESTAMP_LTZ(3)) AS observed_at,
            CAST(`local` - INTERVAL '7' HOUR AS TIMESTAMP_LTZ(3)) AS received_at, 'replay' AS origin,
            0 AS raw_partition, raw_offset
        FROM raw_{suffix}
    """)
    return f"readings_{suffix}"


def _alarms(flink: TableEnvironment, readings: str, levels: str = LEVELS) -> list[tuple[Any, ...]]:
    return collect(
        flink,
        f"""
        SELECT
            alert_id, rule, level, transition, CAST(transition_at AS STRING), CAST(raised_at AS STRING), stage_m,
            threshold_m, peak_stage_m, origin, raw_partition, raw_offset
        FROM FloodAlarm(
            input => TABLE {readings} PARTITION BY station_id,
            levels => CAST('{levels}' AS STRING),
            hysteresis_m => CAST(0.10 AS DECIMAL(9, 3)),
            hold_ms => CAST(1800000 AS BIGINT),
            uid => 'flood_alarm')
        """,
    )


def _anchors() -> list[tuple[str, str, float, int]]:
    """The bulletins of both gauges in the order of their time."""
    anchors = [
        (f"2025-{local}:00", station, float(stage))
        for station, series in ANCHORS.items()
        for local, stage in (point.split("=") for point in series.split())
    ]
    return [(station, local, stage, 1) for local, station, stage in sorted(anchors)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_alarms_of_the_flood_of_2025(flink: TableEnvironment, tmp_path: Path, backend: str) -> None:
    flink.get_config().set("state.backend.type", backend)
    alarms = _alarms(flink, _readings(flink, tmp_path, _anchors()))
    story = [(alert_id, transition, at, peak) for alert_id, _, _, transition, at, _, _, _, peak, *_ in alarms]
    assert [row for row in story if KIM_LONG in row[0]] == [
        ("bd1|71520|2025-10-26T05:30:00Z", "raise", "2025-10-26 05:30:00.000", None),
        ("bd2|71520|2025-10-27T00:00:00Z", "raise", "2025-10-27 00:00:00.000", None),
        ("bd3|71520|2025-10-27T00:00:00Z", "raise", "2025-10-27 00:00:00.000", None),
        ("bd3|71520|2025-10-27T00:00:00Z", "clear", "2025-11-02 06:00:00.000", Decimal("5.050")),
        ("bd3|71520|2025-11-02T14:00:00Z", "raise", "2025-11-02 14:00:00.000", None),
    ]
    assert [row for row in story if PHU_OC in row[0]] == [
        ("bd1|71518|2025-10-26T05:30:00Z", "raise", "2025-10-26 05:30:00.000", None),
        ("bd2|71518|2025-10-26T05:30:00Z", "raise", "2025-10-26 05:30:00.000", None),
        ("bd3|71518|2025-10-27T00:00:00Z", "raise", "2025-10-27 00:00:00.000", None),
        # 4.45 m on the 29th and 4.48 m on the 30th lie within the hysteresis: one episode with one peak.
        ("bd3|71518|2025-10-27T00:00:00Z", "clear", "2025-11-02 06:00:00.000", Decimal("5.270")),
        ("bd3|71518|2025-11-02T23:00:00Z", "raise", "2025-11-02 23:00:00.000", None),
    ]


def test_records_are_beaten_by_each_night_of_phu_oc(
    flink: TableEnvironment, tmp_path: Path, registry: Registry
) -> None:
    """Against the record of 2020 alone, and against the list that takes up each night's record the day after."""
    readings = _readings(flink, tmp_path, _anchors())
    nights = ("2025-10-27T07:00:00Z", "2025-10-29T11:00:00Z", "2025-11-03T06:00:00Z")
    known_before = f"{LEVELS};71518|4|5.24|2020-12-31T17:00:00Z|"
    for levels, thresholds in ((known_before, "5.240 5.240 5.240"), (alarm_levels(registry), "5.240 5.250 5.270")):
        raised = [
            (alert_id, rule, level, str(threshold))
            for alert_id, rule, level, transition, _, _, _, threshold, *_ in _alarms(flink, readings, levels)
            if transition == "raise" and level == 4
        ]
        assert raised == [
            (f"record|71518|{night}", "RECORD", 4, threshold)
            for night, threshold in zip(nights, thresholds.split(), strict=True)
        ]


def test_one_alarm_row_in_full_and_readings_that_do_not_count(flink: TableEnvironment, tmp_path: Path) -> None:
    rows = [
        (KIM_LONG, "2025-10-26T12:30:00", 9.9, 4),  # failed: neither raises nor counts as the newest
        (KIM_LONG, "2025-10-26T12:20:00", 1.75, 1),
        (KIM_LONG, "2025-10-26T12:10:00", 4.0, 1),  # older than the newest
        (KIM_LONG, "2025-10-26T12:20:00", 2.05, 1),  # a correction of the newest
        (KIM_LONG, "2025-10-26T12:30:00", None, 9),
        ("unknown", "2025-10-26T12:30:00", 9.9, 1),
    ]
    at, older = "2025-10-26 05:20:00.000", "2025-10-26 05:10:00.000"
    bd1, bd2 = "bd1|71520|2025-10-26T05:20:00Z", "bd2|71520|2025-10-26T05:20:00Z"
    assert _alarms(flink, _readings(flink, tmp_path, rows)) == [
        (bd1, "BD1", 1, "raise", at, at, Decimal("1.750"), Decimal("1.000"), None, "replay", 0, 1),
        ("ignored|71520|0|2", None, None, "ignored_older", older, None, None, None, None, "replay", 0, 2),
        (bd2, "BD2", 2, "raise", at, at, Decimal("2.050"), Decimal("2.000"), None, "replay", 0, 3),
    ]


def test_wrong_levels_are_refused_at_planning(flink: TableEnvironment, tmp_path: Path) -> None:
    readings = _readings(flink, tmp_path, [])
    call = """SELECT * FROM FloodAlarm(input => TABLE {} PARTITION BY station_id, levels => CAST('{}' AS STRING),
        hysteresis_m => CAST(0.10 AS DECIMAL(9, 3)), hold_ms => CAST(1800000 AS BIGINT), uid => 'flood_alarm')"""
    message = plan_error(flink, call.format(readings, "71520|5|1.0|2020-03-20T00:00:00Z|"))
    assert "the level is 5; allowed are 1, 2, 3 and 4 (record)" in message


# --- what flood.sql makes of readings --------------------------------------------------------------------------------


def _conformed(
    flink: TableEnvironment, tmp_path: Path, stream: str, columns: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """The view `<stream>__conformed` of a job over (minute, arrival minute, fields …), minutes since START."""
    lines = []
    for number, row in enumerate(rows):
        fields = {name: value for name, value in row.items() if name not in {"minute", "arrival"}}
        times = {"observed_at": _minute(row["minute"]), "received_at": _minute(row.get("arrival", row["minute"]))}
        common = {"qc_flag": 1, "origin": "replay", "disposition": "on_time", "raw_offset": number}
        lines.append(json.dumps({**common, **times, **fields}).encode())
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE file_{stream} (
            {columns}, observed_at TIMESTAMP_LTZ(6), received_at TIMESTAMP_LTZ(3), qc_flag INT, origin STRING,
            disposition STRING, raw_offset BIGINT
        ) WITH ('connector' = 'filesystem', 'path' = '{write(tmp_path, lines)}', 'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601')
    """)
    flink.execute_sql(f"CREATE VIEW {stream}__conformed AS SELECT *, 0 AS raw_partition FROM file_{stream}")


START = datetime(2025, 10, 27, 0, 0, tzinfo=UTC)


def _minute(number: int) -> str:
    return (START + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _final(flink: TableEnvironment, view: str, columns: str, key: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The last row of each key, as landing keeps it; minutes since START in place of the event time."""
    minute = f"TIMESTAMPDIFF(MINUTE, {_TIMESTAMP}, CAST(observed_at AS TIMESTAMP(3)))"
    rows = collect(flink, f"SELECT {columns.format(minute=minute)} FROM {view}")
    return {row[:key]: row[key:] for row in rows}


_TIMESTAMP = f"TIMESTAMP '{START:%Y-%m-%d %H:%M:%S}'"


@pytest.fixture(scope="module")
def flood_views(
    flink: TableEnvironment, tmp_path_factory: pytest.TempPathFactory, registry: Registry
) -> TableEnvironment:
    """The views of sql/flood.sql over four streams of readings with duplicates, corrections and late arrivals."""
    folder = tmp_path_factory.mktemp("flood")
    stages = [
        *({"station_id": KIM_LONG, "minute": m, "stage_m": 3.0 + m / 1000} for m in range(0, 100, 10) if m != 40),
        {"station_id": KIM_LONG, "minute": 90, "stage_m": 3.09, "disposition": "duplicate"},
        {
            "station_id": KIM_LONG,
            "minute": 40,
            "arrival": 95,
            "stage_m": 3.04,
            "disposition": "late",
            "origin": "synthetic",
        },
        {"station_id": KIM_LONG, "minute": 90, "arrival": 96, "stage_m": 3.06, "disposition": "corrected"},
        {"station_id": KIM_LONG, "minute": 100, "stage_m": 9.0, "qc_flag": 4},
    ]
    rain = [
        *({"station_id": "HUE-ND", "minute": m, "rain_mm": 1.5} for m in range(10, 70, 10) if m != 30),
        {"station_id": "HUE-ND", "minute": 20, "rain_mm": 1.5, "disposition": "duplicate"},
        {"station_id": "HUE-ND", "minute": 30, "arrival": 65, "rain_mm": 104.6, "disposition": "late"},
        {"station_id": "HUE-ND", "minute": 60, "arrival": 66, "rain_mm": 2.5, "disposition": "corrected"},
    ]
    reservoirs = [
        {"reservoir_id": "TA-TRACH", "minute": m, "level_m": 42 + m / 1000, "inflow_m3s": 6921, "outflow_m3s": 423}
        for m in (0, 60, 120, 180)
    ]
    depths = [
        {"site_id": "HUE-N19753-1", "ward_code": "19753", "minute": 0, "depth_cm": 40.5},
        {"site_id": "HUE-N19753-2", "ward_code": "19753", "minute": 5, "depth_cm": 10.0},
        {"site_id": "HUE-N19753-1", "ward_code": "19753", "minute": 20, "depth_cm": 30.0},
        {
            "site_id": "HUE-N19753-2",
            "ward_code": "19753",
            "minute": 15,
            "arrival": 22,
            "depth_cm": 55.0,
            "disposition": "late",
        },
    ]
    _conformed(flink, folder, "river_stage", "station_id STRING, stage_m DECIMAL(9, 3)", stages)
    _conformed(flink, folder, "rain_gauge", "station_id STRING, rain_mm DECIMAL(9, 3)", rain)
    flows = "level_m DECIMAL(9, 3), inflow_m3s DECIMAL(9, 3), outflow_m3s DECIMAL(9, 3)"
    _conformed(flink, folder, "reservoir_op", f"reservoir_id STRING, {flows}", reservoirs)
    _conformed(flink, folder, "urban_flood_depth", "site_id STRING, ward_code STRING, depth_cm DECIMAL(9, 1)", depths)
    for statement in job_sql("flood", registry):
        if statement.startswith("CREATE VIEW"):
            flink.execute_sql(statement)
    return flink


def test_rates_of_rise_end_as_if_nothing_had_come_late(flood_views: TableEnvironment) -> None:
    columns = (
        "{minute}, stage_m, rise_1h_mh, rise_3h_mh, alarm_level, next_alarm_level, next_threshold_m, "
        "time_to_next_min, origin"
    )
    rows = _final(flood_views, "river_trend__rates", columns, 1)
    assert sorted(minute for (minute,) in rows) == list(range(0, 101, 10))
    # 60 mm an hour, 3.5 m is 430 mm away; BĐ2 is reached, BĐ3 is next.
    at_70 = (Decimal("3.070"), Decimal("0.060"), None, 2, 3, Decimal("3.500"), 430, "mixed")
    assert rows[70,] == at_70
    assert rows[30,] == (Decimal("3.030"), Decimal("0.060"), None, 2, 3, Decimal("3.500"), 470, "replay")
    assert rows[90,][0] == Decimal("3.060"), "the correction replaced 3.09"
    assert rows[100,] == (None, Decimal("0.060"), Decimal("0.060"), None, None, None, None, "mixed")


def test_rain_sums_do_not_double_and_say_what_they_cover(flood_views: TableEnvironment) -> None:
    columns = "{minute}, rain_1h_mm, coverage_1h_pct, rain_24h_mm, coverage_24h_pct, TIMESTAMPDIFF(MINUTE, " + (
        f"{_TIMESTAMP}, CAST(event_started_at AS TIMESTAMP(3))), event_rain_mm, event_coverage_pct"
    )
    rows = _final(flood_views, "rain_accumulation__sums", columns, 1)
    total = Decimal("113.100")  # 4 × 1.5 + 104.6 + 2.5
    assert rows[60,] == (total, Decimal(100), total, Decimal("4.167"), 0, total, Decimal(100))
    assert rows[20,] == (
        Decimal("3.000"),
        Decimal("33.333"),
        Decimal("3.000"),
        Decimal("1.389"),
        0,
        Decimal("3.000"),
        Decimal(100),
    )


def test_a_reservoir_says_what_it_can_still_hold(flood_views: TableEnvironment) -> None:
    columns = (
        "reservoir_id, {minute}, level_m, normal_level_m, below_normal_m, storage_mm3, free_storage_mm3, "
        "net_inflow_m3s, rise_3h_mh"
    )
    rows = _final(flood_views, "reservoir_state__levels", columns, 2)
    # 73.4 Mm³ at 23 m, 509.8 at 45 m: 19.836 Mm³ a metre.
    assert rows["TA-TRACH", 0] == (
        *(Decimal("42.000"), Decimal("45.000"), Decimal("3.000"), Decimal("450.291"), Decimal("59.509")),
        *(Decimal("6498.000"), None),
    )
    assert rows["TA-TRACH", 180][-1] == Decimal("0.060")


def test_a_ward_is_as_deep_as_its_deepest_live_site(flood_views: TableEnvironment) -> None:
    columns = "ward_code, {minute}, max_depth_cm, mean_depth_cm, deepest_site_id, live_site_count"
    rows = _final(flood_views, "urban_depth_ward__depths", columns, 2)
    assert rows["19753", 5] == (Decimal("40.5"), Decimal("25.2"), "HUE-N19753-1", 2)
    assert rows["19753", 15] == (Decimal("55.0"), Decimal("47.8"), "HUE-N19753-2", 2)
    assert rows["19753", 20] == (Decimal("55.0"), Decimal("42.5"), "HUE-N19753-2", 2)


LATE = "late_ms => CAST(1 AS BIGINT)"
RIVER = "RiverTrend(input => TABLE {} PARTITION BY {}, levels => CAST('{}' AS STRING), {})"
WRONG_CALLS = {
    RIVER.format("river_stage__evaluated", "station_id", "x", LATE): "Wrong alarm levels",
    RIVER.format(
        "urban_flood_depth__evaluated", "ward_code", "a|1|1|2020-01-01T00:00:00Z|", LATE
    ): "no column station_id",
    "RainAccumulation(input => TABLE rain_gauge__evaluated PARTITION BY station_id, period_ms => CAST(0 AS BIGINT), "
    f"dry_ms => CAST(1 AS BIGINT), {LATE})": "period_ms is 0 ms; it must be above 0",
    "ReservoirState(input => TABLE reservoir_op__evaluated PARTITION BY reservoir_id, "
    f"reservoirs => CAST('T|1' AS STRING), {LATE})": "2 fields instead of 3",
    "UrbanDepth(input => TABLE rain_gauge__evaluated PARTITION BY station_id, "
    f"live_ms => CAST(1 AS BIGINT), {LATE})": "no column site_id",
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_a_wrong_call_ends_at_planning(flood_views: TableEnvironment, call: str) -> None:
    assert WRONG_CALLS[call] in plan_error(flood_views, f"SELECT * FROM {call}")
