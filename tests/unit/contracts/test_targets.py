"""Golden files of the Kafka, Flink and Delta targets, and what they refuse.

A golden file is the review of a change: run `UPDATE_GOLDEN=1 pytest tests/unit/contracts` and read the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta, flink, kafka

CONNECTION = flink.Connection("127.0.0.1:9092", "demo.", "demo.job")


@pytest.mark.parametrize("name", ["river_stage", "lane_minute", "violation_event"])
def test_flink_chain_of_a_stream(registry: Registry, golden: Callable[[str, str], None], name: str) -> None:
    dataset = registry.dataset(name)
    parts = (
        flink.source(dataset, CONNECTION),
        *flink.conform(dataset, registry),
        flink.clean_sink(dataset, CONNECTION),
        flink.dead_letter_insert(dataset, CONNECTION),
        flink.clean_insert(dataset),
    )
    golden(f"{name}.flink.sql", ";\n\n".join(parts) + ";\n")


def test_a_block_of_time_leads_the_key_of_the_state_only_where_the_key_says_when(registry: Registry) -> None:
    for dataset in registry.streams():
        view = flink.conformed(dataset)
        led = "PARTITION BY (`_block`, " in view
        assert led == (dataset.is_keyed and dataset.event_time in dataset.key), dataset.id
        assert led == (f"instant => CAST('{dataset.event_time}' AS STRING)" in view)
        if not led:
            assert dataset.is_keyed == ("instant => CAST('' AS STRING)" in view)
            with pytest.raises(Untranslatable, match="by_block"):
                flink.by_block(dataset)


@pytest.mark.parametrize(("cadence_s", "minutes"), [(1, 1), (15, 8), (60, 32), (6 * 3600, 32 * 360)])
def test_a_block_holds_thirty_two_readings_and_never_less_than_a_minute(
    registry: Registry, cadence_s: int, minutes: int
) -> None:
    dataset = registry.dataset("lane_minute")
    assert dataset.stream
    stream = dataset.stream.model_copy(update={"cadence": timedelta(seconds=cadence_s)})
    assert f" / {minutes}) AS `_block`" in flink.by_block(dataset.model_copy(update={"stream": stream}))


@pytest.mark.parametrize("name", ["river_stage", "feedback_ticket", "flood_alert"])
def test_delta_schema(registry: Registry, golden: Callable[[str, str], None], name: str) -> None:
    dataset = registry.dataset(name)
    layers = ("silver",) if dataset.derived else ("bronze", "silver")
    lines = [
        f"{layer}.{name}: {field.name} {field.type}" for layer in layers for field in delta.arrow_schema(dataset, layer)
    ]
    lines += [f"partition: {layer} {delta.partition_by(dataset, layer)}" for layer in layers]
    lines += [f"check: {rule} {sql}" for rule, sql in delta.constraints(dataset).items()]
    golden(f"{name}.delta.txt", "\n".join(lines) + "\n")


def test_silver_columns_read_back_as_the_contracts_types(registry: Registry) -> None:
    for dataset in (d for d in registry.datasets if not d.mart):
        schema = delta.arrow_schema(dataset, "silver")
        for item in dataset.fields:
            assert schema.field(item.name).type == item.type.arrow
            comment = schema.field(item.name).metadata[b"comment"].decode()
            assert item.title.vi in comment
        assert isinstance(schema, pa.Schema)


def test_a_replay_namespace_keeps_topics_whose_clock_is_the_past(registry: Registry) -> None:
    for dataset in registry.streams():
        for topic in kafka.topics(dataset, simulated_clock=True):
            assert dict(topic.config)["retention.ms"] == "-1"


def test_personal_topics_keep_at_most_seven_days(registry: Registry) -> None:
    seven_days_ms = 7 * 86_400_000
    for topic in kafka.topics(registry.dataset("violation_event"), simulated_clock=False):
        assert int(dict(topic.config)["retention.ms"]) <= seven_days_ms


def test_what_a_target_cannot_express_is_refused(registry: Registry) -> None:
    with pytest.raises(Untranslatable, match="road_asset: flink cannot express source"):
        flink.source(registry.dataset("road_asset"), CONNECTION)
    with pytest.raises(Untranslatable, match="only a derived table"):
        flink.derived_sink(registry.dataset("river_stage"), CONNECTION)
    with pytest.raises(ValueError, match="dbt creates its table"):
        delta.arrow_schema(registry.dataset("dim_ward"), "silver")
    with pytest.raises(ValueError, match="it has no topics"):
        kafka.topics(registry.dataset("med_price"), simulated_clock=False)
