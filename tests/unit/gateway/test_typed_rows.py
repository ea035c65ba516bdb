"""The bulk way of sealing gives what the general way gives, byte for byte, or leaves a record to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from catalogue import city
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.model import Dataset
from pipelines.gateway.envelope import RawRecord, is_protected, seal
from pipelines.gateway.tokens import Tokeniser
from pipelines.gateway.typed_rows import TypedRows

RECEIVED = datetime(2025, 10, 27, 13, 0, 5, tzinfo=UTC)
OPEN = [dataset for dataset in city().streams() if not is_protected(dataset)]
ROWS = {dataset.id: TypedRows(dataset, "observed") for dataset in OPEN}
TOKENISER = Tokeniser({1: b"k" * 32})

TIMES = st.sampled_from(["2025-10-27T20:00:00+07:00", "2025-10-27T13:00:00Z", "2025-10-27 13:00:00.120Z"])
TEXTS = st.one_of(
    st.text(min_size=1),
    st.sampled_from(["71520", "Hoà", "Hoa\u0300", "a|b", "\u2028", "\x00\x1f\x7f", '"\\/', "\U0001f30a"]),
)
DECIMALS = st.decimals(-999, 999, allow_nan=False, places=5).map(str) | st.sampled_from(["1e2", "5.0505", "0", "0.0"])
INTEGERS = st.integers(-(2**31), 2**31 - 1).map(str)
VALUES = {
    "string": TEXTS.map(json.dumps) | TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    "timestamp": TIMES.map(json.dumps),
    "date": st.sampled_from(['"2025-10-27"', '"20251027"', '" 2025-10-27"', '"2025-W44-1"']),
    "boolean": st.sampled_from(["true", "false"]),
    "integer": INTEGERS,
    "bigint": INTEGERS,
    "double": st.floats(allow_nan=False, allow_infinity=False).map(repr) | DECIMALS,
    "decimal": DECIMALS,
}
ODD = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["null", "[]", "{}", "true", "NaN", '"\\ud800"', "1 2", "", '""', '"2025-10-27T13:00:00"']),
    st.sampled_from(["-0", "-0.0", "1E+39", "1e41", "0e60", '"3.5"', '" 3.5 "', '"NaN"', '"1_0"', "5.0", '"true"']),
)


@st.composite
def payloads(draw: st.DrawFn) -> tuple[Dataset, bytes]:
    """A record of some open dataset: mostly as it should be, with now and then something odd."""
    dataset = draw(st.sampled_from(OPEN))
    parts: list[tuple[str, str]] = []
    for item in dataset.fields:
        needed = item.name in dataset.key or item.name == dataset.event_time
        if needed or draw(st.booleans()):
            is_odd = draw(st.integers(0, 40)) == 0
            parts.append((item.name, draw(ODD if is_odd else VALUES[item.type.name])))
    if draw(st.integers(0, 4)) == 0:
        names = st.sampled_from(["origin", "revision", "note", "lake.refused", dataset.fields[0].name])
        parts.append((draw(names), draw(INTEGERS | ODD)))
    order = draw(st.permutations(parts))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    text = f",{space}".join(f"{json.dumps(name)}:{space}{value}" for name, value in order)
    return dataset, f"{{{space}{text}}}".encode("utf-8", "surrogatepass")


def general(dataset: Dataset, raw: bytes) -> Any:
    return seal(dataset, raw, source="s", origin="observed", received_at=RECEIVED, tokeniser=TOKENISER)


@settings(max_examples=600)
@given(payloads())
def test_both_ways_seal_alike(case: tuple[Dataset, bytes]) -> None:
    dataset, raw = case
    (pair,), (device,) = ROWS[dataset.id].seal([raw])
    if pair is None or b'"lake.refused"' in raw:
        return
    found = general(dataset, raw)
    assert isinstance(found, RawRecord)
    assert not found.as_came, found.detail
    assert (found.key, found.value, found.device) == (*pair, device)


@pytest.mark.parametrize("dataset", OPEN, ids=lambda d: d.id)
def test_a_plain_record_takes_the_bulk_way(dataset: Dataset) -> None:
    plain = {"string": '"a"', "timestamp": '"2025-10-27T20:00:00+07:00"', "date": '"2025-10-27"', "boolean": "true"}
    raw = "{" + ",".join(f'"{f.name}":{plain.get(f.type.name, "1")}' for f in dataset.fields) + "}"
    (pair,), _ = ROWS[dataset.id].seal([raw.encode()])
    assert pair is not None
    assert pair[1] == general(dataset, raw.encode()).value


def test_personal_datasets_have_no_bulk_way() -> None:
    with pytest.raises(ValueError, match="violation_event is not an open stream"):
        TypedRows(city().dataset("violation_event"), "observed")
