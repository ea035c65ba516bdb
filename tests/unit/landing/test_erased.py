"""What was erased does not come back, and nothing else is held back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from catalogue import city
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import clean_schema
from pipelines.landing.apply import Quality, Silver, apply
from pipelines.landing.erased import (
    Suppression,
    goes_whole,
    hashes_of_person,
    identity_columns,
    personal_fields,
    record_hashes,
    remember,
)
from pipelines.runtime.settings import Settings

EVENT, TRAINING = city().dataset("violation_event"), city().dataset("training_record")


def test_the_contract_says_what_becomes_of_a_record() -> None:
    assert personal_fields(EVENT) == ("plate_token", "evidence_uri") and not goes_whole(EVENT)
    assert personal_fields(TRAINING) == ("person_token",) and goes_whole(TRAINING)
    assert identity_columns(city().dataset("land_parcel")) == ("parcel_id", "owner_token")
    # A token that follows the rotations of the key says nothing for ever.
    assert identity_columns(city().dataset("feedback_ticket")) == ("ticket_id",)


def rows(ids: list[str], tokens: list[str | None]) -> pa.Table:
    uris = [f"s3://{name}" for name in ids]
    return pa.table({"event_id": ids, "plate_token": pa.array(tokens, pa.string()), "evidence_uri": uris})


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12),
    erased=st.sets(st.sampled_from("abcdefgh")),
)
def test_exactly_the_erased_records_lose_the_person(
    fresh: Callable[[], Settings], ids: list[str], erased: set[str]
) -> None:
    settings = fresh()
    hers = "v1:AAAAAAAAAAAAAAAAAAAAAA"
    remember(settings, EVENT, record_hashes(EVENT, rows(sorted(erased), [hers] * len(erased))))
    batch = rows(ids, [hers] * len(ids))
    found, gone = Suppression(settings, EVENT)(batch)
    assert not gone.any()
    for name, before, after in zip(ids, batch.to_pylist(), found.to_pylist(), strict=True):
        blank = {"plate_token": None, "evidence_uri": None} if name in erased else {}
        assert after == {**before, **blank}


def test_the_same_record_of_somebody_else_is_another_one(settings: Settings) -> None:
    hers, his = "v1:AAAAAAAAAAAAAAAAAAAAAA", "v1:BBBBBBBBBBBBBBBBBBBBBB"
    remember(settings, EVENT, record_hashes(EVENT, rows(["a"], [hers])))
    found, _ = Suppression(settings, EVENT)(rows(["a", "a"], [hers, his]))
    assert found["plate_token"].to_pylist() == [None, his]


def test_a_correction_without_the_token_is_the_same_record(settings: Settings) -> None:
    """Its evidence would else come back as soon as somebody takes the plate out at the source."""
    batch = rows(["a", "b"], ["v1:AAAAAAAAAAAAAAAAAAAAAA"] * 2)
    remember(settings, EVENT, hashes_of_person(EVENT, batch.slice(0, 1)))
    found, _ = Suppression(settings, EVENT)(rows(["a", "b", "a"], [None, None, "v1:BBBBBBBBBBBBBBBBBBBBBB"]))
    assert found["evidence_uri"].to_pylist() == [None, "s3://b", "s3://a"]


def test_a_writer_that_runs_sees_what_is_erased_meanwhile(settings: Settings) -> None:
    suppress, batch = Suppression(settings, EVENT), rows(["a", "b"], ["v1:AAAAAAAAAAAAAAAAAAAAAA"] * 2)
    assert suppress(batch)[0] is batch
    for name, blank in (("a", 1), ("b", 2)):
        remember(settings, EVENT, record_hashes(EVENT, batch.slice("ab".index(name), 1)))
        assert suppress(batch)[0]["plate_token"].null_count == blank


def test_hashes_do_not_depend_on_how_a_batch_came(settings: Settings) -> None:
    """A hash is kept for years: of text and of dictionaries, of one chunk and of many, it is the same."""
    plain = pa.table({"training_id": ["HV-1", "HV-2"], "person_token": ["v1:x", None]})
    coded = pa.table({name: plain[name].dictionary_encode() for name in plain.column_names})
    parts = pa.concat_tables([plain.slice(0, 1), plain.slice(1, 1)])
    expected = record_hashes(TRAINING, plain)
    assert expected.tolist() == [8147516226607852375, 16303041776899856260]
    for table in (coded, parts):
        np.testing.assert_array_equal(record_hashes(TRAINING, table), expected)


def test_a_record_that_is_gone_whole_is_set_aside_without_a_word_of_it(
    settings: Settings, events: Any, fresh: Callable[[], Settings]
) -> None:
    registry: Registry = city()
    event = registry.dataset("audit_log")
    assert goes_whole(event) and event.stream
    silver = Silver.open(settings, registry, event, lambda data: data)

    place = events.reading()

    def value(field: pa.Field[Any], number: int) -> Any:
        """The provenance of a reading, a code of the list where there is one, else what its type allows."""
        if field.name in place:
            return place[field.name]
        if field.name not in event.has:
            return None
        item = event.field(field.name)
        if item.code_list:
            return registry.code_list(item.code_list).codes[0]
        if pa.types.is_timestamp(field.type):
            return place["observed_at"]
        return f"L{number}" if pa.types.is_string(field.type) else True if pa.types.is_boolean(field.type) else 1

    def record(number: int) -> dict[str, Any]:
        return {**{f.name: value(f, number) for f in clean_schema(event)}, "raw_offset": number}

    batch = events.batch_of(event, [record(0), record(1)])
    remember(settings, event, record_hashes(event, batch.rows.slice(0, 1)))
    result = apply(silver, Quality.open(settings), batch)
    assert (result.counts["inserted"], result.counts["quarantined"]) == (1, 1)
    assert silver.sink.table.to_pyarrow_table(columns=["log_id"])["log_id"].to_pylist() == ["L1"]
    quarantined = Quality.open(settings).quarantine.table.to_pyarrow_table().to_pylist()
    assert [(row["reason"], row["raw_offset"], row["row_json"]) for row in quarantined] == [("erased", 0, None)]


@pytest.mark.parametrize("dataset", ["river_stage", "med_price"])
def test_what_has_no_person_is_never_looked_at(settings: Settings, dataset: str) -> None:
    suppress = Suppression(settings, city().dataset(dataset))
    batch = pa.table({"anything": [1, 2]})
    found, gone = suppress(batch)
    assert found is batch and not gone.any()
