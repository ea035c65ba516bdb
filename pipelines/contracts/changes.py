"""What changed between two editions of a contract, how grave it is, and which version it needs.

The question is always what happens to somebody who did right under the older edition. Breaking: a query fails or means
something else, rows or columns are taken away, or a sender's record is no longer accepted. Compatible: all of that
goes on as before, though there is something to know. Documentation: words about the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum, StrEnum
from typing import Any

from pydantic import BaseModel

from pipelines.contracts import durations
from pipelines.contracts.model import (
    CLASSIFICATIONS,
    ContractField,
    Dataset,
    Derived,
    Mart,
    Rule,
    Sector,
    Stream,
    Text,
    is_format,
    next_major,
)
from pipelines.contracts.registry import Registry
from pipelines.contracts.validators import rule_fields


class Severity(StrEnum):
    """How grave a change is; the order is that of a report."""

    BREAKING = "breaking"
    COMPATIBLE = "compatible"
    DOCUMENTATION = "documentation"


class Bump(IntEnum):
    """Which part of a version rises."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3

    def __str__(self) -> str:
        """Render as people say it."""
        return self.name.lower()


class Kind(StrEnum):
    """The closed set of changes; the value is the phrase of a report."""

    FIELD_ADDED = "optional field added"
    REQUIRED_FIELD_ADDED = "required field added"
    FIELD_REMOVED = "field removed"
    FIELDS_REORDERED = "fields in another order"
    TYPE_CHANGED = "type changed"
    UNIT_CHANGED = "unit changed"
    REQUIRED_TIGHTENED = "became required"
    REQUIRED_LOOSENED = "no longer required"
    RANGE_NARROWED = "range narrowed"
    RANGE_WIDENED = "range widened"
    CODE_LIST_ADDED = "now takes codes of a list only"
    CODE_LIST_REMOVED = "no longer bound to a code list"
    CODE_LIST_CHANGED = "takes codes of another list"
    CODES_REMOVED = "codes removed"
    CODES_ADDED = "codes added"
    CLASSIFICATION_RAISED = "classification raised"
    CLASSIFICATION_LOWERED = "classification lowered"
    TOKENISATION_CHANGED = "tokenised in another way"
    ROTATION_CHANGED = "follows rotations of the key otherwise"
    FREE_TEXT_SET = "became free text, which is not published"
    FREE_TEXT_UNSET = "is no longer free text"
    REFERENCE_ADDED = "reference added"
    REFERENCE_REMOVED = "reference removed"
    REFERENCE_CHANGED = "refers to another dataset"
    ALIASES_CHANGED = "other names changed"
    KEY_CHANGED = "key changed"
    GRAIN_CHANGED = "grain changed"
    PARTITION_CHANGED = "partition changed"
    SOURCE_CHANGED = "filled in another way"
    EVENT_TIME_CHANGED = "event time changed"
    TOPIC_CHANGED = "topic changed"
    TOPIC_SHRUNK = "fewer topic partitions"
    INPUT_FORMAT_REMOVED = "accepted format removed"
    INPUT_NAME_REMOVED = "read differently in an accepted format"
    WRITER_CHANGED = "written by another"
    STREAM_CHANGED = "stream setting changed"
    SECTOR_CHANGED = "sector setting changed"
    DERIVED_CHANGED = "job setting changed"
    MART_CHANGED = "mart setting changed"
    QC_CHANGED = "quality flags changed"
    RETENTION_SHORTENED = "retention shortened"
    RETENTION_LENGTHENED = "retention lengthened"
    RETENTION_BY_CODE = "retention by code changed"
    SLA_CHANGED = "service level changed"
    RULE_ADDED = "quality rule added"
    RULE_REMOVED = "quality rule removed"
    RULE_CHANGED = "quality rule changed"
    OWNER_CHANGED = "owner changed"
    DOMAIN_CHANGED = "domain changed"
    DATA_CLASS_CHANGED = "data class changed"
    PURPOSE_CHANGED = "personal purpose changed"
    LEGAL_BASIS_CHANGED = "legal basis changed"
    END_DATE_CHANGED = "end date changed"
    SETTING_CHANGED = "setting changed"
    TEXT_CHANGED = "text changed"
    NOTE_CHANGED = "note changed"


