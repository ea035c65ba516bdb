"""A contract in the making: plain data, written as people write contracts, checked before a file exists."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from pipelines.contracts.errors import ContractError, ContractErrors, Location
from pipelines.contracts.model import Dataset, FieldDefinition
from pipelines.contracts.registry import Registry, resolve_dataset
from pipelines.contracts.source import SourceFile
from pipelines.contracts.validators import check_dataset, check_field

_ORDER = (
    "id", "domain", "version", "supersedes", "end_date", "title", "description", "clauses", "systems", "owner",
    "classification", "data_class", "grain", "key", "partition", "fields", "stream", "sector", "derived", "mart", "qc",
    "personal_purpose", "legal_basis", "sla", "retention", "quality",
)  # fmt: skip
_BLOCKS = {"description": 1, "fields": 1, "quality": 1, "qc": 2}
"""Keys whose content takes a line per entry, and for how many levels; everything else stands on one line."""
_PROPOSED = Location("schemas/fields.yaml (proposed)")


@dataclass(frozen=True)
class Draft:
    """A contract before it is written.

    ``contract``: its keys as in a file. ``fields``: entries that the dictionary lacks, as in ``fields.yaml``.
    ``notes``: what its author has to decide or look at, one sentence each.
    """

    contract: Mapping[str, Any]
    fields: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]

    @property
    def id(self) -> str:
        """The dataset's id."""
        return str(self.contract["id"])

    @property
    def path(self) -> str:
        """Where the contract belongs, relative to the project root."""
        return f"schemas/datasets/{self.contract['domain']}/{self.id}.yaml"


def contract_text(draft: Draft) -> str:
    """The YAML of the contract, its keys in the order of the other contracts."""
    tree = CommentedMap()
    for name in sorted(draft.contract, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER)):
        tree[name] = _styled(draft.contract[name], blocks=_BLOCKS.get(name, 0))
    return _dump(tree)


def fields_text(draft: Draft) -> str:
    """The entries to add to ``schemas/fields.yaml``, one line each; empty when the dictionary has every field."""
    tree = CommentedMap({name: _styled(entry, blocks=0) for name, entry in draft.fields.items()})
    return _dump(tree) if tree else ""


def check_draft(draft: Draft, registry: Registry, *, beside: Sequence[Draft] = ()) -> tuple[ContractError, ...]:
    """What the validators say of a draft as if it, those ``beside`` it and all new fields were in the registry already.

    Raises:
        ContractErrors: one of them would not even load; every reason, with the line of the text that would be written.
    """
    wider = _with_drafts(registry, (*beside, draft))
    named = (e for name in draft.fields for e in check_field(name, wider.dictionary[name], _PROPOSED))
    return (*named, *check_dataset(wider.dataset(draft.id), wider))


def _with_drafts(registry: Registry, drafts: Iterable[Draft]) -> Registry:
    """The registry with the drafts in it."""
    by_id = {draft.id: draft for draft in drafts}
    added, findings = _added_fields(by_id.values())
    if findings:
        raise ContractErrors(findings)
    dictionary = {**registry.dictionary, **added}
    sources = {name: _source(draft) for name, draft in by_id.items()}
    datasets: list[Dataset] = []
    for source in sources.values():
        try:
            datasets.append(resolve_dataset(source, dictionary, registry.sources_by_id))
        except ContractErrors as errors:
            findings.extend(errors.errors)
    if findings:
        raise ContractErrors(findings)
    known = (d for d in registry.datasets if d.id not in by_id)
    return replace(
        registry,
        datasets=tuple(sorted((*known, *datasets), key=lambda d: d.id)),
        dictionary=dictionary,
        sources={**registry.sources, **sources},
    )


def _added_fields(drafts: Iterable[Draft]) -> tuple[dict[str, FieldDefinition], list[ContractError]]:
    """The new entries of the dictionary, and why some of them are none."""
    added: dict[str, FieldDefinition] = {}
    findings: list[ContractError] = []
    for draft in drafts:
        for name, entry in draft.fields.items():
            try:
                added[name] = FieldDefinition.model_validate(entry)
            except ValidationError as error:
                reasons = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
                findings.append(ContractError(f"field {name!r}: {reasons}", where=_PROPOSED, dataset=draft.id))
    return added, findings


def _source(draft: Draft) -> SourceFile:
    """The draft as a file would be read, with the lines that it would have."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / draft.path
        path.parent.mkdir(parents=True)
        path.write_text(contract_text(draft), encoding="utf-8")
        return SourceFile(path, Path(scratch))


def write_drafts(home: Path, drafts: Sequence[Draft], registry: Registry) -> None:
    """Write the contracts of all drafts, or of none.

    Raises:
        ContractErrors: an id or a file exists already; nothing is overwritten and nothing else is written.
    """
    findings = []
    for draft in drafts:
        where = Location(draft.path)
        if draft.id in registry.sources:
            place = registry.sources[draft.id].name
            hint = "give the new dataset another id, or edit that contract"
            findings.append(ContractError(f"the dataset exists already in {place}", where=where, hint=hint))
        elif (home / draft.path).exists():
            findings.append(ContractError("the file exists already", where=where, hint="move it away, or edit it"))
    if findings:
        raise ContractErrors(findings)
    staged = []
    for draft in drafts:
        path = home / draft.path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(contract_text(draft), encoding="utf-8")
        staged.append((partial, path))
    for partial, path in staged:
        os.replace(partial, path)


def _styled(value: Any, blocks: int) -> Any:
    """Copy plain data for the YAML writer: ``blocks`` levels with a line per entry, everything below on one line."""
    if isinstance(value, Mapping):
        tree = CommentedMap({key: _styled(part, blocks - 1) for key, part in value.items()})
        # A list's single-key entry `- name: {…}` opens no level of its own.
        is_named = len(tree) == 1 and isinstance(next(iter(tree.values())), Mapping)
        if blocks < 0 or (blocks == 0 and not is_named):
            tree.fa.set_flow_style()
        return tree
    if isinstance(value, list | tuple):
        items = CommentedSeq([_styled(part, blocks - 1) for part in value])
        if blocks <= 0:
            items.fa.set_flow_style()
        return items
    # The writer leaves a text that begins with a colon plain, which no reader takes inside brackets.
    return SingleQuotedScalarString(value) if isinstance(value, str) and value.startswith(":") else value


def _dump(tree: CommentedMap) -> str:
    writer = YAML()
    writer.width = 10_000
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    writer.dump(tree, stream)
    return stream.getvalue()
