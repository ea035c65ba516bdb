"""Loads every schema file, resolves references, and hands out an immutable, sorted registry."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.contracts.collectors import Collector
from pipelines.contracts.errors import ContractError, ContractErrors, Location
from pipelines.contracts.model import (
    CodeList,
    ContractField,
    Dataset,
    FieldDefinition,
    FieldUse,
    Profile,
    Profiles,
    System,
    Systems,
)
from pipelines.contracts.scenario import Scenario
from pipelines.contracts.source import M, SourceFile
from pipelines.contracts.sources import SectorSource


@dataclass(frozen=True)
class Registry:
    """All contracts of the city; sorted by id, passed as an argument, never a global."""

    datasets: tuple[Dataset, ...]
    code_lists: tuple[CodeList, ...]
    dictionary: Mapping[str, FieldDefinition]
    sources: Mapping[str, SourceFile] = field(repr=False)
    dictionary_source: SourceFile = field(repr=False)
    systems: tuple[System, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    scenarios: tuple[Scenario, ...] = ()
    scenario_sources: Mapping[str, SourceFile] = field(default_factory=dict, repr=False)
    collectors: tuple[Collector, ...] = ()
    collector_sources: Mapping[str, SourceFile] = field(default_factory=dict, repr=False)
    sector_sources: tuple[SectorSource, ...] = ()
    sector_source_files: Mapping[str, SourceFile] = field(default_factory=dict, repr=False)

    @cached_property
    def _by_id(self) -> dict[str, Dataset]:
        return {dataset.id: dataset for dataset in self.datasets}

    @cached_property
    def sources_by_id(self) -> Mapping[str, SectorSource]:
        """The sources of the sector databases by their ids."""
        return {source.id: source for source in self.sector_sources}

    def dataset(self, dataset_id: str) -> Dataset:
        """The contract with this id.

        Raises:
            KeyError: there is none; the message lists those there are.
        """
        try:
            return self._by_id[dataset_id]
        except KeyError:
            raise KeyError(f"no dataset {dataset_id!r}; there are: {', '.join(sorted(self._by_id))}") from None

    def code_list(self, list_id: str) -> CodeList:
        """The code list with this id.

        Raises:
            KeyError: there is none; the message lists those there are.
        """
        for code_list in self.code_lists:
            if code_list.id == list_id:
                return code_list
        raise KeyError(f"no code list {list_id!r}; there are: {', '.join(c.id for c in self.code_lists)}")

    def streams(self, job: str | None = None) -> tuple[Dataset, ...]:
        """Every live dataset, or those that one stream job reads."""
        return tuple(d for d in self.datasets if d.stream and job in (None, d.job))

    def sent(self) -> tuple[Dataset, ...]:
        """The live datasets that sources send to the gateway; the platform writes the others itself."""
        return tuple(d for d in self.datasets if d.is_sent)

    def derived(self, job: str) -> tuple[Dataset, ...]:
        """Every table that one stream job computes."""
        return tuple(d for d in self.datasets if d.derived and d.derived.job == job)

    def only(self, profile: str | None) -> Registry:
        """The registry of a namespace: the datasets of one profile with all that they read, and the scenarios that look
        at nothing else; everything for None.

        Raises:
            KeyError: there is no such profile; the message lists those there are.
        """
        if profile is None:
            return self
        if profile not in self.profiles:
            raise KeyError(f"no profile {profile!r} in schemas/profiles.yaml; there are: {', '.join(self.profiles)}")
        wanted: set[str] = set()
        waiting = list(self.profiles[profile].datasets)
        while waiting:
            name = waiting.pop()
            if name in wanted or name not in self._by_id:
                continue
            wanted.add(name)
            derived, mart = self._by_id[name].derived, self._by_id[name].mart
            waiting += derived.inputs if derived else mart.needed if mart else ()
        held = (d for d in self.datasets if d.id in wanted)
        return replace(
            self,
            datasets=tuple(d.model_copy(update={"mart": d.mart.within(wanted)}) if d.mart else d for d in held),
            scenarios=tuple(s for s in self.scenarios if wanted.issuperset(s.datasets)),
        )

    def sector_tables(self) -> tuple[Dataset, ...]:
        """Every dataset that is read from a sector database."""
        return tuple(d for d in self.datasets if d.sector)

    def source_of(self, dataset: Dataset) -> SectorSource:
        """The source from which a sector table is read.

        Raises:
            KeyError: the dataset is no sector table, or there is no such source; the message lists those there are.
        """
        name = dataset.sector.source if dataset.sector else ""
        if name not in self.sources_by_id:
            raise KeyError(f"no source {name!r}; there are: {', '.join(self.sources_by_id)}")
        return self.sources_by_id[name]

    def marts(self) -> tuple[Dataset, ...]:
        """Every dataset that dbt builds."""
        return tuple(d for d in self.datasets if d.mart)

    def scenario(self, scenario_id: str) -> Scenario:
        """The scenario with this id.

        Raises:
            KeyError: there is none; the message lists those there are.
        """
        for scenario in self.scenarios:
            if scenario.id == scenario_id:
                return scenario
        raise KeyError(f"no scenario {scenario_id!r}; there are: {', '.join(s.id for s in self.scenarios)}")

    def where_scenario(self, scenario: Scenario, *pointer: str | int) -> Location:
        """The place of a value in a scenario's own file."""
        return self.scenario_sources[scenario.id].where(*pointer)

    def where(self, dataset: Dataset, *pointer: str | int) -> Location:
        """The place of a value in a contract's own file."""
        return self.sources[dataset.id].where(*pointer)


