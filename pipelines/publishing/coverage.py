"""How far every system of the city has come: which stages its datasets have reached, read from the running lake.

Delta logs, the records of loads, verdicts and publications are asked, never a list, and no service has to run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.contracts.model import Dataset, System
from pipelines.contracts.registry import Registry
from pipelines.ingestion.records import OK
from pipelines.publishing import ledger
from pipelines.publishing.catalog import inputs_of, kind_of
from pipelines.quality import store
from pipelines.quality.model import GOOD, Verdict
from pipelines.runtime.delta import arrow_dataset, arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.manifest import affected_marts

State = Literal["reached", "missing", "not_applicable"]
STAGES = ("contract", "source", "silver", "checked", "mart", "published", "catalogued")
DCAT = Path("catalog") / "dcat" / "catalog.jsonld"
"""The generated DCAT catalogue, relative to the project root."""


@dataclass(frozen=True)
class Stage:
    """Whether a dataset has reached a stage; ``note`` says what was found: rows, a version, a verdict, a mart."""

    state: State
    note: str = ""


@dataclass(frozen=True)
class DatasetCoverage:
    """One dataset with its stages in the order of :data:`STAGES`."""

    dataset: str
    kind: str
    stages: Mapping[str, Stage]


@dataclass(frozen=True)
class SystemCoverage:
    """One system with the datasets that say they serve it; none when no contract does yet."""

    system: System
    datasets: tuple[DatasetCoverage, ...]


@dataclass(frozen=True)
class Coverage:
    """All systems asked for, and the datasets that serve none of the city's systems."""

    namespace: str
    systems: tuple[SystemCoverage, ...]
    others: tuple[DatasetCoverage, ...]

    @property
    def datasets(self) -> tuple[DatasetCoverage, ...]:
        """Every dataset once, however many systems it serves."""
        found = {item.dataset: item for system in self.systems for item in system.datasets}
        return (*found.values(), *self.others)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "namespace": self.namespace,
            "stages": list(STAGES),
            "systems": [
                {
                    "id": item.system.id,
                    "title": item.system.title.model_dump(),
                    "clauses": list(item.system.clauses),
                    "counts": counts(item.datasets),
                    "datasets": [_plain(dataset) for dataset in item.datasets],
                }
                for item in self.systems
            ],
            "without_system": [_plain(dataset) for dataset in self.others],
            "total": {
                "systems": len(self.systems),
                "systems_with_datasets": sum(1 for item in self.systems if item.datasets),
                "datasets": len(self.datasets),
                "counts": counts(self.datasets),
            },
        }


def coverage(settings: Settings, registry: Registry, system: int | None = None) -> Coverage:
    """The coverage of every system, or of one; the namespace may be empty, then nothing has been reached.

    Raises:
        LakeError: no such system, or a table that cannot be read.
    """
    wanted = [item for item in registry.systems if system in (None, item.id)]
    if not wanted:
        ids = ", ".join(str(item.id) for item in registry.systems) or "none"
        raise LakeError(f"Không có hệ thống {system}.", f"schemas/systems.yaml has {ids}.")
    try:
        return _coverage(settings, registry, wanted, is_whole=system is None)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise LakeError(f"Không đọc được kho dữ liệu: {error}.", "Mend or restore the table that it names.") from error


def counts(datasets: Collection[DatasetCoverage]) -> dict[str, dict[str, int]]:
    """Per stage how many datasets reached it, ``of`` those to which it applies."""
    return {
        stage: {
            "reached": sum(1 for d in datasets if d.stages[stage].state == "reached"),
            "of": sum(1 for d in datasets if d.stages[stage].state != "not_applicable"),
        }
        for stage in STAGES
    }


def _plain(item: DatasetCoverage) -> dict[str, Any]:
    stages = {name: {"state": stage.state, "note": stage.note} for name, stage in item.stages.items()}
    return {"id": item.dataset, "kind": item.kind, "stages": stages}


def _coverage(settings: Settings, registry: Registry, systems: Sequence[System], *, is_whole: bool) -> Coverage:
    lake = _Lake(settings, registry)
    serving = {item.id: [d for d in registry.datasets if item.id in d.systems] for item in systems}
    others = [d for d in registry.datasets if not d.systems] if is_whole else []
    named = {dataset.id: dataset for group in (*serving.values(), others) for dataset in group}
    found = {name: lake.covered(dataset) for name, dataset in named.items()}
    return Coverage(
        settings.namespace,
        tuple(SystemCoverage(item, tuple(found[d.id] for d in serving[item.id])) for item in systems),
        tuple(found[d.id] for d in others),
    )