_BREAKING = frozenset(
    {
        Kind.REQUIRED_FIELD_ADDED,
        Kind.FIELD_REMOVED,
        Kind.TYPE_CHANGED,
        Kind.UNIT_CHANGED,
        Kind.REQUIRED_TIGHTENED,
        # A reader who never met a NULL meets one now: dbt and datacontract-cli call it breaking too.
        Kind.REQUIRED_LOOSENED,
        # Rows that were accepted are flagged or quarantined now; a wider range harms no calculation.
        Kind.RANGE_NARROWED,
        Kind.CODE_LIST_ADDED,
        Kind.CODE_LIST_CHANGED,
        Kind.CODES_REMOVED,
        # What is raised may leave the published views.
        Kind.CLASSIFICATION_RAISED,
        Kind.FREE_TEXT_SET,
        Kind.TOKENISATION_CHANGED,
        Kind.KEY_CHANGED,
        Kind.GRAIN_CHANGED,
        Kind.PARTITION_CHANGED,
        Kind.SOURCE_CHANGED,
        Kind.EVENT_TIME_CHANGED,
        Kind.TOPIC_CHANGED,
        Kind.TOPIC_SHRUNK,
        Kind.INPUT_FORMAT_REMOVED,
        Kind.INPUT_NAME_REMOVED,
        # Rows that readers have today are deleted.
        Kind.RETENTION_SHORTENED,
    }
)
# Not among them: WRITER_CHANGED, although a sender may be turned away. What only the platform may write was never
# anybody's to send, and a hole must not stay open until a new major version has taken the old one's place. Nor
# ROTATION_CHANGED: no view grants a token, so that only what lies in this repository could have joined by it. Nor
# RETENTION_BY_CODE: how long a kind of evidence may be kept is a limit from outside, which the code list says already;
# rows beyond it cannot wait for a major version.
_DOCUMENTATION = frozenset({Kind.TEXT_CHANGED, Kind.NOTE_CHANGED, Kind.ALIASES_CHANGED, Kind.FIELDS_REORDERED})
_BUMPS = {Severity.BREAKING: Bump.MAJOR, Severity.COMPATIBLE: Bump.MINOR, Severity.DOCUMENTATION: Bump.PATCH}


@dataclass(frozen=True)
class Change:
    """One difference: ``subject`` names the place as in the contract (``stage_m``, ``stream.watermark``), ``before``
    and ``after`` show the values, empty where there is none."""

    kind: Kind
    subject: str
    before: str = ""
    after: str = ""

    @property
    def severity(self) -> Severity:
        """How grave it is; a service level or a rule that weakens breaks no query and so is compatible."""
        if self.kind in _BREAKING:
            return Severity.BREAKING
        return Severity.DOCUMENTATION if self.kind in _DOCUMENTATION else Severity.COMPATIBLE

    @property
    def bump(self) -> Bump:
        """The part of the version that must rise at least."""
        return _BUMPS[self.severity]

    def __str__(self) -> str:
        """Render as one phrase."""
        values = f": {self.before or '—'} → {self.after or '—'}" if self.before or self.after else ""
        return f"{self.subject} {self.kind}{values}"


@dataclass(frozen=True)
class Codes:
    """The codes of one list. A register lists things (stations, cameras) by their ids and grows every day: what is
    added there is data, not a change of the contract. Any other list is a vocabulary, whose every word is part of it.
    """

    is_register: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class Edition:
    """A contract as it is published: the resolved dataset, and the codes of every list that it names."""

    dataset: Dataset
    codes: Mapping[str, Codes]


