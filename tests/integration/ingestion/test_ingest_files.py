"""Files of departments through the whole load: out of a folder and a bucket, whole tables and changes, good and bad."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from altered import sourced
from deltalake import DeltaTable
from openpyxl import Workbook

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.model import Deletes
from pipelines.contracts.registry import Registry, load_registry
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.deliveries.overview import State, overview
from pipelines.ingestion.files import FileIncomplete, FileUnfit
from pipelines.ingestion.judge import TooManyRefused
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import LoadRun, load_status
from pipelines.ingestion.trouble import SourceChanged, SourceError, SourceUnavailable, WrongCredentials
from pipelines.runtime.settings import Settings

from .object_store import KEY, SECRET, ObjectStore

HOME = Path(__file__).resolve().parents[3]
PRICE = "med_price"
BUCKET = "so-y-te"
HEADINGS = ("Mã cơ sở", "Tên cơ sở", "Mã DV", "Tên dịch vụ", "Giá (đồng)", "Áp dụng từ", "Đến ngày")
LAYOUT: dict[str, Any] = {
    "format": "csv",
    "name": "GIA_{ddMMyyyy}*.csv",
    "delimiter": ";",
    "number": {"decimal": ",", "thousands": "."},
    "dates": ["dd/MM/yyyy"],
    "columns": dict(
        zip(
            HEADINGS,
            (
                "facility_id",
                "facility_name",
                "service_code",
                "service_name",
                "price_vnd",
                "valid_from",
                "valid_to",
            ),
            strict=True,
        )
    ),
}


@pytest.fixture(scope="module")
def contracts() -> Registry:
    return load_registry(HOME / "schemas").only("demo")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    made = ObjectStore(tmp_path_factory.mktemp("objects"))
    made.client.make_bucket(BUCKET)
    yield made
    made.stop()


def contract(registry: Registry, kind: str, mode: str = "snapshot", **layout: Any) -> Registry:
    """The price list of the health department, delivered in files."""
    asked = {**LAYOUT, **layout}
    if asked["format"] != "csv":
        del asked["delimiter"]
    return sourced(registry, PRICE, kind, file=FileLayout.model_validate(asked), mode=mode)


def row(service: str, price: str = "39.000", begin: str = "01/01/2025", end: str = "31/12/2025") -> tuple[str, ...]:
    return ("BVTW", "Bệnh viện Trung ương Huế", service, "Khám bệnh", price, begin, end)


def csv(*rows: tuple[str, ...], headings: tuple[str, ...] = HEADINGS, encoding: str = "utf-8-sig") -> bytes:
    text = "".join(";".join(cells) + "\r\n" for cells in (headings, *rows))
    return b"".join(_in_1258(sign) for sign in text) if encoding == "windows-1258" else text.encode(encoding)


def _in_1258(sign: str) -> bytes:
    """A letter as Windows writes it: with its tone behind it where the page has no letter for both."""
    base, *marks = unicodedata.normalize("NFD", sign)
    own = [mark for mark in marks if mark in "\u0302\u0306\u031b"]
    letter = unicodedata.normalize("NFC", base + "".join(own))
    tones = [mark for mark in marks if mark not in own]
    return sign.encode("cp1258") if not marks else (letter + "".join(tones)).encode("cp1258")


class Place:
    """Where the department puts its files: `put` makes one that is not young any more."""

    def __init__(self, kind: str, connection: dict[str, Any], put: Callable[[str, bytes], None]) -> None:
        self.kind, self.connection, self.put = kind, connection, put


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    connection = {"conn_type": "fs", "extra": {"path": str(inbox)}}
    monkeypatch.setenv(variable_of("sector_soyt"), json.dumps(connection))

    def put(name: str, content: bytes) -> None:
        (inbox / name).write_bytes(content)
        then = time.time() - 60
        os.utime(inbox / name, (then, then))

    return Place("folder", connection, put)


@pytest.fixture
def bucket(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    prefix = tmp_path.name
    extra = {"endpoint_url": f"http://127.0.0.1:{store.port}", "bucket_name": BUCKET, "prefix": prefix}
    connection = {"conn_type": "aws", "login": KEY, "password": SECRET, "extra": extra}
    monkeypatch.setenv(variable_of("sector_soyt"), json.dumps(connection))

    def put(name: str, content: bytes) -> None:
        store.client.put_object(BUCKET, f"{prefix}/{name}", io.BytesIO(content), len(content))

    return Place("s3", connection, put)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def prices(settings: Settings) -> dict[str, int]:
    rows = DeltaTable(str(settings.table_path("silver", PRICE))).to_pyarrow_table().to_pylist()
    return {one["service_code"]: int(one["price_vnd"]) for one in rows}


def status(settings: Settings, registry: Registry) -> LoadRun:
    found = load_status(settings, registry.dataset(PRICE))
    assert found is not None
    return found


def test_a_file_is_loaded_once_and_its_bad_rows_stand_aside(
    settings: Settings, contracts: Registry, place: Place
) -> None:
    registry = contract(contracts, place.kind)
    place.put("GIA_01102025.csv", csv(row("K1"), row("K2", "1.250.000"), row("K3", "39,5"), row("K4", begin="2025")))
    first = ingest(settings, registry, PRICE, "r1")
    assert (first.rows_extracted, first.inserted, first.quarantined) == (4, 2, 2)
    assert first.files == ("GIA_01102025.csv",)
    assert prices(settings) == {"K1": 39_000, "K2": 1_250_000}
    bronze = DeltaTable(str(settings.table_path("bronze", PRICE))).to_pyarrow_table()
    assert set(bronze["source"].to_pylist()) == {"soyt/GIA_01102025.csv"}
    aside = DeltaTable(str(settings.table_path("quality", "quarantine"))).to_pyarrow_table().to_pylist()
    assert {one["reason"] for one in aside} == {"type:price_vnd", "type:valid_from"}
    told = {one["reason"]: (one["detail"], one["row_json"]) for one in aside}
    assert told["type:price_vnd"][0] == "'39.5' is no decimal(12,0) without loss (row 4 of the file)"
    assert told["type:valid_from"][0].endswith("(row 5 of the file)")
    assert '"Áp dụng từ":"2025"' in told["type:valid_from"][1], "the row is kept as it came"

    versions = DeltaTable(str(settings.table_path("bronze", PRICE))).version()
    second = ingest(settings, registry, PRICE, "r2")
    assert (second.rows_extracted, second.files) == (0, ())
    assert DeltaTable(str(settings.table_path("bronze", PRICE))).version() == versions
    place.put("GIA_01102025 (sửa).csv", csv(row("K1", "40.000"), row("K2", "1.250.000"), row("K3")))
    third = ingest(settings, registry, PRICE, "r3")
    assert (third.updated, third.inserted, third.unchanged) == (1, 1, 1)
    assert prices(settings) == {"K1": 40_000, "K2": 1_250_000, "K3": 39_000}


def test_files_are_loaded_by_their_day_and_an_older_whole_table_is_no_news(
    settings: Settings, contracts: Registry, place: Place
) -> None:
    registry = contract(contracts, place.kind)
    place.put("GIA_02102025.csv", csv(row("K1", "2")))
    place.put("GIA_01102025.csv", csv(row("K1", "1")))
    place.put("GIA_03102025.csv.part", csv(row("K1", "3")))
    place.put("ghi chú.txt", b"x")
    assert ingest(settings, registry, PRICE, "r1").files == ("GIA_01102025.csv", "GIA_02102025.csv")
    assert prices(settings) == {"K1": 2}
    place.put("GIA_30092025.csv", csv(row("K1", "30")))
    assert ingest(settings, registry, PRICE, "r2").files == ()
    assert prices(settings) == {"K1": 2}
    place.put("GIA_05102025.csv", csv(row("K1", "5")))
    shown = {seen.delivery.name: (seen.dataset, seen.state) for seen in overview(settings, registry, "soyt")}
    assert shown == {
        "GIA_05102025.csv": (PRICE, State.WAITING),
        "GIA_02102025.csv": (PRICE, State.LOADED),
        "GIA_01102025.csv": (PRICE, State.LOADED),
        "GIA_30092025.csv": (PRICE, State.LATE),
        "ghi chú.txt": (None, State.UNKNOWN),
    }


def test_a_bad_whole_table_is_told_and_the_next_one_is_loaded(
    settings: Settings, contracts: Registry, place: Place
) -> None:
    registry = contract(contracts, place.kind)
    place.put("GIA_01102025.csv", csv(row("K1", "1")))
    ingest(settings, registry, PRICE, "r1")
    renamed = ("Giá tiền" if heading == "Giá (đồng)" else heading for heading in HEADINGS)
    place.put("GIA_02102025.csv", csv(row("K1", "2"), headings=tuple(renamed)))
    with pytest.raises(SourceChanged, match=r"file GIA_02102025\.csv of H57\.YT has no column price_vnd .*Giá tiền"):
        ingest(settings, registry, PRICE, "r2")
    assert prices(settings) == {"K1": 1} and status(settings, registry).status == "failed"
    place.put("GIA_03102025.csv", csv(row("K1", "3")))
    with pytest.raises(SourceChanged):
        ingest(settings, registry, PRICE, "r3")
    assert prices(settings) == {"K1": 3}, "the newer table is served, and the older one told"
    assert ingest(settings, registry, PRICE, "r4").status == "ok"


def test_what_a_newer_table_no_longer_has_is_deleted(settings: Settings, contracts: Registry, folder: Place) -> None:
    registry = sourced(contract(contracts, "folder"), PRICE, "folder", deletes=Deletes.model_validate("keys"))
    folder.put("GIA_01102025.csv", csv(row("K1", "1"), row("K2", "1"), row("K3", "1")))
    assert ingest(settings, registry, PRICE, "r1").keys_compared == 3
    folder.put("GIA_02102025.csv", csv(row("K1", "1"), row("K3", "sai")))
    second = ingest(settings, registry, PRICE, "r2")
    assert (second.deleted, second.quarantined, second.keys_compared) == (1, 1, 2)
    assert prices(settings) == {"K1": 1, "K3": 1}
    folder.put("GIA_03102025.csv", csv())
    with pytest.raises(FileUnfit, match="without a row"):
        ingest(settings, registry, PRICE, "r3")
    assert prices(settings) == {"K1": 1, "K3": 1}


def test_changes_wait_for_those_before_them(settings: Settings, contracts: Registry, folder: Place) -> None:
    registry = contract(contracts, "folder", "changes")
    folder.put("GIA_01102025.csv", csv(row("K1", "1"), row("K2", "1")))
    folder.put("GIA_02102025.csv", csv(*(row(f"B{n}", "sai") for n in range(300))))
    folder.put("GIA_03102025.csv", csv(row("K2", "3")))
    with pytest.raises(TooManyRefused):
        ingest(settings, registry, PRICE, "r1")
    assert prices(settings) == {"K1": 1, "K2": 1}
    folder.put("GIA_02102025.csv", csv(row("K1", "2")))
    folder.put("GIA_04102025.csv", csv())
    assert len(ingest(settings, registry, PRICE, "r1").files) == 3
    assert prices(settings) == {"K1": 2, "K2": 3}
    assert ingest(settings, registry, PRICE, "r2").files == ()
    folder.put("GIA_02102025_bo_sung.csv", csv(row("K2", "2")))
    with pytest.raises(FileUnfit, match="older than others which are loaded"):
        ingest(settings, registry, PRICE, "r3")
    assert prices(settings) == {"K1": 2, "K2": 3}


def workbook() -> bytes:
    """As departments send them: a title, a heading of two rows with merged cells, numbers as text, a footer."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["SỞ Y TẾ THÀNH PHỐ HUẾ"])
    sheet.append(["Cơ sở", None, "Dịch vụ", None, "Giá (đồng)", "Hiệu lực", None])
    sheet.append(["Mã", "Tên", "Mã", "Tên", None, "Từ", "Đến"])
    for cells in ("A2:B2", "C2:D2", "F2:G2", "E2:E3"):
        sheet.merge_cells(cells)
    for service in ("K1", "K2"):
        sheet.append(list(row(service, "1.250.000,00")))
    sheet.append(["Tổng cộng", None, None, None, "2.500.000"])
    raw = io.BytesIO()
    book.save(raw)
    return raw.getvalue()


