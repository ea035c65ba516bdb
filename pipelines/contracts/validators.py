"""Validators: small registered generators that yield findings with file and line.

Each looks at one dataset inside its registry. A rule's docstring is its message to the person who broke it; an
exception inside a validator is a finding too, so that one broken rule hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.contracts.errors import ContractError, ContractErrors, Location
from pipelines.contracts.model import (
    CLASSIFICATIONS,
    After,
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    Pattern,
    Product,
    RequiredTogether,
    Rule,
    Share,
    Total,
    Unique,
)
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import arrow_schema


@dataclass(frozen=True)
class Finding:
    """What one validator found: the sentence, where, and what to do."""

    message: str
    pointer: tuple[str | int, ...] = ()
    hint: str = ""


Validator = Callable[[Dataset, Registry], Iterator[Finding]]
VALIDATORS: dict[str, Validator] = {}

UNIT_SUFFIXES: dict[str, str] = {
    "m": "_m",
    "mm": "_mm",
    "km/h": "_kmh",
    "%": "_pct",
    "s": "_s",
    "h": "_h",
    "m³/s": "_m3s",
    "km²": "_km2",
    "° (WGS84)": "_deg",
    "đồng (VND)": "_vnd",
    "cm": "_cm",
    "km": "_km",
    "m²": "_m2",
    "ha": "_ha",
    "ms": "_ms",
    "min": "_min",
    "°C": "_c",
    "µg/m³": "_ugm3",
    "mg/L": "_mgl",
    "dB": "_db",
    "V": "_v",
    "A": "_a",
    "kW": "_kw",
    "kWh": "_kwh",
    "Mbit/s": "_mbps",
    "GB": "_gb",
    "TB": "_tb",
    "PB": "_pb",
    "px": "_px",
}
"""Units that a field's name must end with; other units (vehicles, points, ratios) are said by the noun itself."""

INSTANT_SUFFIXES: dict[str, tuple[str, ...]] = {"timestamp": ("_at",), "date": ("_date", "valid_from", "valid_to")}


def validator(function: Validator) -> Validator:
    """Register a validator under its function name."""
    VALIDATORS[function.__name__] = function
    return function


def _field_pointer(dataset: Dataset, name: str) -> tuple[str | int, ...]:
    for index, item in enumerate(dataset.fields):
        if item.name == name:
            return ("fields", index)
    return ("fields",)


@validator
def key_is_made_of_required_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every key field is a field of the dataset and is required."""
    for name in dataset.key:
        if name not in dataset.has:
            yield Finding(f"key field {name!r} is not among its fields", ("key",), "list it under `fields`")
        elif not dataset.field(name).required:
            hint = f"write `- {name}: {{required: true}}`"
            yield Finding(f"key field {name!r} is not required", _field_pointer(dataset, name), hint)


@validator
def event_time_is_a_required_timestamp(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The event time is a required timestamp of the dataset."""
    timed = dataset.stream or dataset.derived
    if timed is None:
        return
    pointer = ("stream" if dataset.stream else "derived", "event_time")
    if timed.event_time not in dataset.has:
        yield Finding(f"event time {timed.event_time!r} is not among its fields", pointer)
        return
    item = dataset.field(timed.event_time)
    if item.type.name != "timestamp" or not item.required:
        yield Finding(f"event time {item.name!r} must be a required timestamp", pointer)