def edition(registry: Registry, dataset: Dataset) -> Edition:
    """The edition of a dataset that the contracts say now.

    Raises:
        KeyError: it names a code list that does not exist.
    """
    codes = {}
    for name in sorted({item.code_list for item in dataset.fields if item.code_list}):
        code_list = registry.code_list(name)
        codes[name] = Codes(code_list.key != "code", code_list.codes)
    return Edition(dataset, codes)


def changes(old: Edition, new: Edition) -> tuple[Change, ...]:
    """Every difference of two editions of one dataset but its version, the gravest first."""
    before, after = old.dataset, new.dataset
    found = [
        *_fields(before, after),
        *_codes(old, new),
        *_source(before, after),
        *_classification("classification", before.classification, after.classification),
        *_retention(before, after),
        *_rules(before.quality, after.quality),
        *_whole(before, after),
    ]
    order = list(Severity)
    return tuple(sorted(found, key=lambda change: order.index(change.severity)))


def required_bump(found: Iterable[Change]) -> Bump:
    """The part of the version that must rise at least for all of these."""
    return max((change.bump for change in found), default=Bump.NONE)


def declared_bump(old: str, new: str) -> Bump | None:
    """Which part of ``major.minor.patch`` rose; None when the version went back."""
    before, after = ([int(part) for part in version.split(".")] for version in (old, new))
    if after < before:
        return None
    for bump, one, two in zip((Bump.MAJOR, Bump.MINOR, Bump.PATCH), before, after, strict=True):
        if one != two:
            return bump
    return Bump.NONE


@dataclass(frozen=True)
class Comparison:
    """One dataset against its last published edition.

    ``published`` and ``declared`` are versions, None where there is no such edition. ``problem`` says why it must not
    be published as it is, with ``remedy``; both are empty when it may.
    """

    id: str
    published: str | None
    declared: str | None
    changes: tuple[Change, ...] = ()
    problem: str = ""
    remedy: str = ""

    @property
    def required(self) -> Bump:
        """The part of the version that must rise at least."""
        return required_bump(self.changes)

    @property
    def state(self) -> str:
        """One of ``new``, ``removed``, ``changed`` (in content or version) and ``unchanged``."""
        if self.published is None:
            return "new"
        if self.declared is None:
            return "removed"
        return "changed" if self.changes or self.published != self.declared else "unchanged"


def compare(old: Edition | None, new: Edition | None, today: date) -> Comparison:
    """Judge the step from the published edition to the declared one; ``today`` decides whether an end date is past.

    Raises:
        ValueError: neither edition is given.
    """
    if old is None:
        if new is None:
            raise ValueError("there is nothing to compare")
        return Comparison(new.dataset.id, None, new.dataset.version)
    if new is None:
        return _removal(old.dataset, today)
    found = changes(old, new)
    before, after = old.dataset.version, new.dataset.version
    problem, remedy = _verdict(old.dataset, found, before, after)
    return Comparison(new.dataset.id, before, after, found, problem, remedy)


def _removal(dataset: Dataset, today: date) -> Comparison:
    if dataset.end_date is not None and dataset.end_date < today:
        return Comparison(dataset.id, dataset.version, None)
    promised = f"its end date {dataset.end_date} has not passed" if dataset.end_date else "it has no end date"
    return Comparison(
        dataset.id,
        dataset.version,
        None,
        problem=f"the contract was removed, but {promised}",
        remedy="restore it, publish it with `end_date: <last day>`, and remove it after that day",
    )


