"""Rows that their source has deleted: what a load says of them, and what bronze, silver and the ledger then hold.

Loads are staged as ingestion stages them; only the source is a table in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.fernet import Fernet
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import system
from pipelines.contracts.model import Dataset, Deletes, Tolerance
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.gateway.tokens import Tokeniser
from pipelines.ingestion import load as module
from pipelines.ingestion import noted, staged
from pipelines.ingestion.access import key_columns, source_columns
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.extract import finish_pending, stage
from pipelines.ingestion.judge import Judged, TooManyDeleted, judge
from pipelines.ingestion.noted import Note
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import Protection
from pipelines.ingestion.reading import Reading
from pipelines.ingestion.records import FAILED, OK, LoadRun, finished_load, last_comparison, load_status, record
from pipelines.ingestion.staged import Load, Staged, fingerprint
from pipelines.landing import rewrite
from pipelines.landing.apply import Quality, Silver
from pipelines.landing.ledger import DatasetLedger, ledger
from pipelines.landing.removal import Removal, remove
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.warehouse.retire import retire

HOME = Path(__file__).resolve().parents[3]
T0 = datetime(2025, 10, 27, tzinfo=UTC)
KEY = Fernet(Fernet.generate_key())
Row = dict[str, str | None]
KEYS, MARKED = Deletes.model_validate("keys"), Deletes(column="valid_to")


def deleting(dataset: Dataset, deletes: Deletes | None, **settings: Any) -> Dataset:
    sector = sector_of(dataset).model_copy(update={"deletes": deletes, **settings})
    return dataset.model_copy(update={"sector": sector})


def price(service: str, value: str = "39000", **more: str | None) -> Row:
    return {
        "facility_id": "BVTW", "facility_name": "Bệnh viện Trung ương Huế", "service_code": service,
        "service_name": "Khám", "price_vnd": value, "valid_from": "2025-01-01", "valid_to": None, **more,
    }  # fmt: skip


def texts(columns: Sequence[str], rows: Iterable[Mapping[str, str | None]]) -> pa.Table:
    listed = list(rows)
    return pa.table({name: pa.array([row.get(name) for row in listed], pa.string()) for name in columns})


@dataclass
class Lake:
    """One sector table of a lake, loaded as ingestion loads it."""

    settings: Settings
    registry: Registry
    dataset: Dataset
    folder: Path
    number: int = 0
    quality: Quality = field(init=False)

    def __post_init__(self) -> None:
        self.quality = Quality.open(self.settings)

    @property
    def silver(self) -> Silver:
        return Silver.open(self.settings, self.registry, self.dataset, KEY.encrypt)

    def staged(self, rows: Sequence[Row], keys: Sequence[Row] | None = None) -> Staged:
        """A load of `rows`; `keys` are of the rows that the source has besides, None when it does not say."""
        self.number += 1
        load = Load(self.number, f"run/{self.number}", T0 + timedelta(days=self.number), "observed", None)
        protection = Protection(self.dataset, Tokeniser({1: b"k" * 16}), KEY.encrypt)
        read = None
        if keys is not None:
            read = iter(texts(key_columns(self.dataset), keys).to_batches(max_chunksize=2))
        behind = module._keys(Reading(iter(()), None, None, tuple, keys=read), load, protection)
        parts = [load.stamp(protection(texts(source_columns(self.dataset), rows)))]
        path = self.folder / f"{self.number}.parquet"
        pa.parquet.write_table(pa.concat_tables([*parts, *behind]), path)
        return Staged(path)

    def load(self, rows: Sequence[Row], keys: Sequence[Row] | None = None, *, killed: bool = False) -> Counter[str]:
        """Judge and store a load; `killed`: the process ends when bronze has it."""
        counts = self.apply()
        staged = self.staged(rows, keys)
        judged = self.judged(staged)
        judged.check(self.dataset, sector_of(self.dataset))
        Bronze(self.settings, self.dataset).append(staged, judged, self.silver)
        notes = judged.notes
        counts.update(unchanged=notes.count(Note.UNCHANGED), repeated=notes.count(Note.REPEATED))
        return counts if killed else counts + self.apply()

    def judged(self, staged: Staged) -> Judged:
        return judge(staged, self.silver)

    def apply(self) -> Counter[str]:
        """Bring silver to the end of bronze."""
        bronze, silver, counts = Bronze(self.settings, self.dataset), self.silver, Counter[str]()
        refusals = bronze.refusals()
        for batch in bronze.unapplied(silver.sink.committed(bronze.app) or 0):
            plan = module._plan(silver, batch, refusals)
            self.quality.write([plan.aside])
            silver.commit(plan)
            counts.update(plan.counts)
        bronze.settle()
        return counts

    def rows(self, layer: str = "silver") -> list[dict[str, Any]]:
        path = str(self.settings.table_path(layer, self.dataset.id))
        found: list[dict[str, Any]] = DeltaTable(path).to_pyarrow_table().to_pylist()
        return found

    def services(self) -> dict[str, int]:
        return {row["service_code"]: int(row["price_vnd"]) for row in self.rows()}

    def ledger(self) -> DatasetLedger:
        (entry,) = ledger(self.settings, replace(self.registry, datasets=(self.dataset,))).datasets
        assert entry.violations == ()
        return entry


@pytest.fixture(autouse=True)
def large_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """These loads are small; of a large one, hashes of keys are compared on disk, and bronze gets it in parts."""
    monkeypatch.setattr(noted, "IN_MEMORY", 3)
    monkeypatch.setattr(staged, "_CHUNK_ROWS", 2)


@pytest.fixture
def lake(tmp_path: Path, registry: Registry) -> Callable[..., Lake]:
    def make(dataset: str = "med_price", deletes: Deletes | None = KEYS, state: str = "state", **settings: Any) -> Lake:
        where = {"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / state), "LAKE_NAMESPACE": "t"}
        (tmp_path / state).mkdir()
        found = deleting(registry.dataset(dataset), deletes, **settings)
        return Lake(Settings.load(where), registry, found, tmp_path / state)

    return make


def test_a_key_that_the_source_no_longer_has_is_deleted(lake: Callable[..., Lake]) -> None:
    table = lake()
    table.load([price("A"), price("B"), price("C")], [])
    # One changed, one gone, one that cannot be read but is there, one new.
    counts = table.load([price("A", "41000"), price("C", "không"), price("D")], [])
    assert {name: counts[name] for name in ("inserted", "updated", "deleted", "quarantined")} == {
        "inserted": 1, "updated": 1, "deleted": 1, "quarantined": 1
    }  # fmt: skip
    assert table.services() == {"A": 41000, "C": 39000, "D": 39000}
    (gone,) = [row for row in table.rows("bronze") if row["lake_op"] == "delete"]
    assert (gone["service_code"], gone["price_vnd"], gone["load_id"]) == ("B", None, "run/2")
    assert gone["record_key"] == "BVTW|B|2025-01-01" and gone["origin"] == "observed"
    assert gone["received_at"] == T0 + timedelta(days=2) and gone["received_date"] == date(2025, 10, 29)
    entry = table.ledger()
    assert (entry.inserted, entry.deleted, entry.rows_in_silver) == (4, 1, 3)
    # Back again it is a new row; what is gone stays gone.
    counts = table.load([price("A", "41000"), price("B"), price("C"), price("D")], [])
    assert (counts["inserted"], counts["unchanged"], counts["deleted"]) == (1, 3, 0)
    assert table.ledger().rows_in_silver == 4


def test_keys_that_come_behind_the_rows_are_compared_and_stored_nowhere(lake: Callable[..., Lake]) -> None:
    table = lake()
    everything = [price(f"S{n}") for n in range(9)]
    table.load(everything, [])
    # Nobody says which rows there are: nothing goes.
    assert table.load([price("S1", "1")])["deleted"] == 0
    counts = table.load([price("S2", "1")], everything[1:5])
    assert (counts["updated"], counts["deleted"]) == (1, 5)
    assert sorted(table.services()) == ["S1", "S2", "S3", "S4"]
    assert Counter(row["lake_op"] for row in table.rows("bronze")) == {"upsert": 11, "delete": 5}
    # Keys come as the source writes them, and one that is no key says nothing.
    spoilt = [{**row, "valid_from": row["valid_from"] if row["service_code"] != "S4" else "?"} for row in everything]
    counts = table.load([], spoilt[1:5])
    assert counts["deleted"] == 1 and sorted(table.services()) == ["S1", "S2", "S3"]


def test_a_key_of_a_person_is_compared_as_a_token(lake: Callable[..., Lake], registry: Registry) -> None:
    table = lake("training_record")
    table.dataset = table.dataset.model_copy(update={"key": ("person_token",), "quality": ()})
    shown = {
        "timestamp": "2025-01-01 00:00:00+00", "date": "2025-01-01", "integer": "2026", "double": "1",
        "boolean": "true", "string": "x",
    }  # fmt: skip
    whole = {
        f.name: registry.code_list(f.code_list).codes[0] if f.code_list else shown[f.type.name]
        for f in table.dataset.fields
    }
    people = [{**whole, "person_name": name} for name in ("Trần Thị B", "Lê Văn C", "Hồ D")]
    assert table.load(people, [])["inserted"] == 3
    assert key_columns(table.dataset) == ("person_name",)
    assert table.load([], [{"person_name": "TRẦN  thị b"}, {"person_name": "Hồ D"}])["deleted"] == 1
    token = Tokeniser({1: b"k" * 16}).token
    assert {row["person_token"] for row in table.rows()} == {token("name", "Trần Thị B"), token("name", "Hồ D")}
    staged = pa.parquet.read_table(table.folder / "2.parquet")
    assert "thị b" not in str(staged.to_pylist())


def test_a_row_that_says_that_it_is_deleted_goes(lake: Callable[..., Lake]) -> None:
    table = lake(deletes=MARKED)
    table.load([price("A"), price("B"), price("C"), price("OLD", valid_to="2025-06-01")])
    assert sorted(table.services()) == ["A", "B", "C"], "what was deleted before it was ever read is not inserted"
    assert {row["service_code"] for row in table.rows("bronze")} == {"A", "B", "C"}
    gone = price("B", "nothing of it is kept", facility_name=None, valid_to="2025-06-01")
    counts = table.load([price("A"), gone, price("C", "?", valid_to=None), price("OLD", valid_to="2025-06-01")])
    assert (counts["deleted"], counts["quarantined"], counts["unchanged"]) == (1, 1, 2)
    assert sorted(table.services()) == ["A", "C"]
    again = table.load([price("A"), gone])
    assert (again["deleted"], again["unchanged"]) == (0, 2), "it is deleted once"
    assert table.load([price("B", "40000")])["inserted"] == 1
    entry = table.ledger()
    assert (entry.inserted, entry.deleted, entry.rows_in_silver) == (4, 1, 3)


def test_of_two_rows_with_a_key_the_one_that_is_there_counts(lake: Callable[..., Lake]) -> None:
    table = lake(deletes=MARKED)
    table.load([price("A"), price("B")])
    was, was_too = price("A", "1", valid_to="2025-06-01"), price("A", "2", valid_to="2025-07-01")
    counts = table.load([was, price("A", "41000"), was_too])
    assert (counts["updated"], counts["repeated"], counts["deleted"], counts["quarantined"]) == (1, 2, 0, 0)
    assert table.services() == {"A": 41000, "B": 39000}
    counts = table.load([was, was_too])
    assert (counts["deleted"], counts["repeated"]) == (1, 1)
    # One that is there and broken keeps the last good row, as always.
    counts = table.load([price("B", "1", valid_to="2025-06-01"), price("B", "?")])
    assert (counts["deleted"], counts["quarantined"]) == (0, 1)
    assert table.services() == {"B": 39000}


def test_a_truth_value_tells_deleted_rows_too(lake: Callable[..., Lake], registry: Registry) -> None:
    table = lake("residential_group", Deletes(column="is_active"))
    codes = {f.name: registry.code_list(f.code_list).codes[0] for f in table.dataset.fields if f.code_list}
    row = {**codes, "title_text": "Thôn 1", "valid_from": "2025-01-01"}
    rows: list[Row] = [{**row, "group_id": f"TT-{n:06d}", "is_active": "false"} for n in range(3)]
    table.load(rows)
    table.load([{**rows[0], "is_active": "true"}, {**rows[1], "is_active": None}])
    assert sorted(row["group_id"] for row in table.rows()) == ["TT-000001", "TT-000002"]


@pytest.mark.parametrize(
    ("left", "deleted_pct", "deleted_rows", "said"),
    [
        (80, 20, 10, ""),
        (79, 20, 10, "21 of 100 rows would be deleted, because soyt.med_price no longer has their keys; tolerated are"),
        (79, 20, 21, ""),
        (1, 20, 99, ""),
        (
            0,
            99,
            1000,
            "100 of 100 rows would be deleted, because soyt.med_price has no row any more; an empty",
        ),
        (0, 100, 0, ""),
    ],
)
def test_too_many_deletes_fail_the_load(
    lake: Callable[..., Lake], left: int, deleted_pct: float, deleted_rows: int, said: str
) -> None:
    table = lake(tolerance=Tolerance(deleted_pct=deleted_pct, deleted_rows=deleted_rows))
    rows = [price(f"S{n}") for n in range(100)]
    table.load(rows, [])
    if not said:
        assert table.load(rows[:left], [])["deleted"] == 100 - left
        assert len(table.rows()) == left == table.ledger().rows_in_silver
        return
    with pytest.raises(TooManyDeleted, match=said) as caught:
        table.load([], rows[:left])
    assert "raise `tolerance.deleted_pct` to" in str(caught.value) and "health/med_price.yaml" in str(caught.value)
    assert len(table.rows()) == len(table.rows("bronze")) == 100


def test_too_many_rows_that_say_it_fail_the_load_too(lake: Callable[..., Lake]) -> None:
    table = lake(deletes=MARKED, tolerance=Tolerance(deleted_rows=2))
    rows = [price(f"S{n}") for n in range(9)]
    table.load(rows)
    with pytest.raises(TooManyDeleted, match="3 of 9 rows would be deleted, because valid_to says so"):
        table.load([{**row, "valid_to": "2025-06-01"} for row in rows[:3]])
    assert table.load([{**row, "valid_to": "2025-06-01"} for row in rows[:2]])["deleted"] == 2


def test_what_retention_took_is_not_deleted_at_the_source(lake: Callable[..., Lake]) -> None:
    table = lake()
    rows = [price(f"S{n}") for n in range(4)]
    table.load(rows, [])
    remove(table.settings, Removal("r", "silver.med_price", "service_code = 'S0'"))
    counts = table.load([], rows[2:])
    assert counts["deleted"] == 1, "only the one that silver had"
    assert {row["service_code"] for row in table.rows("bronze") if row["lake_op"] == "delete"} == {"S1"}


def test_the_ledger_goes_on_when_retention_closes_deletes(lake: Callable[..., Lake]) -> None:
    table = lake()
    table.settings = table.settings.with_namespace(DEFAULT_NAMESPACE)
    table.quality = Quality.open(table.settings)
    table.load([price(f"S{n}") for n in range(4)], [])
    table.load([price(f"S{n}") for n in range(2)], [])
    alone = replace(table.registry, datasets=(table.dataset,))
    later = T0 + timedelta(days=2) + table.dataset.retention.bronze
    retire(table.settings, alone, by="test", run_id="r", now=later)
    assert table.rows("bronze") != [], "the day of the second load is not over"
    assert (table.ledger().deleted, table.ledger().rows_in_silver) == (2, 2)
    retire(table.settings, alone, by="test", run_id="r2", now=later + timedelta(days=2))
    entry = table.ledger()
    assert (table.rows("bronze"), entry.received, entry.deleted_from_silver) == ([], 0, 0)
    assert (entry.inserted_in_silver, entry.rows_in_silver) == (2, 2), "inserted less deleted"
    # What left bronze is not forgotten by silver; each load opens the shared tables anew.
    table.quality = Quality.open(table.settings)
    assert table.load([price("S1")], [])["deleted"] == 1
    assert table.ledger().rows_in_silver == 1


def test_a_load_is_staged_behind_its_rows_also_when_there_are_none(lake: Callable[..., Lake]) -> None:
    """Through dlt itself: rows, then keys, in one file and in this order."""
    table = lake()
    load = Load(7, "run/7", T0, "observed", 12)
    protection = Protection(table.dataset, Tokeniser({1: b"k" * 16}), KEY.encrypt)
    found: list[tuple[int, int, int | None, bool, list[str]]] = []

    def sink(path: Path) -> None:
        staged = Staged(path)
        keys = pa.concat_tables(staged.keys(["service_code"]))["service_code"].to_pylist()
        found.append((staged.number, staged.rows, staged.mark, staged.has_keys, keys))

    for rows, keys in ((["A", "B"], ["A", "B", "C"]), ([], []), (["A"], None)):
        read = None
        if keys is not None:
            read = iter(texts(key_columns(table.dataset), map(price, keys)).to_batches(max_chunksize=2))
        batches = texts(source_columns(table.dataset), map(price, rows)).to_batches(max_chunksize=1)
        behind = module._keys(Reading(iter(()), None, None, tuple, keys=read), load, protection)
        stage(table.settings, table.dataset, batches, lambda batch: load.stamp(protection(batch)), behind)
        assert finish_pending(table.settings, table.dataset, sink)
    assert found == [
        (7, 2, 12, True, ["A", "B", "A", "B", "C"]),
        (7, 0, 12, True, []),
        (7, 1, 12, False, ["A"]),
    ]


def test_another_way_to_tell_deletes_by_a_column_reads_the_table_once_more(registry: Registry) -> None:
    """Rows that are in silver may say that they are deleted; keys are compared whatever was read."""
    table = registry.dataset("med_price")
    assert fingerprint(table) == fingerprint(deleting(table, KEYS))
    assert fingerprint(table) != fingerprint(deleting(table, MARKED))


STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["put 1", "put 2", "bad", "delete"]), max_size=6),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, deletes=st.sampled_from([KEYS, MARKED]))
def test_silver_is_the_source_after_any_sequence_of_loads(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, steps: Any, deletes: Deletes
) -> None:
    """Each step changes rows, then loads all of them or the changed ones, and may be killed between bronze and silver.
    A row that breaks its contract keeps what was there."""
    folder = tmp_path_factory.mktemp("lake")
    where = {"LAKE_HOME": str(HOME), "LAKE_STATE": str(folder), "LAKE_NAMESPACE": "t"}
    dataset = deleting(registry.dataset("med_price"), deletes, tolerance=Tolerance(deleted_pct=100, refused_pct=100))
    table = Lake(Settings.load(where), registry, dataset, folder)
    source: dict[str, Row] = {}
    expected: dict[str, int] = {}
    for changes, whole, killed in steps:
        for service, change in changes.items():
            verb, _, value = change.partition(" ")
            if verb == "delete":
                if deletes is KEYS:
                    source.pop(service, None)
                elif service in source:
                    source[service] = price(service, "?", valid_to="2025-06-01")
                expected.pop(service, None)
            else:
                source[service] = price(service, value or "?")
                expected |= {service: int(value)} if value else {}
        rows = [row for service, row in source.items() if whole or service in changes]
        table.load(rows, (list(source.values()) if deletes is KEYS else None), killed=killed)
        if not killed:
            assert table.services() == expected
    table.apply()
    assert table.services() == expected
    entry = table.ledger()
    assert entry.rows_in_silver == len(expected) == entry.inserted - entry.deleted
    # Bronze has all of it: a silver that was lost is the same again.
    rebuilt = table.settings.with_namespace("rebuilt")
    silver, quality = Silver.open(rebuilt, registry, dataset, KEY.encrypt), Quality.open(rebuilt)
    for batch in Bronze(table.settings, dataset).unapplied(0):
        plan = module._plan(silver, batch, Bronze(table.settings, dataset).refusals())
        quality.write([plan.aside])
        silver.commit(plan)
    again = silver.sink.table.to_pyarrow_table()
    assert {row["service_code"]: int(row["price_vnd"]) for row in again.to_pylist()} == expected


def test_loads_of_before_there_were_deletes_are_still_read(lake: Callable[..., Lake]) -> None:
    table = lake()
    settings, dataset = table.settings, table.dataset
    older = [(name, kind) for name, kind in system.LOAD_RUN if name not in {"deleted", "keys_compared"}]
    ensure_table(settings, TableSpec("quality", "load_run", delta.system_schema(tuple(older))))
    row = {"run_id": "r0", "dataset": dataset.id, "started_at": T0, "finished_at": T0, "inserted": 3, "status": OK}
    schema = delta.system_schema(tuple(older))
    write_deltalake(
        str(settings.table_path("quality", "load_run")), pa.Table.from_pylist([row], schema=schema), mode="append"
    )
    first = load_status(settings, dataset)
    assert first is not None and (first.inserted, first.deleted, first.keys_compared) == (3, 0, None)
    assert last_comparison(settings, dataset) is None
    later = LoadRun("r1", dataset.id, T0 + timedelta(days=1), T0 + timedelta(days=1), deleted=2, keys_compared=7)
    record(settings, later)
    failed = LoadRun("r2", dataset.id, T0 + timedelta(days=2), T0 + timedelta(days=2), status=FAILED, keys_compared=0)
    record(settings, failed)
    assert finished_load(settings, dataset, "r1") == later
    assert last_comparison(settings, dataset) == T0 + timedelta(days=1)


def test_a_load_of_many_parts_is_one_commit_or_none(lake: Callable[..., Lake], monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake()
    table.load([price("K0")])
    before = Bronze(table.settings, table.dataset).sink.table.version()
    rows = [price(f"K{n}", "sai" if n == 6 else str(n + 1)) for n in range(9)]
    write, written = rewrite._write, []

    def killed(*arguments: Any) -> None:
        write(*arguments)
        written.append(arguments)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(rewrite, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        table.load(rows)
    half = Bronze(table.settings, table.dataset)
    assert (half.sink.table.version(), half.end, half.last_load) == (before, 1, 1), "nothing of it is in the table"
    monkeypatch.setattr(rewrite, "_write", write)
    # The load is handed over again.
    table.number -= 1
    counts = table.load(rows)
    assert (counts["inserted"], counts["updated"], counts["quarantined"]) == (7, 1, 1)
    bronze = Bronze(table.settings, table.dataset)
    assert bronze.sink.table.version() == before + 1
    assert sorted(row["raw_offset"] for row in table.rows("bronze")) == list(range(10)), "each once"
    actions: Any = bronze.sink.table.get_add_actions(flatten=True)
    files = pa.table(actions)
    assert files.num_rows == 6 and files["max.raw_offset"].null_count == 0, "a reader can leave files out"
    assert [path.name for path in bronze.sink.path.iterdir() if path.name.startswith("_")] == ["_delta_log"]
    assert table.ledger().rows_in_silver == 8
