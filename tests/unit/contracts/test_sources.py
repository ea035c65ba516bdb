"""Sources of the sector: what a file may say, what a dataset takes from it, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.contracts import validators
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.model import Dataset, Sector
from pipelines.contracts.naming import likely_source
from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.schedules import times_of_day
from pipelines.contracts.sources import SectorSource, Window
from pipelines.contracts.targets import odcs

Edit = Callable[[str, str, str], None]
FILE = 'file: {format: csv, name: "GIA_{ddMMyyyy}.csv"}'
HEAD = "id: soyt\ntitle: {vi: a, en: b}\nconnection: sector_soyt\nagency: H57.YT\n"


def test_every_sector_table_has_a_source_of_its_owner(registry: Registry) -> None:
    tables = registry.sector_tables()
    assert len(tables) >= 72
    assert all(registry.source_of(dataset).agency == dataset.owner for dataset in tables)
    used = {registry.source_of(dataset).id for dataset in tables}
    assert used == {source.id for source in registry.sector_sources} and len(used) >= 13
    assert len({source.connection for source in registry.sector_sources}) == len(registry.sector_sources)


def test_a_schedule_is_the_dataset_s_own_or_that_of_its_source(registry: Registry) -> None:
    source = registry.source_of(registry.dataset("med_price"))
    texts = {name: file.data.get("sector", {}) for name, file in registry.sources.items()}
    own = {name: sector["schedule"] for name, sector in texts.items() if "schedule" in sector}
    lent = [name for name, sector in texts.items() if sector and "schedule" not in sector]
    assert "med_price" in lent and own["feedback_ticket"] == "*/5 * * * *"
    assert registry.dataset("med_price").sector.schedule == source.schedule == "0 2 * * *"  # type: ignore[union-attr]
    for dataset in registry.sector_tables():
        assert dataset.sector is not None
        assert dataset.sector.schedule == own.get(dataset.id, registry.source_of(dataset).schedule)


def test_a_window_may_run_over_midnight() -> None:
    night, day = (Window.model_validate(text) for text in ("22:00–05:00", "08:30 - 11:00"))
    assert [night.holds(time(*at)) for at in ((21, 59), (22, 0), (0, 0), (4, 59), (5, 0))] == [0, 1, 1, 1, 0]
    assert [day.holds(time(*at)) for at in ((8, 29), (8, 30), (10, 59), (11, 0))] == [0, 1, 1, 0]
    assert (str(night), night.model_dump(mode="json")) == ("22:00–05:00", "22:00–05:00")
    assert night.outside("*/30 22,23,0 * * *") is None
    assert night.outside("15 4,5 * * 1") == time(5, 15)


@pytest.mark.parametrize("text", ["22:00", "22–05", "24:00–05:00", "22:00–22:00", "22:00–05:60"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Window.model_validate(text)


def test_the_times_of_a_cron_line_are_those_of_all_its_days() -> None:
    assert list(times_of_day("5,10 1 1 * 0")) == [time(1, 5), time(1, 10)]
    assert len(list(times_of_day("* * * * *"))) == 1440
    with pytest.raises(ValueError, match="5, 6 or 7 columns"):
        list(times_of_day("every two hours"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'kind: postgres\nschedule: "0 2 * * *"\n',
            "schemas/sources/soyt.yaml:5: soyt: kind: Input should be 'postgresql', 'mariadb', 'mssql', 'oracle', "
            "'folder', 's3' or 'rest'",
        ),
        (
            'kind: postgresql\nschedule: "0 2 * * *"\nurl: x\n',
            "schemas/sources/soyt.yaml:7: soyt: unknown key 'url' (allowed: agency, connection, id, kind, parallel, "
            "pool, schedule, time_zone, timeouts, title, window)",
        ),
        ("kind: postgresql\n", "schemas/sources/soyt.yaml:1: soyt: key 'schedule' is missing"),
        (
            'kind: folder\nschedule: "0 2 * * *"\ntime_zone: Asia/Ho_Chi_Minh\n',
            "soyt: SectorSource: `time_zone` is for databases (postgresql, mariadb, mssql, oracle), not for the kind "
            "folder",
        ),
        (
            'kind: mariadb\nschedule: "0 2 * * *"\ntime_zone: Asia/Hue\n',
            "soyt.yaml:7: soyt: time_zone: 'Asia/Hue' is no time zone; write one like Asia/Ho_Chi_Minh",
        ),
        (
            'kind: mariadb\nschedule: "0 2 * * *"\nwindow: night\n',
            "soyt.yaml:7: soyt: window: 'night' is no window; write two times of the day, for example 22:00–05:00",
        ),
        (
            'kind: mariadb\nschedule: "0 2 * * *"\ntimeouts: {lock: 0 s}\n',
            "soyt.yaml:7: soyt: timeouts: `lock` is at least 1 s: 0 would wait for ever",
        ),
        (
            'kind: mariadb\nschedule: "0 2 * * *"\npool: 0\n',
            "soyt.yaml:7: soyt: pool: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_source_that_cannot_be_read_is_found_with_its_line(project: Path, body: str, said: str) -> None:
    (project / "schemas" / "sources" / "soyt.yaml").write_text(HEAD + body, encoding="utf-8")
    with pytest.raises(ContractErrors) as caught:
        load_registry(project / "schemas")
    assert [str(error) for error in caught.value.errors if said in str(error)], str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'kind: postgresql\nschedule: "0 2 * * * * * *"\n',
            "schemas/sources/soyt.yaml:6: soyt: '0 2 * * * * * *' is no cron line: ",
        ),
        (
            'kind: postgresql\nschedule: "30 1,13 * * *"\nwindow: 22:00–05:00\n',
            "schemas/sources/soyt.yaml:6: soyt: '30 1,13 * * *' runs at 13:30, outside of the window 22:00–05:00 (move "
            "the schedule or widen the window; both are in Huế's time)",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_found_with_its_line(project: Path, body: str, said: str) -> None:
    (project / "schemas" / "sources" / "soyt.yaml").write_text(HEAD + body, encoding="utf-8")
    assert said in _problems(project)


def test_an_unknown_agency_and_another_file_name_are_found(project: Path, edit: Edit) -> None:
    edit("sources/soyt.yaml", "agency: H57.YT", "agency: H57.SYT")
    assert "schemas/sources/soyt.yaml:5: soyt: agency 'H57.SYT' is not listed (allowed: H57.KHCN" in _problems(project)
    edit("sources/soyt.yaml", "id: soyt", "id: health")
    assert "schemas/sources/soyt.yaml:1: health: the file of 'health' is sources/health.yaml" in _problems(project)


def test_a_table_of_an_unknown_source_is_found_and_a_broken_one_is_told_once(project: Path, edit: Edit) -> None:
    _lend(project, "health/med_price")
    edit("datasets/health/med_price.yaml", "source: soyt", "source: soyte")
    said = _problems(project)
    assert (
        "med_price.yaml:22: med_price: unknown source 'soyte' (write schemas/sources/soyte.yaml; there are: congan"
        in said
    )
    edit("datasets/health/med_price.yaml", "source: soyte", "source: soyt")
    edit("sources/soyt.yaml", "kind: postgresql", "kind: paper")
    with pytest.raises(ContractErrors) as caught:
        load_registry(project / "schemas")
    assert len(caught.value.errors) == 1, "the table adds nothing to what its source says"


def test_a_table_is_read_from_a_database(project: Path, edit: Edit) -> None:
    _lend(project, "health/med_price")
    edit("sources/soyt.yaml", "kind: postgresql", "kind: s3")
    said = "med_price: names a table, but its source 'soyt' is of the kind s3 (kinds for that: postgresql, mariadb"
    assert said in _problems(project)


@pytest.mark.parametrize(
    ("sector", "said"),
    [
        (
            f"mode: snapshot, {FILE}",
            "is written in files, but its source 'soyt' is of the kind postgresql (kinds for that: folder",
        ),
        ("mode: changes", "mode changes is for files and services; a table that tells its changes has a `cursor`"),
        (f"mode: cursor, cursor: valid_from, {FILE}", "a file has no cursor; each is the whole table (snapshot) or"),
        ("mode: snapshot, file: {format: csv}", "`file` needs a `name` by which its files are known, for example DS_"),
        (
            'mode: snapshot, file: {format: csv, name: "GIA*.csv", columns: {Giá: gia}}',
            "'Giá' means gia, which is none of its columns (its columns: facility_id",
        ),
        ('mode: snapshot, file: {format: csv, name: "{yyyy}.csv"}', "day, month and year (yyyy) are needed"),
    ],
)
def test_what_a_contract_says_of_files_is_checked(project: Path, edit: Edit, sector: str, said: str) -> None:
    _lend(project, "health/med_price")
    edit("datasets/health/med_price.yaml", "mode: snapshot", sector)
    assert said in _problems(project)


def test_files_of_two_datasets_have_names_of_their_own(registry: Registry) -> None:
    plan = registry.dataset("funding_plan")
    paid = registry.dataset("disbursement").model_copy(update={"sector": plan.sector})
    both = replace(registry, datasets=tuple(paid if d.id == paid.id else d for d in registry.datasets))
    found = [finding.message for finding in validators.files_are_told_apart(paid, both)]
    assert found == ["files called CO_CAU_VON_{ddMMyyyy}*.xlsx are those of funding_plan already"]
    assert not list(validators.files_are_told_apart(plan, registry))


@pytest.mark.parametrize(("kind", "server"), [("folder", "local"), ("s3", "s3")])
def test_a_contract_in_odcs_names_the_place_of_its_files(registry: Registry, kind: str, server: str) -> None:
    sources = tuple(s.model_copy(update={"kind": kind}) for s in registry.sector_sources)
    contract = odcs.contract(registry.dataset("funding_plan"), replace(registry, sector_sources=sources))
    said = next(part for part in contract["servers"] if part["server"] == "sector")
    assert (said["type"], said["format"]) == (server, "xlsx")
    assert "CO_CAU_VON_{ddMMyyyy}*.xlsx" in said[{"local": "path", "s3": "location"}[server]]


@pytest.mark.parametrize(
    ("cursor", "said"),
    [
        ("cursor: removed_at", "cursor 'removed_at' is not among its fields (list it under `fields`)"),
        (
            "cursor: facility_id",
            "cursor 'facility_id' is a string, which cannot say what is newer (allowed: timestamp, date, integer, "
            "bigint",
        ),
        ("cursor: price_vnd", "cursor 'price_vnd' is a decimal("),
    ],
)
def test_a_cursor_that_cannot_be_remembered_is_found(project: Path, edit: Edit, cursor: str, said: str) -> None:
    _lend(project, "health/med_price")
    edit("datasets/health/med_price.yaml", "mode: snapshot", f"mode: cursor, {cursor}")
    assert f"med_price.yaml:22: med_price: {said}" in _problems(project)


def test_a_cursor_that_counts_says_no_time_and_has_no_lag(registry: Registry) -> None:
    table = registry.dataset("med_price")
    assert table.sector is not None
    counted = table.sector.model_copy(update={"mode": "cursor", "cursor": "row_no", "lag": timedelta(hours=1)})
    number = table.field("facility_id").model_copy(update={"name": "row_no", "type": _type(registry, "bigint")})
    changed = table.model_copy(update={"sector": counted, "fields": (*table.fields, number)})
    assert changed.event_time is None
    assert registry.dataset("feedback_ticket").event_time == "updated_at"
    found = [f.message for f in validators.cursor_can_be_remembered(changed, registry)]
    assert found == ["cursor 'row_no' is a number, from which no lag of time can be taken"]


def _deleting(registry: Registry, **settings: object) -> Dataset:
    table = registry.dataset("med_price")
    assert table.sector is not None
    data = table.sector.model_dump(by_alias=True, exclude_none=True) | settings
    return table.model_copy(update={"sector": Sector.model_validate(data)})


BY_CURSOR = {"mode": "cursor", "cursor": "valid_from"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"deletes": "none"}, ""),
        ({"deletes": "keys"}, ""),
        ({"deletes": {"column": "valid_to"}}, ""),
        ({**BY_CURSOR, "deletes": "keys", "deletes_every": "1 d"}, ""),
        ({**BY_CURSOR, "deletes": {"column": "valid_to"}}, ""),
        (
            {"deletes": {"column": "removed_at"}},
            "field 'removed_at', which tells deleted rows, is not among its fields",
        ),
        (
            {"deletes": {"column": "price_vnd"}},
            "field 'price_vnd' is a decimal(12,0), which cannot say that a row is deleted",
        ),
        (
            {"deletes": {"column": "valid_from"}},
            "field 'valid_from' is always known, so that every row would be a deleted one",
        ),
        ({"deletes": "keys", "deletes_every": "1 d"}, "`deletes_every` is for keys that are read apart from the rows"),
        ({**BY_CURSOR, "deletes_every": "1 d"}, "`deletes_every` is for keys that are read apart from the rows"),
    ],
)
def test_what_tells_deleted_rows_is_looked_at(registry: Registry, settings: dict[str, object], said: str) -> None:
    found = [f.message for f in validators.deletes_can_be_told(_deleting(registry, **settings), registry)]
    assert found == ([said] if said else [])


def test_files_of_changes_compare_no_keys(registry: Registry) -> None:
    table = _deleting(registry, deletes="keys")
    assert table.sector is not None
    changes = table.model_copy(update={"sector": table.sector.model_copy(update={"mode": "changes"})})
    found = [f.message for f in validators.deletes_can_be_told(changes, registry)]
    assert found == ["files of changes do not say which keys there are"]


@pytest.mark.parametrize("deletes", ["keys", {"column": "valid_to"}])
def test_what_tells_deleted_rows_is_kept_as_it_is_written(registry: Registry, deletes: object) -> None:
    sector = _deleting(registry, deletes=deletes).sector
    assert sector is not None and sector.compares_keys is (deletes == "keys")
    written = sector.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["deletes"] == deletes and Sector.model_validate(written) == sector
    without = _deleting(registry, deletes="none").sector
    assert without is not None and "deletes" not in without.model_dump(exclude_none=True)


@pytest.mark.parametrize("deletes", ["rows", {}])
def test_other_words_tell_no_deleted_rows(registry: Registry, deletes: object) -> None:
    with pytest.raises(ValidationError, match="tells no deleted rows; write `keys`"):
        _deleting(registry, deletes=deletes)


def test_deletes_are_found_in_their_line(project: Path, edit: Edit) -> None:
    _lend(project, "health/med_price")
    old = "sector: {source: soyt, schema: soyt, table: med_price, mode: snapshot}"
    new = (
        "sector:\n  source: soyt\n  schema: soyt\n  table: med_price\n  mode: snapshot\n  deletes:\n    column: gone_at"
    )
    edit("datasets/health/med_price.yaml", old, new)
    assert "med_price.yaml:28: med_price: field 'gone_at', which tells" in _problems(project)


def test_keys_that_are_never_read_in_the_window_are_found(registry: Registry) -> None:
    source = registry.source_of(registry.dataset("med_price"))
    gentle = source.model_copy(update={"window": Window.model_validate("22:00–05:00")})
    windowed = replace(registry, sector_sources=(gentle,))

    def found(schedule: str) -> list[str]:
        dataset = _deleting(registry, **BY_CURSOR, deletes="keys", schedule=schedule)
        return [f.message for f in validators.deletes_can_be_told(dataset, windowed)]

    said = "is never read in the window 22:00–05:00, outside of which no keys are compared"
    assert found("0 12 * * *") == [said]
    assert found("0 12,23 * * *") == []


def _type(registry: Registry, name: str) -> object:
    return next(field.type for field in registry.dictionary.values() if field.type.name == name)


def test_a_likely_source_is_named_by_schema_then_by_order(registry: Registry) -> None:
    assert likely_source(registry, "H57.YT", "anything") == ("soyt", "")
    twin = registry.source_of(registry.dataset("med_price")).model_copy(update={"id": "soyt_2"})
    both = replace(registry, sector_sources=(*registry.sector_sources, twin))
    assert likely_source(both, "H57.YT", "soyt_2") == ("soyt_2", "")
    assert likely_source(both, "H57.YT", "kho") == (
        "soyt", "sector: soyt is the first of the sources of H57.YT: soyt, soyt_2; choose",
    )  # fmt: skip
    name, note = likely_source(registry, "H57.Q1", "kho")
    assert name == "h57_q1" and note.endswith("among the sources; write schemas/sources/h57_q1.yaml")


@pytest.mark.parametrize(
    ("kind", "server"),
    [("postgresql", "postgresql"), ("mariadb", "mysql"), ("mssql", "sqlserver"), ("oracle", "oracle")],
)
def test_a_contract_in_odcs_names_the_kind_of_its_source(registry: Registry, kind: str, server: str) -> None:
    sources = tuple(s.model_copy(update={"kind": kind}) for s in registry.sector_sources)
    contract = odcs.contract(registry.dataset("med_price"), replace(registry, sector_sources=sources))
    said = next(part for part in contract["servers"] if part["server"] == "sector")
    assert (said["type"], said["customProperties"]) == (server, [{"property": "source", "value": "soyt"}])


def test_a_source_keeps_what_it_says(registry: Registry) -> None:
    source = SectorSource.model_validate(
        {
            "id": "kho", "title": {"vi": "a", "en": "b"}, "kind": "oracle", "connection": "sector_kho",
            "agency": "H57.YT", "schedule": "0 2 * * *", "pool": 3, "window": "22:00–05:00",
            "time_zone": "Asia/Ho_Chi_Minh", "parallel": 4, "timeouts": {"statement": "2 h"},
        }
    )  # fmt: skip
    assert SectorSource.model_validate(source.model_dump(mode="json")) == source
    assert (source.timeouts.statement, source.timeouts.lock) == (timedelta(hours=2), timedelta(seconds=10))


def _lend(project: Path, dataset: str) -> None:
    """Put a contract of the city into a test's project, with those that its fields refer to."""
    for name in (dataset, "health/facility"):
        target = project / "schemas" / "datasets" / f"{name}.yaml"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((Path(__file__).parents[3] / "schemas" / "datasets" / f"{name}.yaml").read_bytes())


def _problems(project: Path) -> str:
    with pytest.raises(ContractErrors) as caught:
        validators.check(load_registry(project / "schemas"))
    return str(caught.value)
