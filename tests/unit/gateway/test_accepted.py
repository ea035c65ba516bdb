"""What the published schema of a stream allows, the gateway takes: every stream that sources send, by drawn records.

Left out is what JSON Schema cannot say of a value, so that a schema-valid one may be refused: a personal value in clear
is drawn in a spelling of its kind, a number without limits within what a decimal of every engine can hold, and a time
within the years of this platform and without a leap second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from catalogue import city
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipelines.contracts.media_types import JSON
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets.json_schema import in_place, record
from pipelines.gateway.core import Core
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import Receipt, Submission
from pipelines.runtime.settings import Settings

from .conftest import HOME, no_kafka

STREAMS = city().sent()
RECEIVED = datetime(2025, 10, 27, 13, 0, 5, tzinfo=UTC)
CLEAR = {
    "plate": st.from_regex(r"75[A-H]-[0-9]{3}\.[0-9]{2}", fullmatch=True),
    "phone": st.from_regex(r"09[0-9]{8}", fullmatch=True),
    "name": st.sampled_from(["Trần Thị B", "Nguyễn Văn An", "LÊ  C"]),
    "citizen_id": st.from_regex(r"046[0-9]{9}", fullmatch=True),
}
ZONES = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2199, 1, 1), timezones=ZONES).map(datetime.isoformat)
DAYS = st.dates(datetime(1990, 1, 1).date(), datetime(2199, 1, 1).date()).map(str)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LARGE = 1e15


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a field's schema allows."""
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of(*(_of(kind, schema) for kind in kinds))


def _of(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "boolean":
        return st.booleans()
    if kind in {"integer", "number"}:
        low = max(schema.get("minimum", -LARGE), schema.get("exclusiveMinimum", -LARGE - 1) + 1)
        high = min(schema.get("maximum", LARGE), schema.get("exclusiveMaximum", LARGE + 1) - 1)
        whole = st.integers(-int(-low // 1), int(high // 1)) if -(-low // 1) <= high // 1 else st.nothing()
        return whole if kind == "integer" else st.one_of(whole, st.decimals(str(low), str(high), places=6).map(float))
    if schema.get("format") == "date-time":
        return INSTANTS
    if schema.get("format") == "date":
        return DAYS
    if "pattern" in schema:
        return st.from_regex(schema["pattern"])
    return TEXTS.filter(lambda text: len(text) >= schema.get("minLength", 0))


@st.composite
def records(draw: st.DrawFn, dataset: Dataset, schema: dict[str, Any]) -> dict[str, Any]:
    """A record that satisfies the schema of its stream."""
    fields = dict(schema["properties"])
    clear = {item.tokenise.source: CLEAR[item.tokenise.kind] for item in dataset.fields if item.tokenise}
    made: dict[str, Any] = {}
    for name, said in fields.items():
        if name in schema["required"] or draw(st.booleans()):
            made[name] = draw(clear[name] if name in clear else values(said))
    for rule in schema.get("allOf", ()):
        ((when, equals),) = rule["if"]["properties"].items()
        (needed,) = rule["then"]["required"]
        if made.get(when) == equals["const"] and made.get(needed) is None:
            found = clear[needed] if needed in clear else values(fields[needed])
            made[needed] = draw(found.filter(lambda value: value is not None))
    if schema["additionalProperties"] and draw(st.booleans()):
        made["x_note"] = draw(TEXTS)
    return made


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    """A running core that takes every record of the test."""
    state: Path = tmp_path_factory.mktemp("accepted")
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(state), "LAKE_NAMESPACE": "accepted"})
    with Core(settings, city(), bootstrap=no_kafka) as running:
        yield running


@pytest.mark.parametrize("dataset", STREAMS, ids=lambda dataset: dataset.id)
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_record_that_satisfies_the_schema_is_accepted(core: Core, dataset: Dataset, data: st.DataObject) -> None:
    schema = record(dataset, city(), in_place)
    checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    batch = data.draw(st.lists(records(dataset, schema), min_size=1, max_size=4))
    for each in batch:
        checker.validate(each)
    source = Source("any", dataset.owner, (dataset.id,), rate_per_s=1_000_000)
    body = json.dumps(batch, ensure_ascii=data.draw(st.booleans())).encode()
    receipt = core.submit(Submission(dataset.id, body, JSON, source, RECEIVED)).result(timeout=20)
    assert receipt == Receipt(dataset.id, len(batch), 0, len(batch), (), receipt.dropped_fields)
