"""Lineage that follows from the contracts: what the gateway, landing, ingestion and the views do with every dataset.

Names of datasets outside the tables: ``sender.<dataset>`` is what a device or an application sends,
``sector.<schema>.<table>`` a table of an agency, ``codelist.<list>`` a file of schemas/codelists, and ``raw.…``,
``clean.…``, ``agg.…``, ``alert.…`` are topics.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipelines.contracts import system
from pipelines.contracts.model import CodeList, ContractField, Dataset, Sector
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta, trino
from pipelines.publishing.lineage.graph import ROWS
from pipelines.publishing.lineage.recorder import Recorder
from pipelines.warehouse.code_lists import table_name

TOPIC_COLUMNS = {"received_at": "timestamp", "raw_partition": "integer", "raw_offset": "bigint"}
"""What Kafka itself says of every record of a raw topic: arrival clock and place."""
GATEWAY, LANDING, INGESTION, VIEWS, CODE_LISTS = "gateway", "landing", "ingestion", "views", "code lists"


def record_contracts(recorder: Recorder, registry: Registry) -> None:
    """Record everything but what SQL computes: it declares the datasets of all layers, too."""
    for code_list in registry.code_lists:
        _code_list(recorder, code_list)
    for dataset in registry.datasets:
        own = {item.name: str(item.type) for item in dataset.fields}
        if dataset.mart:
            recorder.dataset(f"gold.{dataset.id}", own)
            continue
        recorder.dataset(f"silver.{dataset.id}", _arrow(dataset, "silver"))
        if dataset.stream:
            _stream(recorder, dataset, own)
        elif dataset.sector:
            _sector(recorder, dataset, dataset.sector)
        elif dataset.derived:
            recorder.dataset(dataset.derived.topic, {**own, **_system(system.DERIVED_PROVENANCE)})
        if dataset.topic:
            _landed(recorder, dataset, dataset.topic)
    for dataset in registry.datasets:
        _views(recorder, dataset)


def _system(columns: tuple[tuple[str, object], ...]) -> dict[str, str]:
    return {name: str(kind) for name, kind in columns}


def _arrow(dataset: Dataset, layer: str) -> dict[str, str]:
    """The columns of a table at rest; a type that is no logical one is said as Arrow names it."""
    known = {item.name: str(item.type) for item in dataset.fields}
    schema: pa.Schema = delta.arrow_schema(dataset, layer)
    return {item.name: known.get(item.name, str(item.type)) for item in schema}


def _code_list(recorder: Recorder, code_list: CodeList) -> None:
    columns = {column.name: str(column.type) for column in code_list.columns}
    source, target = f"codelist.{code_list.id}", f"silver.{table_name(code_list)}"
    view = f"{trino.PUBLISHED}.{table_name(code_list)}"
    for name in (source, target, view):
        recorder.dataset(name, columns)
    recorder.copy(source, target, columns, CODE_LISTS)
    recorder.copy(target, view, columns, VIEWS)


def _stream(recorder: Recorder, dataset: Dataset, own: Mapping[str, str]) -> None:
    """Sender → raw topic → bronze; the conform part of the job is read from its SQL, see streams."""
    sender, raw, bronze = f"sender.{dataset.id}", f"raw.{dataset.id}", f"bronze.{dataset.id}"
    sent = {item.source_name: str(item.type) for item in dataset.fields}
    recorder.dataset(sender, {**sent, "revision": "integer"})
    recorder.dataset(raw, {**own, "origin": "string", "revision": "integer", **TOPIC_COLUMNS})
    recorder.dataset(f"clean.{dataset.id}", {**own, **_system((*system.QC, *system.PROVENANCE, *system.DISPOSITION))})
    recorder.dataset(bronze, _arrow(dataset, "bronze"))
    recorder.rows(sender, raw, GATEWAY)
    for item in dataset.fields:
        _from_source(recorder, item, sender, raw, GATEWAY)
        _aliases(recorder, dataset, item, raw)
    recorder.edge(sender, "revision", raw, "revision", GATEWAY)
    recorder.copy(raw, bronze, ("raw_partition", "raw_offset", "received_at"), LANDING)
    recorder.edge(raw, "received_at", bronze, "received_date", LANDING, "expression", "the UTC day")
    for name in (*own, "origin", "revision"):
        recorder.edge(raw, name, bronze, "payload", LANDING, "expression", "one value of the bytes as they came")
    for name in dataset.entity_key:
        recorder.edge(raw, name, bronze, "record_key", LANDING, "expression", "joined by |")


def _sector(recorder: Recorder, dataset: Dataset, sector: Sector) -> None:
    source = f"sector.{sector.place}"
    bronze, silver = f"bronze.{dataset.id}", f"silver.{dataset.id}"
    recorder.dataset(source, {item.source_name: str(item.type) for item in dataset.fields})
    recorder.dataset(bronze, _arrow(dataset, "bronze"))
    recorder.rows(source, bronze, INGESTION)
    for item in dataset.fields:
        _from_source(recorder, item, source, bronze, INGESTION)
    for name in dataset.key:
        recorder.edge(
            source, dataset.field(name).source_name, bronze, "record_key", INGESTION, "expression", "joined by |"
        )
    recorder.edge(bronze, "received_at", bronze, "received_date", INGESTION, "expression", "the UTC day")
    passed = [item.name for item in dataset.fields]
    recorder.copy(bronze, silver, [*passed, "origin", "received_at", "raw_partition", "raw_offset"], INGESTION)
    _partition(recorder, dataset, bronze, silver, INGESTION)


def _from_source(recorder: Recorder, item: ContractField, source: str, target: str, process: str) -> None:
    if item.tokenise:
        said = f"keyed token of a {item.tokenise.kind} (HMAC-SHA256); nobody without the key can go back"
        recorder.edge(source, item.tokenise.source, target, item.name, process, "token", said)
    else:
        recorder.edge(source, item.name, target, item.name, process)


def _aliases(recorder: Recorder, dataset: Dataset, item: ContractField, raw: str) -> None:
    """A format counts where the stream accepts it; that a dictionary knows its name for a field is not yet a flow."""
    accepted = dataset.stream.accepts if dataset.stream else ()
    for form, alias in item.aliases.items():
        if form not in accepted:
            continue
        for name in alias.path:
            recorder.dataset(form, {name: str(item.type)})
            recorder.rows(form, raw, GATEWAY)
            converted = alias.unit is not None and alias.unit != item.unit
            said = f"named {name} in {form}" + (f", in {alias.unit} there" if converted else "")
            recorder.edge(form, name, raw, item.name, GATEWAY, "expression" if converted else "identity", said)


def _landed(recorder: Recorder, dataset: Dataset, topic: str) -> None:
    silver = f"silver.{dataset.id}"
    names = [item.name for item in delta.arrow_schema(dataset, "silver")]
    if dataset.partition_source:
        names.remove(str(dataset.partition))
    recorder.copy(topic, silver, names, LANDING)
    _partition(recorder, dataset, topic, silver, LANDING)
    if dataset.stream:
        detail = "a duplicate writes no row"
        recorder.edge(topic, "disposition", silver, ROWS, LANDING, "filter", detail)


def _partition(recorder: Recorder, dataset: Dataset, source: str, silver: str, process: str) -> None:
    if dataset.partition_source:
        day = str(dataset.partition)
        recorder.edge(source, dataset.partition_source, silver, day, process, "expression", "the UTC day")


def _views(recorder: Recorder, dataset: Dataset) -> None:
    """What people may read: a source column that reaches no view is read by nobody but the platform."""
    if not any(trino.is_granted(item) for item in dataset.fields):
        return
    table = f"{dataset.layer}.{dataset.id}"
    kinds = _arrow(dataset, "silver") if not dataset.mart else {item.name: str(item.type) for item in dataset.fields}
    columns = {name: kinds[name] for name in trino.granted_columns(dataset)}
    for schema in (trino.PUBLISHED, trino.LIVE) if trino.is_live(dataset) else (trino.PUBLISHED,):
        recorder.dataset(f"{schema}.{dataset.id}", columns)
        recorder.copy(table, f"{schema}.{dataset.id}", columns, VIEWS)