def load_registry(schemas: Path) -> Registry:
    """Load ``fields.yaml`` and what lies in ``codelists``, ``collectors``, ``datasets``, ``scenarios`` and ``sources``
    beside it.

    Raises:
        ContractErrors: every finding of every file, each with file and line; nothing is half loaded.
    """
    findings: list[ContractError] = []
    dictionary_source = SourceFile(schemas / "fields.yaml", schemas.parent)
    dictionary: dict[str, FieldDefinition] = {}
    for name, entry in sorted(dictionary_source.data.items()):
        try:
            dictionary[name] = dictionary_source.build(FieldDefinition, entry or {}, name)
        except ContractErrors as errors:
            findings.extend(errors.errors)

    systems: tuple[System, ...] = ()
    profiles: Mapping[str, Profile] = {}
    try:
        systems_source = SourceFile(schemas / "systems.yaml", schemas.parent)
        systems = systems_source.build(Systems, systems_source.data).systems
        profiles_source = SourceFile(schemas / "profiles.yaml", schemas.parent)
        profiles = profiles_source.build(Profiles, profiles_source.data).profiles
    except ContractErrors as errors:
        findings.extend(errors.errors)

    code_lists: list[CodeList] = []
    for path in sorted((schemas / "codelists").glob("*.yaml")):
        try:
            code_lists.append(_code_list(SourceFile(path, schemas.parent), dictionary))
        except ContractErrors as errors:
            findings.extend(errors.errors)

    collectors = _named_files(schemas, "collectors", Collector, findings)
    sector_sources = _named_files(schemas, "sources", SectorSource, findings)
    known: dict[str, SectorSource | None] = {p.stem: None for p in (schemas / "sources").glob("*.yaml")}
    known |= {name: one for name, (one, _) in sector_sources.items()}

    datasets: dict[str, Dataset] = {}
    sources: dict[str, SourceFile] = {}
    for path in sorted((schemas / "datasets").rglob("*.yaml")):
        try:
            source = SourceFile(path, schemas.parent)
            dataset = resolve_dataset(source, dictionary, known)
            findings.extend(_placement(dataset, source, path, datasets))
            datasets[dataset.id], sources[dataset.id] = dataset, source
        except ContractErrors as errors:
            findings.extend(errors.errors)
    scenarios: dict[str, Scenario] = {}
    scenario_sources: dict[str, SourceFile] = {}
    for path in sorted((schemas / "scenarios").glob("*.yaml")):
        try:
            source = SourceFile(path, schemas.parent)
            scenarios[path.stem], scenario_sources[path.stem] = resolve_scenario(source), source
        except ContractErrors as errors:
            findings.extend(errors.errors)
    if findings:
        raise ContractErrors(findings)
    return Registry(
        datasets=tuple(datasets[k] for k in sorted(datasets)),
        code_lists=tuple(sorted(code_lists, key=lambda c: c.id)),
        dictionary=dictionary,
        sources=sources,
        dictionary_source=dictionary_source,
        systems=systems,
        profiles=profiles,
        scenarios=tuple(scenarios[name] for name in sorted(scenarios)),
        scenario_sources=scenario_sources,
        collectors=tuple(collector for collector, _ in collectors.values()),
        collector_sources={name: source for name, (_, source) in collectors.items()},
        sector_sources=tuple(one for one, _ in sector_sources.values()),
        sector_source_files={name: source for name, (_, source) in sector_sources.items()},
    )


