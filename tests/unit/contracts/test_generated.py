"""Laws that hold for every contract, whatever its names and texts: it is refused with a sentence, or it compiles."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from unicodedata import is_normalized

import pytest
from catalogue import city
from generated_contracts import LAW, PLATFORM, Generated, contracts, loaded
from hypothesis import given

from pipelines.contracts import build, published
from pipelines.contracts.changes import changes, edition
from pipelines.contracts.model import ContractField, Qc, Text
from pipelines.contracts.targets import delta, flink, kafka, trino
from pipelines.contracts.validators import column_names_are_free

CONNECTION = flink.Connection("127.0.0.1:9092", "demo.", "demo.job")


@LAW
@given(contracts())
def test_every_file_of_every_contract_can_be_read(one: Generated) -> None:
    registry, _ = loaded(one)
    for path, text in build.render(registry).items():
        assert is_normalized("NFC", text), path
        if path.endswith((".json", ".jsonld")):
            json.loads(text)
        if path.endswith(".md"):
            rows = groupby(text.splitlines(), lambda line: line.startswith("| "))
            for block in (list(lines) for is_table, lines in rows if is_table):
                counts = {line: len(re.findall(r"(?<!\\)\|", line)) for line in block}
                assert len(set(counts.values())) == 1, (path, counts)


@pytest.mark.parametrize("name", [*PLATFORM, "payload", "received_date"])
@pytest.mark.parametrize("domain", ["camera", "energy"])
def test_no_step_of_a_stream_takes_a_field_for_its_own_column(name: str, domain: str) -> None:
    added = ContractField(name=name, type="string", title=Text(vi=name, en=name))
    like = city().dataset("river_stage")
    qc = like.qc if domain == "camera" else Qc()
    dataset = like.model_copy(update={"domain": domain, "fields": (*like.fields, added), "qc": qc})
    registry = replace(city(), datasets=(dataset,))
    if list(column_names_are_free(dataset, registry)):
        return
    for sql in flink.conform(dataset, city()):
        made = re.findall(r"AS `(\w+)`", sql)
        assert name not in made
    refusing = flink.dead_letter_insert(dataset, CONNECTION) + flink.flagged(dataset, city()).partition("\nFROM")[2]
    assert f"`{name}`" not in refusing.partition("\nSELECT")[2]
    assert trino.LABEL_COLUMN not in trino.granted_columns(dataset)


@LAW
@given(contracts())
def test_every_contract_compiles_for_the_engines(one: Generated) -> None:
    _, dataset = loaded(one)
    for layer in ("bronze", "silver"):
        assert len(set(delta.arrow_schema(dataset, layer).names)) == len(delta.arrow_schema(dataset, layer).names)
    assert trino.column_comments(dataset).keys() == set(trino.granted_columns(dataset))
    if dataset.stream:
        for connected in (flink.source, flink.clean_sink, flink.dead_letter_insert):
            connected(dataset, CONNECTION)
        flink.conform(dataset, city())
        flink.clean_insert(dataset)
        kafka.topics(dataset, simulated_clock=False)


@LAW
@given(contracts())
def test_a_published_edition_reads_back_as_it_was(one: Generated) -> None:
    registry, dataset = loaded(one)
    now = edition(registry, dataset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / dataset.domain / f"{dataset.id}.json"
        path.parent.mkdir()
        path.write_text(published.render(now), encoding="utf-8")
        (back,) = published.read(Path(folder)).values()
    assert back.dataset == dataset
    assert changes(back, now) == ()