def _verdict(dataset: Dataset, found: tuple[Change, ...], before: str, after: str) -> tuple[str, str]:
    """Problem and remedy of a step, both empty when it is right."""
    required, declared = required_bump(found), declared_bump(before, after)
    beside, version = next_major(dataset)
    place = (
        f"in schemas/datasets/{dataset.domain}/{beside}.yaml with `id: {beside}`, `version: {version}` and "
        f"`supersedes: {dataset.id}`, and give {dataset.id} an `end_date`"
    )
    if required is Bump.MAJOR:
        listed = "; ".join(str(change) for change in found if change.severity is Severity.BREAKING)
        return f"breaks those who use {before}: {listed}", f"restore this here, put the new form {place}"
    if declared is Bump.MAJOR:
        return f"went from {before} to {after} in place", f"a new major version lives beside the old one: {place}"
    minimum = _raised(before, required)
    if declared is None:
        return f"went back from {before} to {after}", f"write `version: {minimum}` or higher"
    if declared < required:
        listed = "; ".join(str(change) for change in found if change.bump is required)
        kept = "stayed" if declared is Bump.NONE else "rose only to"
        return f"its version {kept} {after}, but a {required} one is due ({listed})", f"write `version: {minimum}`"
    return "", ""


def _raised(version: str, bump: Bump) -> str:
    major, minor, patch = (int(part) for part in version.split("."))
    if bump is Bump.MINOR:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}" if bump is Bump.PATCH else version


# ── the parts of a contract ──────────────────────────────────────────────────────────────────────────────────────


def _fields(old: Dataset, new: Dataset) -> Iterator[Change]:
    before, after = ({f.name: f for f in dataset.fields} for dataset in (old, new))
    for name, item in before.items():
        if name not in after:
            yield Change(Kind.FIELD_REMOVED, name, str(item.type))
    for name, item in after.items():
        if name not in before:
            yield Change(Kind.REQUIRED_FIELD_ADDED if item.required else Kind.FIELD_ADDED, name, "", str(item.type))
    common = [name for name in before if name in after]
    if common != [name for name in after if name in before]:
        yield Change(Kind.FIELDS_REORDERED, "fields")
    for name in common:
        yield from _field(before[name], after[name])
        yield from _aliases(old, new, name)


def _field(old: ContractField, new: ContractField) -> Iterator[Change]:
    name = old.name
    if old.type != new.type:
        yield Change(Kind.TYPE_CHANGED, name, str(old.type), str(new.type))
    if old.unit != new.unit:
        yield Change(Kind.UNIT_CHANGED, name, old.unit or "", new.unit or "")
    if old.required != new.required:
        yield Change(Kind.REQUIRED_TIGHTENED if new.required else Kind.REQUIRED_LOOSENED, name)
    yield from _range(old, new)
    if old.code_list != new.code_list:
        kind = Kind.CODE_LIST_CHANGED if old.code_list and new.code_list else Kind.CODE_LIST_ADDED
        kind = Kind.CODE_LIST_REMOVED if new.code_list is None else kind
        yield Change(kind, name, old.code_list or "", new.code_list or "")
    yield from _classification(name, old.classification, new.classification)
    if old.tokenise != new.tokenise:
        kind = Kind.TOKENISATION_CHANGED
        if old.tokenise and old.tokenise.model_copy(update={"joins": not old.tokenise.joins}) == new.tokenise:
            kind = Kind.ROTATION_CHANGED
        yield Change(kind, name, shown(old.tokenise), shown(new.tokenise))
    if old.free_text != new.free_text:
        yield Change(Kind.FREE_TEXT_SET if new.free_text else Kind.FREE_TEXT_UNSET, name)
    if old.references != new.references:
        kind = Kind.REFERENCE_CHANGED if old.references and new.references else Kind.REFERENCE_ADDED
        kind = Kind.REFERENCE_REMOVED if new.references is None else kind
        yield Change(kind, name, shown(old.references), shown(new.references))
    for part in ("title", "description"):
        yield from _leaves(Kind.TEXT_CHANGED, f"{name}.{part}", getattr(old, part), getattr(new, part))