@validator
def partition_follows_from_the_event_time(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A `<event>_date` partition is the UTC day of the timestamp field `<event>_at`."""
    if dataset.partition is None or dataset.partition in dataset.has:
        return
    source = dataset.partition_source or ""
    if not dataset.partition.endswith("_date") or source not in dataset.has:
        hint = "name it <event>_date after a timestamp field <event>_at, or name a field of the dataset"
        yield Finding(f"partition {dataset.partition!r} is derived from no field", ("partition",), hint)
    elif dataset.field(source).type.name != "timestamp" or not dataset.field(source).required:
        yield Finding(f"partition {dataset.partition!r} needs {source!r} to be a required timestamp", ("partition",))


@validator
def column_names_are_free(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """No field has the name of another field or of a column that the platform adds, in any layer."""
    layers = () if dataset.mart else ("silver",) if dataset.derived else ("bronze", "silver")
    names = [arrow_schema(dataset, layer).names for layer in layers] or [[f.name for f in dataset.fields]]
    for name in sorted({name for columns in names for name in columns if columns.count(name) > 1}):
        hint = "give the field another name; those of system columns are in contracts/system.py"
        yield Finding(f"column {name!r} would stand twice in its tables", _field_pointer(dataset, name), hint)


@validator
def classification_covers_its_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset is classified at least as high as its highest field."""
    for item in dataset.fields:
        if CLASSIFICATIONS.index(item.classification) > CLASSIFICATIONS.index(dataset.classification):
            message = f"is {dataset.classification}, but its field {item.name!r} is {item.classification}"
            yield Finding(message, ("classification",), f"write `classification: {item.classification}`")


@validator
def personal_data_has_purpose_and_basis(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A dataset with a personal or sensitive field names its purpose and its legal basis."""
    if dataset.is_protected and dataset.personal_purpose is None:
        yield Finding("holds personal data without `personal_purpose`", ("classification",))
    if dataset.is_protected and not dataset.legal_basis:
        yield Finding("holds personal data without `legal_basis`", ("classification",))


@validator
def systems_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every system id is listed in `schemas/systems.yaml`."""
    known = {system.id for system in registry.systems}
    for index, number in enumerate(dataset.systems):
        if number not in known:
            yield Finding(f"system {number} is not in schemas/systems.yaml", ("systems", index))


@validator
def legal_bases_are_listed(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every legal basis is a code of the list `legal_bases`, and no layer keeps rows longer than one of them allows."""
    rows = {row["code"]: row for row in registry.code_list("legal_bases").rows}
    for index, code in enumerate(dataset.legal_basis):
        if code not in rows:
            hint = f"allowed: {', '.join(rows)}"
            yield Finding(f"legal basis {code!r} is not listed", ("legal_basis", index), hint)
            continue
        longest = rows[code]["max_retention_d"]
        for layer in ("bronze", "silver") if longest is not None else ():
            kept = getattr(dataset.retention, layer).days
            if kept > longest:
                message = f"keeps {layer} for {kept} days, {code} allows {longest}"
                yield Finding(message, ("retention", layer))


@validator
def references_lead_to_keys(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A referenced field belongs to the key of another dataset and has the same type."""
    known = {d.id: d for d in registry.datasets}
    for item in dataset.fields:
        if item.references is None:
            continue
        pointer = _field_pointer(dataset, item.name)
        target = known.get(item.references.dataset)
        if target is None or item.references.field not in target.key:
            yield Finding(f"field {item.name!r} references {item.references}, which is no key", pointer)
        elif target.field(item.references.field).type != item.type:
            yield Finding(f"field {item.name!r} is not of the type of {item.references}", pointer)


@validator
def samples_name_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A sample draws values of fields that the source has, and its conditions name fields of the dataset."""
    for name, value in (dataset.sample.fields if dataset.sample else {}).items():
        pointer = ("sample", "fields", name)
        if name not in dataset.has:
            yield Finding(f"sample names the absent field {name!r}", pointer)
        others = [*value.only_when, *([value.field] if isinstance(value, After | Product) else [])]
        for other in others:
            if other not in dataset.has:
                yield Finding(f"the sample of {name!r} names the absent field {other!r}", pointer)


@validator
def code_lists_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every code column names a code list that is loaded."""
    known = {code_list.id for code_list in registry.code_lists}
    for item in dataset.fields:
        if item.code_list is not None and item.code_list not in known:
            hint = f"there are: {', '.join(sorted(known))}"
            yield Finding(
                f"field {item.name!r} names code list {item.code_list!r}, which does not exist",
                _field_pointer(dataset, item.name),
                hint,
            )


@validator
def owner_is_an_agency(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The owner is a code of the list `agencies`."""
    codes = registry.code_list("agencies").codes
    if dataset.owner not in codes:
        yield Finding(f"owner {dataset.owner!r} is not an agency", ("owner",), f"allowed: {', '.join(codes)}")


def rule_fields(rule: Rule) -> tuple[str, ...]:
    """The fields that a quality rule speaks of; none for a rule of the whole table."""
    match rule:
        case Comparison():
            return (rule.left, rule.right)
        case RequiredTogether():
            return (rule.field, rule.when)
        case Completeness() | Pattern() | Share():
            return (rule.field,)
        case Unique():
            return rule.fields
        case Total():
            return (rule.field, *rule.by)
        case _:
            return ()


@validator
def rules_name_fields(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A quality rule speaks of fields that the dataset has."""
    for index, rule in enumerate(dataset.quality):
        for name in rule_fields(rule):
            if name not in dataset.has:
                yield Finding(f"rule {rule.rule} names the absent field {name!r}", ("quality", index))
    for name, limits in dataset.qc.gross_range.items():
        pointer = ("qc", "gross_range", name)
        if name not in dataset.has:
            yield Finding(f"gross_range names the absent field {name!r}", pointer)
            continue
        item = dataset.field(name)
        low, high = limits.suspect
        if (item.minimum is not None and low < item.minimum) or (item.maximum is not None and high > item.maximum):
            hint = "the suspect range lies inside the field's minimum and maximum"
            yield Finding(f"gross_range of {name!r} is wider than what is possible", pointer, hint)


@validator
def times_agree(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Cadence ≤ freshness; dedupe and watermark ≤ rebuild; personal topics keep at most 7 days."""
    stream = dataset.stream
    if stream is None:
        return
    if dataset.sla.freshness < stream.cadence:
        yield Finding("promises to be fresher than its cadence", ("sla", "freshness"))
    for name, value in (("dedupe", stream.dedupe), ("watermark", stream.watermark)):
        if value > stream.rebuild:
            yield Finding(
                f"{name} looks further back than rebuild", ("stream", name), "the raw topic would not hold it"
            )
    if dataset.is_protected and stream.rebuild.days > 7:
        yield Finding("a personal stream keeps its topic for more than 7 days", ("stream", "rebuild"))


@validator
def one_dedupe_horizon_per_job(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """All streams of a keyed job share one state lifetime: their dedupe horizons are equal."""
    if dataset.stream is None or not dataset.is_keyed:
        return
    horizons = {d.stream.dedupe for d in registry.streams(dataset.job) if d.stream}
    if len(horizons) > 1:
        peers = ", ".join(d.id for d in registry.streams(dataset.job))
        yield Finding(f"dedupe differs within the job {dataset.job!r} ({peers})", ("stream", "dedupe"))


@validator
def inputs_exist(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Inputs of a derived table or a mart are datasets, or code lists as `code_<list>`."""
    known = {d.id for d in registry.datasets} | {f"code_{c.id}" for c in registry.code_lists}
    part = dataset.derived or dataset.mart
    for name in part.inputs if part else ():
        if name not in known:
            yield Finding(f"input {name!r} does not exist", ("mart" if dataset.mart else "derived", "inputs"))


def _naming(name: str, item: ContractField) -> Iterator[str]:
    suffix = UNIT_SUFFIXES.get(item.unit or "")
    if suffix and not name.endswith(suffix):
        yield f"has the unit {item.unit} and must end with {suffix}"
    ending = INSTANT_SUFFIXES.get(item.type.name)
    if ending and not name.endswith(ending):
        yield f"is a {item.type.name} and must end with {' or '.join(ending)}"
    if item.type.name == "boolean" and not re.match(r"(is|has)_", name):
        yield "is a boolean and must begin with is_ or has_"


def check_dictionary(registry: Registry) -> Iterator[ContractError]:
    """Check ``fields.yaml``: the naming law, and that every defined field is used somewhere."""
    used = {f.name for d in registry.datasets for f in d.fields}
    used |= {f.name for c in registry.code_lists for f in c.columns}
    for name, definition in registry.dictionary.items():
        where = registry.dictionary_source.where(name)
        item = ContractField.model_validate({**dict(definition), "name": name})
        for problem in _naming(name, item):
            yield ContractError(f"field {name!r} {problem}", where=where)
        if name not in used:
            yield ContractError(f"field {name!r} is used by no dataset", where=where, hint="remove it, or use it")


def check_profiles(registry: Registry) -> Iterator[ContractError]:
    """Check that profiles name datasets that exist."""
    known = {d.id for d in registry.datasets}
    for name, profile in registry.profiles.items():
        for dataset in profile.datasets:
            if dataset not in known:
                where = Location("schemas/profiles.yaml")
                yield ContractError(f"profile {name!r} names {dataset!r}, which is no dataset", where=where)


def check(registry: Registry) -> None:
    """Run every validator over every dataset, then the dictionary and the profiles.

    Raises:
        ContractErrors: all findings at once.
    """
    findings = [*check_dictionary(registry), *check_profiles(registry)]
    for dataset in registry.datasets:
        for name, rule in VALIDATORS.items():
            try:
                findings.extend(
                    ContractError(f.message, where=registry.where(dataset, *f.pointer), dataset=dataset.id, hint=f.hint)
                    for f in rule(dataset, registry)
                )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                where: Location = registry.where(dataset)
                findings.append(ContractError(f"validator {name} failed: {error!r}", where=where, dataset=dataset.id))
    if findings:
        raise ContractErrors(findings)
