"""Made-up personal values in clear, as a sector system has them before the gateway or ingestion replaces them.

Nothing here is about a real person: names and numbers are put together by chance.
"""

from __future__ import annotations

import numpy as np

from pipelines.replay.sample_columns import Array

SURNAMES = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Phan", "Võ", "Đặng", "Tôn Nữ", "Hồ", "Ngô", "Dương", "Đoàn")
MIDDLES = ("Văn", "Thị", "Hữu", "Ngọc", "Minh", "Quang", "Thanh", "Bảo", "Đức", "Thuỳ")
GIVEN = ("An", "Bình", "Châu", "Dũng", "Giang", "Hạnh", "Hương", "Khánh", "Linh", "Nam", "Phúc", "Quỳnh", "Sơn", "Tâm")
MOBILE_PREFIXES = ("090", "091", "093", "097", "035", "038", "070", "082", "086")
_SERIES = ("A", "B", "C", "D", "E", "F", "H", "K", "LD")
_PROVINCES = ("75", "75", "75", "75", "43", "74", "73", "29", "51")
_HUE = "046"


def personal_values(kind: str, chance: np.random.Generator, count: int) -> Array:
    """`count` clear values of a kind that contracts tokenise: name, phone, plate or citizen_id.

    Every value is one that :mod:`pipelines.gateway.normalise` accepts.

    Raises:
        KeyError: an unknown kind.
    """
    return {"name": _names, "phone": _phones, "plate": _plates, "citizen_id": _citizen_ids}[kind](chance, count)


def _pick(chance: np.random.Generator, words: tuple[str, ...], count: int) -> Array:
    return np.array(words, dtype=object)[chance.integers(len(words), size=count)]


def _digits(chance: np.random.Generator, width: int, count: int) -> Array:
    return np.char.zfill(chance.integers(10**width, size=count).astype(str), width).astype(object)


def _names(chance: np.random.Generator, count: int) -> Array:
    names: Array = _pick(chance, SURNAMES, count) + " " + _pick(chance, MIDDLES, count) + " "
    return names + _pick(chance, GIVEN, count)


def _phones(chance: np.random.Generator, count: int) -> Array:
    return _pick(chance, MOBILE_PREFIXES, count) + _digits(chance, 7, count)


def _plates(chance: np.random.Generator, count: int) -> Array:
    head: Array = _pick(chance, _PROVINCES, count) + _pick(chance, _SERIES, count) + "-"
    return head + _digits(chance, 3, count) + "." + _digits(chance, 2, count)


def _citizen_ids(chance: np.random.Generator, count: int) -> Array:
    # Province, century and sex, year of birth, six digits.
    sex = chance.integers(4, size=count).astype(str).astype(object)
    return _HUE + sex + _digits(chance, 2, count) + _digits(chance, 6, count)