def _named_files(
    schemas: Path, folder: str, model: type[M], findings: list[ContractError]
) -> dict[str, tuple[M, SourceFile]]:
    """What lies in a folder of ``schemas``, by id: each file is named after the id that it holds."""
    found: dict[str, tuple[M, SourceFile]] = {}
    for path in sorted((schemas / folder).glob("*.yaml")):
        try:
            source = SourceFile(path, schemas.parent)
            one = source.build(model, source.data, dataset=path.stem)
        except ContractErrors as errors:
            findings.extend(errors.errors)
            continue
        name = str(source.data["id"])
        if path.stem != name:
            message = f"the file of {name!r} is {folder}/{name}.yaml"
            findings.append(ContractError(message, where=source.where("id"), dataset=name))
        found[name] = (one, source)
    return found


def _placement(
    dataset: Dataset, source: SourceFile, path: Path, known: Mapping[str, Dataset]
) -> tuple[ContractError, ...]:
    """A file is named after its dataset, lies in its domain's folder, and an id exists once."""
    findings = []
    if path.stem != dataset.id or path.parent.name != dataset.domain:
        message = f"the file of {dataset.id!r} is datasets/{dataset.domain}/{dataset.id}.yaml"
        findings.append(ContractError(message, where=source.where("id"), dataset=dataset.id))
    if dataset.id in known:
        other = f"schemas/datasets/{known[dataset.id].domain}/{dataset.id}.yaml"
        hint = "an id is the name of one table; give this dataset another id"
        message = f"this id exists already in {other}"
        findings.append(ContractError(message, where=source.where("id"), dataset=dataset.id, hint=hint))
    return tuple(findings)


def _resolve(
    name: str, use: FieldUse, dictionary: Mapping[str, FieldDefinition], where: Location, dataset: str
) -> ContractField:
    """Join a dictionary entry with what one dataset says of it."""
    definition = dictionary.get(name)
    if definition is None:
        hint = "define it in schemas/fields.yaml"
        raise ContractErrors([ContractError(f"unknown field {name!r}", where=where, dataset=dataset, hint=hint)])
    own = {key: value for key, value in use if value is not None}
    return ContractField.model_validate({**dict(definition), **own, "name": name})


def _fields(
    source: SourceFile, entries: Any, dictionary: Mapping[str, FieldDefinition], pointer: str, dataset: str
) -> tuple[list[ContractField], list[ContractError]]:
    """Resolve a list whose items are ``name`` or ``{name: {what is particular}}``."""
    resolved: list[ContractField] = []
    findings: list[ContractError] = []
    for index, entry in enumerate(entries or []):
        name, particular = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        where = source.where(pointer, index)
        try:
            use = source.build(FieldUse, particular or {}, pointer, index, str(name), dataset=dataset)
            resolved.append(_resolve(str(name), use, dictionary, where, dataset))
        except ContractErrors as errors:
            findings.extend(errors.errors)
    return resolved, findings


def resolve_dataset(
    source: SourceFile, dictionary: Mapping[str, FieldDefinition], sources: Mapping[str, SectorSource | None]
) -> Dataset:
    """Build the dataset of one file: its fields joined with the dictionary, its schedule with that of its source.

    ``sources`` holds None for a source whose own file has findings; a dataset that needs it adds none.

    Raises:
        ContractErrors: every finding of the file, each with its line.
    """
    dataset_id = str(source.data.get("id", source.path.stem))
    fields, findings = _fields(source, source.data.get("fields"), dictionary, "fields", dataset_id)
    if findings:
        raise ContractErrors(findings)
    resolved = {"sector": _sector(source, sources, dataset_id)} if "sector" in source.data else {}
    return source.build(Dataset, {**source.data, "fields": fields, **resolved}, dataset=dataset_id)


