"""Parquet keeps its types; what cannot be what is wanted is told; and every format gives the same values."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered import WANTED, file_rows, layout, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import RAW, FileUnfit, columnar, open_file
from pipelines.ingestion.files.values import Wanted

PARQUET = layout("parquet", time_zone="Asia/Ho_Chi_Minh")
DAY = dt.date(2025, 12, 31)
NOON = dt.datetime(2025, 12, 31, 12, 0, 0, 123456)


def written(folder: Path, **columns: Any) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_types_stay_as_they_are(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        facility_id=pa.array(["Huê\u0301", None]).dictionary_encode(),
        price_vnd=pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
        licensed_date=pa.array([DAY, None], pa.date64()),
        visited_at=pa.array([NOON, None], pa.timestamp("us")),
        is_open=pa.array([True, None]),
        **{"Lạ": pa.array([1, 2])},
    )
    with open_file(path, PARQUET, WANTED) as file:
        (batch,) = file.batches()
        assert file.columns.unknown == ("Lạ",)
        assert not file.columns.unfit
    assert batch.schema.field("price_vnd").type == pa.decimal128(5, 2)
    row = batch.to_pylist()[0]
    assert (row["facility_id"], row["licensed_date"], row["is_open"]) == ("Huế", DAY, True)
    assert row["visited_at"] == NOON.replace(tzinfo=dt.UTC) - dt.timedelta(hours=7)


@pytest.mark.parametrize(
    ("name", "values", "declared"),
    [
        ("price_vnd", pa.array([1.5]), PARQUET),
        ("facility_id", pa.array([[1]]), PARQUET),
        ("licensed_date", pa.array([NOON], pa.timestamp("us")), PARQUET),
        ("visited_at", pa.array([NOON], pa.timestamp("us")), layout("parquet")),
        ("is_open", pa.array([1]), PARQUET),
    ],
)
def test_a_type_that_cannot_be_what_is_wanted_is_told(tmp_path: Path, name: str, values: Any, declared: Any) -> None:
    with open_file(written(tmp_path, **{name: values}), declared, WANTED) as file:
        assert len(file.columns.unfit) == 1
        assert file.columns.unfit[0].startswith(f"{name} is ")
        (batch,) = file.batches()
        assert name not in batch.schema.names


def test_bad_values_refuse_their_row_alone(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a\xff", b"b"]).buffers())
    path = written(
        tmp_path,
        facility_id=bad,
        price_vnd=pa.array(["1.234", "5"]),
        visited_at=pa.array([1_000, 1], pa.timestamp("ns", "UTC")),
    )
    rows = file_rows(path, PARQUET)
    assert refused(rows) == {1: "encoding:facility_id", 2: "type:visited_at"}
    assert json.loads(rows[0][RAW])["facility_id"] == "a\\xff"


def test_a_row_group_that_is_too_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "MOST_GROUP_BYTES", 100)
    with pytest.raises(FileUnfit, match="a row group of more than 100 bytes"):
        file_rows(written(tmp_path, facility_id=pa.array(["x" * 200])), PARQUET)


FULL = (
    Wanted("a", parse("string")),
    Wanted("n", parse("decimal(14,3)")),
    Wanted("d", parse("date")),
    Wanted("t", parse("timestamp")),
    Wanted("b", parse("boolean")),
)
ROWS = st.lists(
    st.tuples(
        st.text(st.sampled_from("aĐệ ;\"'0-"), min_size=1, max_size=5).filter(str.strip),
        st.none() | st.decimals(-(10**9), 10**9, allow_nan=False, places=3),
        st.none() | st.dates(dt.date(1900, 3, 1)),
        st.none()
        | st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0)),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
ZONE = {"time_zone": "Asia/Ho_Chi_Minh"}
TEXTUAL: dict[str, Any] = {
    "number": {"decimal": ",", "thousands": "."},
    "dates": ("dd/MM/yyyy", "dd/MM/yyyy HH:mm:ss"),
    "yes": ("Có",),
    "no": ("Không",),
    **ZONE,
}


def _typed(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The values as a load casts them to the contract's types."""
    assert not refused(rows)
    return [(r["a"], None if r["n"] is None else Decimal(r["n"]), r["d"], r["t"], r["b"]) for r in rows]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_every_format_gives_the_same_values(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    names = [column.name for column in FULL]
    texts = [_as_people_write(*row) for row in rows]
    quoted = [";".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in texts]
    (tmp_path / "a.csv").write_text("\n".join([";".join(names), *quoted]), encoding="utf-8-sig")
    stated = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in texts]
    (tmp_path / "a.ndjson").write_text("\n".join(stated), encoding="utf-8")
    (tmp_path / "a.json").write_text(f"[{','.join(stated)}]", encoding="utf-8")
    kinds = (pa.string(), pa.decimal128(14, 3), pa.date32(), pa.timestamp("us"), pa.bool_())
    table = pa.table(
        {
            name: pa.array([row[place] for row in rows], kind)
            for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    book = openpyxl.Workbook()
    for row in (names, *rows):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    expected = [(a, n, d, None if t is None else (t - dt.timedelta(hours=7)).replace(tzinfo=dt.UTC), b)
                for a, n, d, t, b in rows]  # fmt: skip
    for kind, keys in (
        ("csv", TEXTUAL | {"delimiter": ";"}),
        ("ndjson", TEXTUAL),
        ("json", TEXTUAL),
        ("parquet", ZONE),
        ("xlsx", ZONE),
    ):
        assert _typed(file_rows(tmp_path / f"a.{kind}", layout(kind, **keys), FULL)) == expected, kind


def _as_people_write(a: str, n: Decimal | None, d: dt.date | None, t: dt.datetime | None, b: bool | None) -> list[str]:
    return [
        a,
        "" if n is None else f"{n:,.3f}".translate(str.maketrans(",.", ".,")),
        "" if d is None else f"{d.day:02}/{d.month:02}/{d.year}",
        "" if t is None else f"{t:%d/%m}/{t.year} {t:%H:%M:%S}",
        "" if b is None else ("Không", "Có")[b],
    ]
