"""Numbers for rows: equal for equal ones, and made without what pandas loses memory at."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.landing.arrow import hashes


def test_days_and_decimals_are_hashed_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table(
        {
            "day": pa.array([date(2025, 1, 1), date(2025, 1, 2), date(2025, 1, 1), None]),
            "price": pa.array([Decimal("1.50"), Decimal("1.50"), Decimal("1.50"), None], pa.decimal128(9, 2)),
            "at": pa.array([time(7), time(7), time(7), None], pa.time64("us")),
            "name": ["Huế"] * 4,
            "number": [1, 1, 1, 1],
        }
    )
    hashing, seen = pd.util.hash_pandas_object, []

    def watched(frame: pd.DataFrame, **options: Any) -> Any:
        objects = frame.select_dtypes("object")
        seen.extend(type(value) for name in objects for value in objects[name])
        return hashing(frame, **options)

    monkeypatch.setattr(pd.util, "hash_pandas_object", watched)
    first, second, third, unknown = hashes(rows).tolist()
    assert first == third and len({first, second, unknown}) == 3
    assert set(seen) == {str, type(None)}, "any other makes pandas 2 lose 16 bytes a row"
    assert hashes(rows.slice(2)).tolist() == [third, unknown], "in whatever batch a row comes"
