"""What is made of the records that Debezium writes: which of them a load takes, as what values, and which one counts.

The records are written as Debezium 3.6 wrote them to a topic for such changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.contracts.model import Dataset, Sector
from pipelines.contracts.registry import Registry
from pipelines.gateway.tokens import Tokeniser
from pipelines.ingestion.access import Access, source_columns
from pipelines.ingestion.capture.changes import Changes, Fetched
from pipelines.ingestion.capture.connector import MISSING_VALUE, Capture, captured, changed_shape, topic_of
from pipelines.ingestion.connections import parse_connection
from pipelines.ingestion.databases.table import Column, Table
from pipelines.ingestion.judge import judge
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import DELETED, Protection
from pipelines.ingestion.reading import Position
from pipelines.ingestion.staged import Load, Staged
from pipelines.ingestion.trouble import SourceChanged, SourceUnavailable
from pipelines.landing.apply import Silver
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
KEY = Fernet(Fernet.generate_key())
Row = dict[str, Any]
TABLE = Table(
    "soyt",
    "med_price",
    (
        *(Column(name, "text", True) for name in ("facility_name", "service_name", "service_code")),
        Column("facility_id", "character", True),
        Column("price_vnd", "numeric", True),
        *(Column(name, "date", True) for name in ("valid_from", "valid_to")),
    ),
)


@pytest.fixture
def dataset(registry: Registry) -> Dataset:
    """The prices, captured."""
    old = registry.dataset("med_price")
    return old.model_copy(update={"sector": sector_of(old).model_copy(update={"mode": "capture"})})


def price(service: str, value: str = "39000.00", **more: Any) -> Row:
    return {
        "facility_id": "BVTW    ", "facility_name": "Bệnh viện", "service_code": service, "service_name": "Khám",
        "price_vnd": value, "valid_from": "2025-01-01Z", "valid_to": None, **more,
    }  # fmt: skip


def told(op: str, row: Row | None = None, *, snapshot: str = "false", lsn: int = 1) -> bytes:
    """One record; a deleted row is told as it was."""
    before, after = (row, None) if op == "d" else (None, row)
    source = {"version": "3.6.3.Final", "snapshot": snapshot, "schema": "soyt", "table": "med_price", "lsn": lsn}
    text = {"before": before, "after": after, "source": source, "transaction": None, "op": op, "ts_ms": 1}
    return json.dumps(text, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Topic:
    """Records in the order of a topic, of which every third place is one of Kafka's own."""

    values: Sequence[bytes]

    def place(self, number: int) -> int:
        return number + number // 2

    @property
    def end(self) -> int:
        return self.place(len(self.values))

    def __call__(self, begin: int, end: int) -> Iterator[Fetched]:
        chosen = [(self.place(n), value) for n, value in enumerate(self.values) if begin <= self.place(n) < end]
        for start in range(0, len(chosen), 2):
            part = chosen[start : start + 2]
            yield [value for _, value in part], [offset for offset, _ in part]


READ = [
    told("r", price("A"), snapshot="first", lsn=7),
    told("r", price("B"), snapshot="true", lsn=7),
    told("r", price("C"), snapshot="last_in_data_collection", lsn=7),
]


def test_of_several_first_readings_the_last_counts(dataset: Dataset) -> None:
    broken = [told("r", price("GONE"), snapshot="first", lsn=5), told("r", price("A"), snapshot="true", lsn=5)]
    topic = Topic([*broken, told("t"), *READ, told("u", price("A", "1"))])
    stretch = Changes(dataset, topic).look_through(0, topic.end, is_first=True)
    assert (stretch.begin, stretch.end, stretch.is_whole, stretch.rows) == (topic.place(3), topic.end, True, 4)


@pytest.mark.parametrize("count", [1, 2])
def test_a_first_reading_is_waited_for(dataset: Dataset, count: int) -> None:
    topic = Topic(READ[:count])
    with pytest.raises(SourceUnavailable, match=r"table soyt\.med_price is still being read for the first time"):
        Changes(dataset, topic).look_through(0, topic.end, is_first=True)


def test_changes_alone_are_the_whole_only_of_a_table_that_was_empty(dataset: Dataset) -> None:
    topic = Topic([told("c", price("A")), told("d", price("A"))])
    changes = Changes(dataset, topic)
    assert changes.look_through(0, topic.end, is_first=True).is_whole
    assert not changes.look_through(0, topic.end, is_first=False).is_whole
    assert changes.look_through(topic.end, topic.end + 2, is_first=False).rows == 0


def test_a_truncated_table_is_not_a_table_without_changes(dataset: Dataset) -> None:
    topic = Topic([told("c", price("A")), told("t"), told("c", price("B"))])
    with pytest.raises(SourceChanged, match=r"was emptied by TRUNCATE.*lake capture start soyt --anew"):
        Changes(dataset, topic).look_through(0, topic.end, is_first=False)


def test_values_are_read_as_the_table_gives_them(dataset: Dataset) -> None:
    topic = Topic([told("c", price("A\\\n\"{'", valid_to="2026-01-01Z")), told("d", price("B", "0.10"))])
    changes = Changes(dataset, topic)
    stretch = changes.look_through(0, topic.end, is_first=False)
    rows = pa.Table.from_batches(changes.batches(stretch, TABLE, None)).to_pylist()
    assert [row["service_code"] for row in rows] == ["A\\\n\"{'", "B"]
    assert [row["price_vnd"] for row in rows] == ["39000.00", "0.10"]
    assert [row["facility_id"] for row in rows] == ["BVTW", "BVTW"]
    assert [row["valid_to"] for row in rows] == ["2026-01-01", None]
    assert [row[DELETED] for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {name: value for name, value in price("A").items() if name != "valid_to"},
            "has no column valid_to in its log",
        ),
        (price("A", service_name=MISSING_VALUE), "lacks values of service_name in its log, because it has no REPLICA"),
    ],
)
def test_what_a_record_does_not_say_is_no_null(dataset: Dataset, row: Row, expected: str) -> None:
    topic = Topic([*READ, told("u", row)])
    changes = Changes(dataset, topic)
    stretch = changes.look_through(0, topic.end, is_first=True)
    with pytest.raises(SourceChanged, match=expected):
        list(changes.batches(stretch, TABLE, None))