def _aliases(old: Dataset, new: Dataset, name: str) -> Iterator[Change]:
    """A name in a format of the gateway matters only where the stream accepts the format; there, senders use it."""
    both_take = set(old.stream.accepts) & set(new.stream.accepts) if old.stream and new.stream else set()
    before, after = (
        {form: alias for form, alias in dataset.field(name).aliases.items() if form in both_take or not is_format(form)}
        for dataset in (old, new)
    )
    for form in sorted(both_take & before.keys()):
        was, is_now = before[form], after.get(form)
        added = is_now is not None and set(was.path) <= set(is_now.path)
        if not added or is_now is None or was.model_copy(update={"path": is_now.path}) != is_now:
            yield Change(Kind.INPUT_NAME_REMOVED, name, shown({form: was}), shown({form: is_now}) if is_now else "")
            del before[form]
            after.pop(form, None)
    if before != after:
        yield Change(Kind.ALIASES_CHANGED, name, shown(before), shown(after))


def _range(old: ContractField, new: ContractField) -> Iterator[Change]:
    before, after = (old.minimum, old.maximum), (new.minimum, new.maximum)
    if before == after:
        return
    raised = new.minimum is not None and (old.minimum is None or new.minimum > old.minimum)
    lowered = new.maximum is not None and (old.maximum is None or new.maximum < old.maximum)
    kind = Kind.RANGE_NARROWED if raised or lowered else Kind.RANGE_WIDENED
    texts = [" … ".join("" if limit is None else str(limit) for limit in limits).strip() for limits in (before, after)]
    yield Change(kind, old.name, *texts)


def _codes(old: Edition, new: Edition) -> Iterator[Change]:
    """Codes of the lists that both editions name."""
    for name in sorted(set(old.codes) & set(new.codes)):
        before, after = old.codes[name].values, new.codes[name].values
        gone = [code for code in before if code not in after]
        come = [code for code in after if code not in before]
        if gone:
            yield Change(Kind.CODES_REMOVED, f"code list {name}", ", ".join(gone))
        if come and not new.codes[name].is_register:
            yield Change(Kind.CODES_ADDED, f"code list {name}", "", ", ".join(come))


def _classification(subject: str, old: str, new: str) -> Iterator[Change]:
    if old != new:
        levels: tuple[str, ...] = CLASSIFICATIONS
        higher = levels.index(new) > levels.index(old)
        yield Change(Kind.CLASSIFICATION_RAISED if higher else Kind.CLASSIFICATION_LOWERED, subject, old, new)


def _retention(old: Dataset, new: Dataset) -> Iterator[Change]:
    for layer in ("bronze", "silver"):
        before, after = getattr(old.retention, layer), getattr(new.retention, layer)
        if before != after:
            kind = Kind.RETENTION_SHORTENED if after < before else Kind.RETENTION_LENGTHENED
            yield Change(kind, f"retention.{layer}", shown(before), shown(after))
    yield from _leaves(Kind.RETENTION_BY_CODE, "retention.by", old.retention.by, new.retention.by)


_SOURCES: Mapping[str, Kind] = {
    "stream": Kind.STREAM_CHANGED,
    "sector": Kind.SECTOR_CHANGED,
    "derived": Kind.DERIVED_CHANGED,
    "mart": Kind.MART_CHANGED,
}
Source = Stream | Sector | Derived | Mart


def _source_of(dataset: Dataset) -> tuple[str, Source]:
    for name in _SOURCES:
        part: Source | None = getattr(dataset, name)
        if part is not None:
            return name, part
    raise ValueError(f"{dataset.id} has no source")


def _source(old: Dataset, new: Dataset) -> Iterator[Change]:
    (was, before), (is_now, after) = _source_of(old), _source_of(new)
    if was != is_now:
        yield Change(Kind.SOURCE_CHANGED, "source", was, is_now)
        return
    for change in _leaves(_SOURCES[was], was, before, after):
        yield Change(_graver(change, before, after), change.subject, change.before, change.after)