MERGED = {
    "Cơ sở / Mã": "facility_id",
    "Cơ sở / Tên": "facility_name",
    "Dịch vụ / Mã": "service_code",
    "Dịch vụ / Tên": "service_name",
    "Giá (đồng)": "price_vnd",
    "Hiệu lực / Từ": "valid_from",
    "Hiệu lực / Đến": "valid_to",
}
BY_NAME = dict(zip(HEADINGS, MERGED.values(), strict=True))
AS_JSON = [{BY_NAME[key]: value for key, value in zip(HEADINGS, row(k), strict=True)} for k in ("K1", "K2")]


@pytest.mark.parametrize(
    ("name", "content", "layout"),
    [
        ("GIA_01102025.csv", csv(row("K1"), row("K2"), encoding="windows-1258"), {"encoding": "windows-1258"}),
        ("GIA_01102025.csv.gz", gzip.compress(csv(row("K1"), row("K2"))), {"name": "GIA_{ddMMyyyy}.csv*"}),
        (
            "GIA_01102025.xlsx",
            workbook(),
            {"format": "xlsx", "header_rows": [2, 3], "columns": MERGED, "footer": {"begins_with": ["Tổng cộng"]}},
        ),
        ("GIA_01102025.json", json.dumps(AS_JSON).encode(), {"format": "json"}),
        ("GIA_01102025.ndjson", b"".join(json.dumps(one).encode() + b"\n" for one in AS_JSON), {"format": "ndjson"}),
    ],
    ids=["windows-1258", "gzip", "xlsx", "json", "ndjson"],
)
def test_what_departments_send(
    settings: Settings, contracts: Registry, folder: Place, name: str, content: bytes, layout: dict[str, Any]
) -> None:
    registry = contract(contracts, "folder", **{"name": name.replace("01102025", "{ddMMyyyy}"), **layout})
    folder.put(name, content)
    done = ingest(settings, registry, PRICE, "r1")
    assert (done.inserted, done.quarantined) == (2, 0)
    rows = DeltaTable(str(settings.table_path("silver", PRICE))).to_pyarrow_table().to_pylist()
    assert {one["facility_name"] for one in rows} == {"Bệnh viện Trung ương Huế"}
    assert {str(one["valid_to"]) for one in rows} == {"2025-12-31"}