class _Lake:
    """What the tables of one namespace say; each is asked once."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings, self.registry = settings, registry
        self._rows: dict[tuple[str, str], tuple[int, int] | None] = {}

    def covered(self, dataset: Dataset) -> DatasetCoverage:
        is_computed = kind_of(dataset) in {"derived", "mart"}
        stages = {
            # The registry refuses a file that is no sound contract, so what it holds has one.
            "contract": Stage("reached", dataset.version),
            "source": Stage("not_applicable") if is_computed else self._source(dataset),
            "silver": Stage("not_applicable") if dataset.mart else self._table("silver", dataset.id),
            "checked": self._checked(dataset),
            "mart": self._mart(dataset),
            "published": self._published(dataset),
            "catalogued": self._catalogued(dataset),
        }
        return DatasetCoverage(dataset.id, kind_of(dataset), stages)

    def _size(self, layer: str, name: str) -> tuple[int, int] | None:
        """Newest version and rows of a table by its log alone; None when there is none."""
        key = (layer, name)
        if key not in self._rows:
            path = str(self.settings.table_path(layer, name))
            self._rows[key] = None
            if DeltaTable.is_deltatable(path):
                table = DeltaTable(path)
                self._rows[key] = (table.version(), _row_count(table))
        return self._rows[key]

    def _table(self, layer: str, name: str) -> Stage:
        size = self._size(layer, name)
        if size is None:
            return Stage("missing")
        version, rows = size
        return Stage("reached" if rows else "missing", f"{rows} rows, version {version}")

    def _source(self, dataset: Dataset) -> Stage:
        if dataset.sector and dataset.id in self._loads:
            return Stage("reached", f"{self._loads[dataset.id]} loads")
        return self._table("bronze", dataset.id)

    @cached_property
    def _loads(self) -> Mapping[str, int]:
        """Dataset → how often a load of it finished well."""
        path = str(self.settings.table_path("quality", "load_run"))
        if not DeltaTable.is_deltatable(path):
            return {}
        finished = arrow_dataset(DeltaTable(path)).to_table(["dataset"], filter=pads.field("status") == OK)
        counted: Any = pc.value_counts(finished["dataset"])
        return {row["values"]: row["counts"] for row in counted.to_pylist()}

    @cached_property
    def _verdicts(self) -> Mapping[tuple[str, str], Sequence[Verdict]]:
        found: dict[tuple[str, str], list[Verdict]] = {}
        for verdict in store.verdicts(self.settings):
            found.setdefault((verdict.layer, verdict.dataset), []).append(verdict)
        return found

    def _checked(self, dataset: Dataset) -> Stage:
        size = self._size(dataset.layer, dataset.id)
        given = [v for v in self._verdicts.get((dataset.layer, dataset.id), ()) if v.version is not None]
        if size is None or not given:
            return Stage("missing")
        version, last = size[0], given[-1]
        if last.version != version:
            return Stage("missing", f"{last.verdict} at version {last.version}, but the newest is {version}")
        rules = f": {', '.join(last.failed_rules)}" if last.verdict not in GOOD else ""
        return Stage("reached", f"{last.verdict}{rules}")

    def _mart(self, dataset: Dataset) -> Stage:
        marts = [dataset.id] if dataset.mart else affected_marts(self.registry, self._with_derived(dataset.id))
        built = [name for name in marts if (size := self._size("gold", name)) and size[1]]
        return Stage("reached" if built else "missing", ", ".join(built))

    def _with_derived(self, dataset_id: str) -> set[str]:
        """A dataset and what stream jobs compute from it: a mart may rest on either."""
        found = {dataset_id}
        while True:
            more = {d.id for d in self.registry.datasets if d.derived and found & set(inputs_of(d))} - found
            if not more:
                return found
            found |= more

    @cached_property
    def _pins(self) -> Mapping[str, int]:
        return {name: item.version for name, item in ledger.current(ledger.publications(self.settings)).items()}

    def _published(self, dataset: Dataset) -> Stage:
        version = self._pins.get(dataset.id)
        return Stage("missing") if version is None else Stage("reached", f"version {version}")

    @cached_property
    def _in_table(self) -> Mapping[str, str]:
        path = str(self.settings.table_path("catalog", "dataset"))
        if not DeltaTable.is_deltatable(path):
            return {}
        rows = arrow_table(DeltaTable(path), columns=["id", "version"]).to_pylist()
        return {row["id"]: row["version"] for row in rows}

    @cached_property
    def _in_dcat(self) -> frozenset[str]:
        path = self.settings.home / DCAT
        if not path.is_file():
            return frozenset()
        try:
            return frozenset(_identifiers(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise LakeError(f"{DCAT} is no JSON: {error}.", "Run `lake contracts build`.") from error

    def _catalogued(self, dataset: Dataset) -> Stage:
        version = self._in_table.get(dataset.id)
        places = [f"catalog.dataset {version}"] if version else []
        places += ["DCAT"] if dataset.id in self._in_dcat else []
        return Stage("reached" if places else "missing", ", ".join(places))


def _row_count(table: DeltaTable) -> int:
    """The rows by the statistics of the files; a writer that left them out makes us open the table."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return 0
    known = actions["num_records"] if "num_records" in actions.column_names else None
    if known is None or known.null_count:
        return int(arrow_dataset(table).count_rows())
    return int(pc.sum(known).as_py())


def _identifiers(node: Any) -> Iterable[str]:
    """Every ``dct:identifier`` of a JSON-LD document, in whichever of its forms."""
    if isinstance(node, list):
        for item in node:
            yield from _identifiers(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name.rpartition(":")[2].rpartition("/")[2] == "identifier":
                values = value if isinstance(value, list) else [value]
                texts = (v.get("@value") if isinstance(v, dict) else v for v in values)
                yield from (text for text in texts if isinstance(text, str))
            elif name != "@context":
                yield from _identifiers(value)