def _sector(source: SourceFile, sources: Mapping[str, SectorSource | None], dataset: str) -> Any:
    """The ``sector`` of a contract with the schedule of its source, where it says none."""
    own = source.data["sector"]
    name = own.get("source") if isinstance(own, dict) else None
    if not isinstance(name, str):
        return own
    if name not in sources:
        hint = f"write schemas/sources/{name}.yaml; there are: {', '.join(sorted(sources))}"
        message, where = f"unknown source {name!r}", source.where("sector", "source")
        raise ContractErrors([ContractError(message, where=where, dataset=dataset, hint=hint)])
    found = sources[name]
    if found is None:
        raise ContractErrors([])
    return {"schedule": found.schedule, **own}


def resolve_scenario(source: SourceFile) -> Scenario:
    """Build the scenario of one file, which is named after it.

    Raises:
        ContractErrors: every finding of the file, each with its line.
    """
    scenario = source.build(Scenario, source.data, dataset=source.path.stem)
    if scenario.id != source.path.stem:
        message = f"the file of {scenario.id!r} is scenarios/{scenario.id}.yaml"
        raise ContractErrors([ContractError(message, where=source.where("id"), dataset=scenario.id)])
    return scenario


def _code_list(source: SourceFile, dictionary: Mapping[str, FieldDefinition]) -> CodeList:
    """A code list holds its rows in the YAML, or names a CSV beside it (``file:``) when there are many."""
    data = dict(source.data)
    list_id = str(data.get("id", source.path.stem))
    columns, findings = _fields(source, data.get("columns"), dictionary, "columns", list_id)
    rows: list[_Row] = []
    if "file" in data:
        csv_path = source.path.parent / str(data.pop("file"))
        if not csv_path.is_file():
            message = f"the file {csv_path.name} does not exist"
            findings.append(ContractError(message, where=source.where("file"), dataset=list_id))
        else:
            rows = list(_csv_rows(csv_path, source))
    else:
        rows = list(_yaml_rows(source))
    by_name = {column.name: column for column in columns}
    typed: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        unknown = sorted(set(row.texts) - set(by_name))
        if unknown:
            message = f"row {number} has {', '.join(unknown)}, which `columns` does not list"
            findings.append(ContractError(message, where=row.where, dataset=list_id))
        values: dict[str, Any] = {}
        for name, column in by_name.items():
            text = row.texts.get(name)
            try:
                values[name] = None if text is None or text == "" else _value(column, text)
            except ValueError:
                message = f"row {number}: {name} is {text!r}, which is no {column.type}"
                findings.append(ContractError(message, where=row.where, dataset=list_id))
        typed.append(values)
    if findings:
        raise ContractErrors(findings)
    return source.build(CodeList, {**data, "columns": columns, "rows": typed}, dataset=list_id)


@dataclass(frozen=True)
class _Row:
    """A row of a code list as it is written, and where."""

    texts: Mapping[str, str | None]
    where: Location


def _yaml_rows(source: SourceFile) -> Iterator[_Row]:
    for index, row in enumerate(source.data.get("rows") or []):
        texts = {
            name: None if value is None else source.written(value, "rows", index, name) for name, value in row.items()
        }
        yield _Row(texts, source.where("rows", index))


def _csv_rows(path: Path, source: SourceFile) -> Iterator[_Row]:
    name = str(Path(source.name).with_name(path.name))
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        for row in reader:
            # Cells beyond the head have no name of their own.
            yield _Row({str(key): value for key, value in row.items()}, Location(name, reader.line_num))


def _value(column: ContractField, text: str) -> Any:
    """The value of a cell: whole numbers and truth values as such, other numbers and dates as exact text.

    Raises:
        ValueError: the text is none of the column's type.
    """
    kind = column.type.name
    if kind in {"integer", "bigint"}:
        return int(text)
    if kind == "boolean":
        if text.lower() not in _TRUTHS:
            raise ValueError(text)
        return _TRUTHS[text.lower()]
    if column.type.is_numeric:
        try:
            Decimal(text)
        except ArithmeticError:
            raise ValueError(text) from None
    if kind == "date":
        date.fromisoformat(text)
    return text


_TRUTHS = {"true": True, "false": False}