def test_a_file_that_could_do_harm_or_is_not_whole_is_told_by_name(
    settings: Settings, contracts: Registry, folder: Place, tmp_path: Path
) -> None:
    registry = contract(contracts, "folder", name="GIA_{ddMMyyyy}.csv*")
    folder.put("GIA_01102025.csv.gz", gzip.compress(csv(row("K1")))[:-20])
    with pytest.raises(FileIncomplete, match="GIA_01102025"):
        ingest(settings, registry, PRICE, "r1")
    folder.put("GIA_01102025.csv.gz", gzip.compress(bytes(50_000_000)))
    with pytest.raises(FileUnfit, match="GIA_01102025"):
        ingest(settings, registry, PRICE, "r1")
    (tmp_path / "inbox" / "GIA_02102025.csv").symlink_to("/etc/passwd")
    folder.put("GIA_01102025.csv.gz", gzip.compress(csv(row("=HYPERLINK(1)"), row("K1"))))
    done = ingest(settings, registry, PRICE, "r1")
    assert (done.inserted, done.quarantined, done.files) == (1, 1, ("GIA_01102025.csv.gz",))
    assert prices(settings) == {"K1": 39_000}


def test_a_young_file_is_waited_for(settings: Settings, contracts: Registry, folder: Place, tmp_path: Path) -> None:
    """A copy that is under way is not read in the middle."""
    registry = contract(contracts, "folder")
    whole = csv(*(row(f"K{n}", str(n)) for n in range(2_000)))
    path = tmp_path / "inbox" / "GIA_01102025.csv"
    writer = os.fork()
    if not writer:
        with path.open("wb") as target:
            for start in range(0, len(whole), len(whole) // 20 + 1):
                target.write(whole[start : start + len(whole) // 20 + 1])
                target.flush()
                time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    while not path.exists():
        time.sleep(0.01)
    with pytest.raises(FileIncomplete, match="still being written"):
        ingest(settings, registry, PRICE, "r1")
    os.waitpid(writer, 0)
    assert ingest(settings, registry, PRICE, "r1").inserted == 2_000


def test_the_trouble_of_an_inbox_is_told(
    settings: Settings, contracts: Registry, store: ObjectStore, bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = contract(contracts, "s3")

    def reached(**changes: Any) -> None:
        extra = {**bucket.connection["extra"], **changes.pop("extra", {})}
        monkeypatch.setenv(variable_of("sector_soyt"), json.dumps({**bucket.connection, **changes, "extra": extra}))

    reached(password="sai")
    with pytest.raises(WrongCredentials, match=r"soyt \(H57\.YT\) refuses the sign-in") as refused:
        ingest(settings, registry, PRICE, "r1")
    assert SECRET not in str(refused.value)
    reached(extra={"bucket_name": "khong-co"})
    with pytest.raises(SourceError, match="NoSuchBucket"):
        ingest(settings, registry, PRICE, "r1")
    reached(extra={"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(SourceUnavailable, match="does not answer"):
        ingest(settings, registry, PRICE, "r1")
    in_folder = contract(contracts, "folder")
    monkeypatch.setenv(variable_of("sector_soyt"), '{"conn_type": "fs", "extra": {"path": "/khong/co"}}')
    with pytest.raises(SourceUnavailable, match="No such file"):
        ingest(settings, in_folder, PRICE, "r1")