def _graver(change: Change, old: Source, new: Source) -> Kind:
    """The kind of a changed setting that is more than the platform's own affair."""
    setting = change.subject.partition(".")[2]
    if setting == "event_time":
        return Kind.EVENT_TIME_CHANGED
    if setting == "topic":
        return Kind.TOPIC_CHANGED
    if isinstance(old, Stream) and isinstance(new, Stream):
        if setting == "partitions" and new.partitions < old.partitions:
            return Kind.TOPIC_SHRUNK
        if setting == "written_by":
            return Kind.WRITER_CHANGED
        if setting == "accepts" and set(old.accepts) - set(new.accepts) and new.written_by == old.written_by:
            return Kind.INPUT_FORMAT_REMOVED
    return change.kind


def _rules(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> Iterator[Change]:
    """Rules that speak of the same fields are one rule that changed."""
    gone = [rule for rule in old if rule not in new]
    for rule in (rule for rule in new if rule not in old):
        same = next((r for r in gone if (r.rule, rule_fields(r)) == (rule.rule, rule_fields(rule))), None)
        if same is None:
            yield Change(Kind.RULE_ADDED, "quality", "", shown(rule))
        else:
            gone.remove(same)
            yield Change(Kind.RULE_CHANGED, "quality", shown(same), shown(rule))
    for rule in gone:
        yield Change(Kind.RULE_REMOVED, "quality", shown(rule))


_WHOLE: Mapping[str, Kind] = {
    "domain": Kind.DOMAIN_CHANGED,
    "title": Kind.TEXT_CHANGED,
    "description": Kind.TEXT_CHANGED,
    "clauses": Kind.NOTE_CHANGED,
    "systems": Kind.NOTE_CHANGED,
    "unverified": Kind.NOTE_CHANGED,
    "sample": Kind.NOTE_CHANGED,
    "supersedes": Kind.NOTE_CHANGED,
    "owner": Kind.OWNER_CHANGED,
    "data_class": Kind.DATA_CLASS_CHANGED,
    "grain": Kind.GRAIN_CHANGED,
    "key": Kind.KEY_CHANGED,
    "partition": Kind.PARTITION_CHANGED,
    "qc": Kind.QC_CHANGED,
    "sla": Kind.SLA_CHANGED,
    "personal_purpose": Kind.PURPOSE_CHANGED,
    "legal_basis": Kind.LEGAL_BASIS_CHANGED,
    "end_date": Kind.END_DATE_CHANGED,
}
_ELSEWHERE = frozenset({"id", "version", "fields", "classification", "retention", "quality", *_SOURCES})


def _whole(old: Dataset, new: Dataset) -> Iterator[Change]:
    """The keys of the dataset itself; one that is new to the model is a setting until it is listed above."""
    for name in Dataset.model_fields:
        if name not in _ELSEWHERE:
            kind = _WHOLE.get(name, Kind.SETTING_CHANGED)
            yield from _leaves(kind, name, getattr(old, name), getattr(new, name))


def _leaves(kind: Kind, subject: str, old: Any, new: Any) -> Iterator[Change]:
    """A change per value that differs; models that both sides have are looked into."""
    if old == new:
        return
    if isinstance(old, BaseModel) and type(old) is type(new):
        for name in type(old).model_fields:
            yield from _leaves(kind, f"{subject}.{name}", getattr(old, name), getattr(new, name))
    else:
        yield Change(kind, subject, shown(old), shown(new))


def shown(value: Any) -> str:
    """A value as a report shows it: short, and as it is written in a contract where there is such a form."""
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, timedelta):
        return " ".join(str(part) for part in durations.parts(value))
    if isinstance(value, Text):
        return value.vi
    if isinstance(value, tuple):
        return ", ".join(shown(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(part)}" for key, part in value.items())
    if isinstance(value, BaseModel) and type(value).__str__ is BaseModel.__str__:
        kept = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return shown(kept)
    return str(value)