CHANGES = st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["sound", "bad", "deleted"])), max_size=12)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(changes=CHANGES)
def test_the_last_change_of_a_key_counts(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, dataset: Dataset, changes: list[tuple[str, str]]
) -> None:
    """Of those that can be read; every one that cannot is refused, and none is a doubled key."""
    folder = tmp_path_factory.mktemp("changes")
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(folder / "state"), "LAKE_NAMESPACE": "t"})
    rows = [
        {**price(key, "x" if kind == "bad" else str(number)), "valid_from": "2025-01-01", DELETED: kind == "deleted"}
        for number, (key, kind) in enumerate(changes)
    ]
    schema = pa.schema(
        [*(pa.field(name, pa.string()) for name in source_columns(dataset)), pa.field(DELETED, pa.bool_())]
    )
    protected = Protection(dataset, Tokeniser({1: b"k" * 16}), KEY.encrypt)(pa.Table.from_pylist(rows, schema))
    load = Load(1, "run/1", _now(), "observed", None, position=Position("topic", 12))
    pq.write_table(load.stamp(protected), folder / "1.parquet")
    staged = Staged(folder / "1.parquet")
    judged = judge(staged, Silver.open(settings, registry, dataset, KEY.encrypt))
    last = {key: number for number, (key, kind) in enumerate(changes) if kind != "bad"}
    bad = {number for number, (_, kind) in enumerate(changes) if kind == "bad"}
    # Nothing is in silver yet: a key whose last change deletes it takes nothing out of it.
    kept = {number for number in last.values() if changes[number][1] == "sound"}
    assert set(judged.stored(slice(None)).nonzero()[0].tolist()) == kept | bad
    assert judged.refused.get("type:price_vnd", 0) == len(bad) == sum(judged.refused.values())
    if rows:
        assert staged.load == load


def _now() -> Any:
    return pa.scalar(0, pa.timestamp("us", tz="UTC")).as_py()


def capture(registry: Registry, dataset: Dataset, uri: str, namespace: str = "t") -> Capture:
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": "/nowhere", "LAKE_NAMESPACE": namespace})
    access = Access(registry.source_of(dataset), parse_connection("sector_soyt", uri), "observed")
    return Capture(settings, access, (dataset,))


def test_a_connector_follows_from_the_contracts(registry: Registry, dataset: Dataset) -> None:
    found = capture(registry, dataset, "postgresql://reader:hush@db:5433/soyt?sslmode=verify-full")
    config = found.config
    assert (found.name, found.slot, topic_of(dataset)) == ("t.change.soyt", "lake_t_soyt", "change.soyt.soyt.med_price")
    assert [found.settings.topic(topic.name) for topic in found.topics] == [
        "t.change.soyt.soyt.med_price", f"{config['topic.heartbeat.prefix']}.t.change.soyt",
    ]  # fmt: skip
    assert "hush" not in str(config)
    assert config["database.password"] == "${dir:/nowhere/secrets/capture/t.change.soyt:password}"
    assert config["database.sslmode"] == "verify-full"
    assert config["column.include.list"].startswith(r"soyt\.med_price\.(facility_id|facility_name|")
    assert config["message.key.columns"] == r"soyt\.med_price:facility_id,service_code,valid_from"
    other = {**config, "heartbeat.interval.ms": "9", "column.include.list": "x"}
    assert changed_shape(other, config) == ("column.include.list",)


def test_what_a_connector_cannot_do_is_said(registry: Registry, dataset: Dataset) -> None:
    with pytest.raises(LakeError, match="extras that a capture does not use: sslkey"):
        _ = capture(registry, dataset, "postgresql://reader@db/soyt?sslkey=/key").config
    long = registry.source_of(dataset).model_copy(update={"id": "s" * 40})
    access = Access(long, parse_connection("c", "postgresql://reader@db/soyt"), "observed")
    found = replace(capture(registry, dataset, "postgresql://r@db/soyt", "n" * 31), access=access)
    with pytest.raises(LakeError, match="is longer than 63 letters"):
        _ = found.slot


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"deletes": "keys"}, "tell every change, deletes too: it has no `deletes`"),
        ({"schema": None}, "mode capture needs the `schema` of the table"),
        ({"cursor": "updated_at"}, "the other modes have none"),
    ],
)
def test_a_contract_says_nothing_beside_capture(more: dict[str, Any], expected: str) -> None:
    said = {"source": "soyt", "schema": "soyt", "table": "t", "mode": "capture", "schedule": "0 2 * * *", **more}
    with pytest.raises(ValidationError, match=expected):
        Sector.model_validate(said)


def test_only_what_says_so_is_captured(registry: Registry, dataset: Dataset) -> None:
    assert captured(registry) == ()
    with_one = replace(registry, datasets=tuple(dataset if d.id == dataset.id else d for d in registry.datasets))
    assert captured(with_one) == captured(with_one, "soyt") == (dataset,)
    assert captured(with_one, "hues") == ()
