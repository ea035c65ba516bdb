"""Reads contracts in the Open Data Contract Standard, v3.0 and v3.1: every object of ``schema`` becomes a draft.

What a contract here has no place for is told with its line, never dropped in silence; what it needs and the file does
not say is an error, or a guess that is told too. Custom properties called as our keys (``unit``, ``codeList``,
``owner``, …) are taken over, so that a contract that this platform wrote comes back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.contracts import system
from pipelines.contracts.draft import Draft
from pipelines.contracts.errors import ContractError, ContractErrors, Location
from pipelines.contracts.logical_types import LogicalType, parse
from pipelines.contracts.model import CLASSIFICATIONS, FieldDefinition, Rule
from pipelines.contracts.naming import Vocabulary, likely_source, proposed_entry, spelled, title_of
from pipelines.contracts.registry import Registry
from pipelines.contracts.source import SourceFile
from pipelines.contracts.words import UNWRITTEN, unwritten

VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0")
"""The versions of the standard that are read."""
_CLASSES = {
    "open": "open", "public": "open", "internal": "internal", "personal": "personal", "pii": "personal",
    "sensitive": "sensitive", "confidential": "sensitive", "restricted": "sensitive", "secret": "sensitive",
}  # fmt: skip
_UNITS = {
    "s": "s", "second": "s", "seconds": "s", "min": "min", "minute": "min", "minutes": "min", "h": "h", "hr": "h",
    "hour": "h", "hours": "h", "d": "d", "day": "d", "days": "d", "month": "months", "months": "months",
    "y": "years", "yr": "years", "year": "years", "years": "years",
}  # fmt: skip
"""Units of service levels. ``m`` is left out: it may be minutes or months."""
_PRECISE = re.compile(r"(?:decimal|numeric|number)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_BOTH = " — "
"""Between the Vietnamese and the English of a text."""
_RULE_KEYS = (
    "id", "name", "description", "dimension", "severity", "type", "metric", "rule", "arguments", "unit", "mustBe",
    "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessOrEqualTo",
)  # fmt: skip
_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def read_odcs(path: Path, registry: Registry, *, domain: str | None = None, owner: str | None = None) -> list[Draft]:
    """Draft a contract for every object of the file; ``domain`` and ``owner`` win over what the file says.

    Raises:
        ContractErrors: the file is not YAML or not ODCS 3.0 or 3.1, or an object lacks what a contract needs; every
            finding with its line.
    """
    source = SourceFile(path, path.parent)
    root = _Node(source, source.data)
    _check_standard(root)
    objects = root.nodes("schema")
    findings: list[ContractError] = []
    if not objects:
        hint = "list at least one object with `name` and `properties`"
        findings.append(ContractError("holds no `schema`", where=root.where("schema"), hint=hint))
    shared = _Shared.of(root, registry, domain, owner, findings)
    drafts: list[Draft] = []
    for node in objects:
        try:
            drafts.append(_Reader(node, shared).draft(drafts))
        except ContractErrors as errors:
            findings.extend(errors.errors)
    if findings:
        raise ContractErrors(findings)
    first = drafts[0]
    if root.data.get("name") == objects[0].data.get("name"):
        root.take("name")
    rest = tuple(root.leftovers())
    drafts[0] = Draft(first.contract, first.fields, (*first.notes, *rest))
    return drafts


def _check_standard(root: _Node) -> None:
    """Refuse whatever is no ODCS contract of a version that is read."""
    version, kind = root.take("apiVersion"), root.take("kind")
    allowed = f"allowed: {', '.join(VERSIONS)}"
    if "dataContractSpecification" in root.data:
        message = "is a Data Contract Specification, another standard than ODCS"
        hint = "export it with `datacontract export --format odcs` first"
        raise ContractErrors([ContractError(message, where=root.where("dataContractSpecification"), hint=hint)])
    findings = []
    if version is None:
        findings.append(ContractError("key 'apiVersion' is missing", where=root.where(), hint=allowed))
    elif version not in VERSIONS:
        message = f"is of ODCS {version}, which is not read"
        hint = f"{allowed}; convert it to one of these first"
        findings.append(ContractError(message, where=root.where("apiVersion"), hint=hint))
    if kind != "DataContract":
        message = f"kind is {kind!r}" if kind else "key 'kind' is missing"
        findings.append(ContractError(message, where=root.where("kind"), hint="allowed: DataContract"))
    if findings:
        raise ContractErrors(findings)


class _Node:
    """A mapping of the file that remembers which of its keys were taken over."""

    def __init__(self, source: SourceFile, data: Any, *pointer: str | int) -> None:
        self.source, self.pointer = source, pointer
        self.data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        self._taken: set[str] = set()

    def where(self, *pointer: str | int) -> Location:
        return self.source.where(*self.pointer, *pointer)

    def take(self, key: str) -> Any:
        """A value, which is then taken over."""
        self._taken.add(key)
        return self.data.get(key)

    def text(self, key: str) -> str | None:
        """A value as text; None when it is absent or empty."""
        value = self.take(key)
        return str(value).strip() or None if value is not None else None

    def node(self, key: str) -> _Node:
        """A mapping below; an empty one when there is none."""
        return _Node(self.source, self.take(key), *self.pointer, key)

    def nodes(self, key: str) -> list[_Node]:
        """The mappings of a list below."""
        value = self.take(key)
        items = value if isinstance(value, list) else []
        return [_Node(self.source, item, *self.pointer, key, number) for number, item in enumerate(items)]

    def custom(self) -> dict[str, tuple[Any, Location]]:
        """Custom properties by name, in our spelling, with their lines."""
        found = {}
        for node in self.nodes("customProperties"):
            name = node.text("property")
            if name:
                found[spelled(name)] = (node.data.get("value"), node.where())
        return found

    def leftovers(self) -> Iterator[str]:
        """A sentence for each key that was not taken over."""
        for key, value in self.data.items():
            if key not in self._taken and value not in (None, [], {}, ""):
                yield f"{self.where(key)}: {'.'.join(map(str, (*self.pointer, key)))} is not taken over"


def _both(text: str) -> dict[str, str]:
    """A text in two languages; one that is not parted by a dash stands for both."""
    vi, dash, en = text.partition(_BOTH)
    return {"vi": vi.strip(), "en": en.strip()} if dash and vi.strip() and en.strip() else {"vi": text, "en": text}


@dataclass
class _Shared:
    """What a file says of all its objects."""

    registry: Registry
    domain: str
    owner: str
    version: str
    source_kind: str
    source_schema: str | None
    description: dict[str, Any]
    promises: list[_Node]
    custom: dict[str, tuple[Any, Location]]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, root: _Node, registry: Registry, domain: str | None, owner: str | None, findings: list[ContractError]
    ) -> _Shared:
        notes: list[str] = []
        custom = root.custom()
        said = root.text("domain")
        chosen = domain or (spelled(said) if said else "common")
        if domain is None and said != chosen:
            notes.append(f"{root.where('domain')}: domain is {chosen!r} here; name another with --domain")
        kind, schema = _server(root, notes)
        return cls(
            registry=registry,
            domain=chosen,
            owner=owner or _owner(root, custom, registry, notes),
            version=_version(root, notes, findings),
            source_kind=kind,
            source_schema=schema,
            description=_description(root.node("description"), notes),
            promises=root.nodes("slaProperties"),
            custom=custom,
            notes=notes,
        )


def _version(root: _Node, notes: list[str], findings: list[ContractError]) -> str:
    text = root.text("version") or ""
    match = re.fullmatch(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    if match is None:
        hint = "write major.minor.patch, for example 1.0.0"
        findings.append(ContractError(f"version {text!r} is none", where=root.where("version"), hint=hint))
        return "1.0.0"
    version = ".".join(part or "0" for part in match.groups())
    if version != text:
        notes.append(f"{root.where('version')}: version {text} is written {version}")
    return version


def _owner(root: _Node, custom: dict[str, tuple[Any, Location]], registry: Registry, notes: list[str]) -> str:
    """The agency that the file names, by code or by name; a guess, which is told, when it names none."""
    agencies = registry.code_list("agencies").rows
    team = root.take("team")
    members = team.get("members") if isinstance(team, dict) else team
    named = [str(custom.pop("owner", ("", None))[0])]
    if isinstance(team, dict):
        named += [str(team.get("name", "")), str(team.get("description", ""))]
    for member in members if isinstance(members, list) else []:
        if isinstance(member, dict) and str(member.get("role", "")).lower() in {"owner", "data owner"}:
            named += [str(member.get("username", "")), str(member.get("name", ""))]
    for text in named:
        for row in agencies:
            if text and (row["code"] == text or row.get("name_vi") == text or row.get("name_en") == text):
                return str(row["code"])
    guess = str(agencies[0]["code"])
    notes.append(f"{root.where('team')}: the owner {guess} is a guess; name the agency with --owner")
    return guess


_DATABASES = frozenset({"postgres", "postgresql", "mysql", "sqlserver", "oracle"})
"""The standard's types of the databases that sector tables are read from."""


def _server(root: _Node, notes: list[str]) -> tuple[str, str | None]:
    """Whether the data come as a stream or from a sector database, and that database's schema."""
    chosen: tuple[str, str | None] | None = None
    for node in root.nodes("servers"):
        kind = str(node.data.get("type", "")).lower()
        if chosen is None and kind in _DATABASES:
            chosen = "sector", node.text("schema")
        elif chosen is None and kind == "kafka":
            chosen = "stream", None
        else:
            notes.append(f"{node.where()}: the server {node.data.get('server', kind)!r} is not taken over")
    if chosen is None:
        notes.append(f"{root.where('servers')}: no server says how data come, so a sector table is assumed")
    return chosen or ("sector", None)


def _description(node: _Node, notes: list[str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    purpose = node.text("purpose")
    if purpose:
        said["purpose"] = _both(purpose)
    said |= {key: text for key in ("usage", "limitations") if (text := node.text(key))}
    notes.extend(node.leftovers())
    return said


@dataclass
class _Field:
    """One property on its way to a field of the contract."""

    name: str
    use: dict[str, Any]
    entry: dict[str, Any] | None
    kind: LogicalType
    key_position: int | None
    partition_position: int | None
    classification: str


class _Reader:
    """Reads one object of the file."""

    def __init__(self, node: _Node, shared: _Shared) -> None:
        self.node, self.shared, self.registry = node, shared, shared.registry
        self.notes: list[str] = []
        self.findings: list[ContractError] = []
        self.rules: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        self.derived_partition: str | None = None

    def draft(self, earlier: Sequence[Draft]) -> Draft:
        """The draft; ``earlier`` are those of the same file, to which it may refer."""
        name = self.node.text("name")
        if not name:
            raise ContractErrors([ContractError("an object has no name", where=self.node.where(), hint="name it")])
        dataset_id = spelled(name)
        if dataset_id != name:
            self.notes.append(f"{self.node.where('name')}: {name!r} is the dataset {dataset_id!r}")
        if any(draft.id == dataset_id for draft in earlier):
            self._refuse(f"two objects are called {dataset_id!r}", "name", hint="rename one of them")
        fields = list(self._fields(earlier))
        for rule in self.node.nodes("quality"):
            self._rule(rule, None)
        contract = self._contract(dataset_id, fields)
        self.notes += [*self.shared.notes, *self._custom(contract), *self.node.leftovers()]
        if self.findings:
            raise ContractErrors(self.findings)
        entries = {f.name: f.entry for f in fields if f.entry is not None}
        return Draft(contract, entries, tuple(dict.fromkeys(self.notes)))

    def _refuse(self, message: str, *pointer: str | int, hint: str = "", node: _Node | None = None) -> None:
        where = (node or self.node).where(*pointer)
        self.findings.append(ContractError(message, where=where, hint=hint))

    # ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────

    def _contract(self, dataset_id: str, fields: Sequence[_Field]) -> dict[str, Any]:
        shared, node = self.shared, self.node
        key = [f.name for f in sorted((f for f in fields if f.key_position is not None), key=_by_key)]
        if fields and not key:
            self._refuse(f"no property of {dataset_id!r} is a key", "properties", hint="write `primaryKey: true`")
        said = node.text("businessName")
        title = _both(said) if said else unwritten(title_of(dataset_id), title_of(dataset_id))
        purpose = node.text("description")
        description = dict(shared.description)
        if purpose and "purpose" not in description:
            description["purpose"] = _both(purpose)
        elif purpose:
            self.notes.append(f"{node.where('description')}: the purpose is that of the whole file")
        if "purpose" not in description:
            description = {"purpose": unwritten(said or dataset_id, said or dataset_id), **description}
            self.notes.append(f"{node.where()}: no purpose is given; write one")
        for ignored in ("physicalType", "logicalType"):
            node.take(ignored)
        if node.data.get("id") == node.data.get("name"):
            node.take("id")
        contract: dict[str, Any] = {
            "id": dataset_id,
            "domain": shared.domain,
            "version": shared.version,
            "title": title,
            "description": description,
            "owner": shared.owner,
            "classification": max((f.classification for f in fields), key=CLASSIFICATIONS.index, default="internal"),
            "grain": node.text("dataGranularityDescription") or f"{UNWRITTEN.en}: one row per {', '.join(key)}",
            "key": key,
            "fields": [{f.name: f.use} if f.use else f.name for f in fields],
        }
        partition = self._partition(fields)
        if partition:
            contract["partition"] = partition
        contract |= self._source(dataset_id, fields, key)
        own_key = sorted(key)
        rules = [r for r in self.rules if not (r["rule"] == "unique" and sorted(r["fields"]) == own_key)]
        if rules:
            contract["quality"] = rules
        return contract

    def _partition(self, fields: Sequence[_Field]) -> str | None:
        chosen = sorted((f for f in fields if f.partition_position is not None), key=_by_partition)
        for other in chosen[1:]:
            self.notes.append(f"{self.node.where()}: a table has one partition, {other.name!r} is none")
        return chosen[0].name if chosen else self.derived_partition

    def _source(self, dataset_id: str, fields: Sequence[_Field], key: Sequence[str]) -> dict[str, Any]:
        """Where the rows come from, the service level and retention; a part that the file does not say is told."""
        said = self._promises(dataset_id)
        times = [f for f in fields if f.kind.name == "timestamp"]
        event = next((f for f in times if f.name == said.get("event_time")), None)
        event = event or next((f for f in times if f.name in key), None)
        event = event or next((f for f in times if f.use.get("required")), None)
        physical = self.node.text("physicalName") or dataset_id
        if self.shared.source_kind == "stream" and event is not None:
            event.use["required"] = True
            cadence = said.get("frequency", said.get("latency", "1 min"))
            stream = {"event_time": event.name, "watermark": cadence, "cadence": cadence, "dedupe": "24 h"}
            self.notes.append(
                f"{self.node.where()}: watermark, dedupe and rebuild are not said by ODCS: look at `stream`"
            )
            source: dict[str, Any] = {"stream": {**stream, "rebuild": "7 d"}}
            latency = said.get("latency", cadence)
        else:
            if self.shared.source_kind == "stream":
                self.notes.append(f"{self.node.where()}: a stream needs a required timestamp, so a table is assumed")
            latency = said.get("latency", "2 d")
            schedule = said.get("schedule") or _schedule(latency)
            schema = spelled(self.shared.source_schema or self.shared.domain)
            table = spelled(physical.rpartition(".")[2])
            name, note = likely_source(self.shared.registry, self.shared.owner, schema)
            self.notes += [note] if note else []
            place = {"source": name, "schema": schema, "table": table}
            source = {"sector": {**place, "mode": "snapshot", "schedule": schedule}}
            self.notes.append(f"{self.node.where()}: how the table is read is not said by ODCS: look at `sector`")
        if "latency" not in said:
            self.notes.append(f"{self.node.where()}: no latency is promised; freshness {latency} is a guess")
        sla: dict[str, Any] = {"freshness": latency}
        if "completeness" in said:
            sla["completeness_pct"] = said["completeness"]
        kept = {"bronze": said.get("retention_bronze", "90 d"), "silver": said.get("retention", "5 years")}
        ends = {"end_date": said["end_date"]} if "end_date" in said else {}
        return {**source, **ends, "sla": sla, "retention": kept}

    def _promises(self, dataset_id: str) -> dict[str, Any]:
        """Service levels of this object; those that a contract has no place for are told."""
        said: dict[str, Any] = {}
        for node in self.shared.promises:
            name = str(node.data.get("property", ""))
            element = str(node.data.get("element") or "")
            layer, _, table = element.rpartition(".")
            if element and dataset_id not in {spelled(part) for part in element.split(".")}:
                if not any(spelled(part) in self._objects() for part in element.split(".")):
                    self.notes.append(f"{node.where()}: the service level of {element!r} is not taken over")
                continue
            value, unit = node.data.get("value"), str(node.data.get("unit") or "").lower()
            duration = f"{value} {_UNITS[unit]}" if isinstance(value, int) and unit in _UNITS else None
            if name in {"latency", "ly", "freshness"} and duration:
                said["latency"] = duration
                # The standard lets a latency name the column by which it is told.
                said["event_time"] = spelled(table) if layer else None
            elif name in {"frequency", "fy"} and duration:
                said["frequency"] = duration
            elif name in {"frequency", "fy"} and node.data.get("scheduler") == "cron" and node.data.get("schedule"):
                said["schedule"] = str(node.data["schedule"])
            elif name in {"retention", "re"} and duration:
                said["retention_bronze" if layer == "bronze" and table else "retention"] = duration
            elif name in {"endOfLife", "el"} and re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value)):
                said["end_date"] = str(value)
            elif name == "completeness" and unit in {"percent", "%"}:
                said["completeness"] = value
            else:
                shown = f"{value} {unit}".strip()
                self.notes.append(f"{node.where()}: the service level {name} = {shown} is not taken over")
        return said

    def _objects(self) -> set[str]:
        listed = self.node.source.data.get("schema")
        return (
            {spelled(str(o.get("name", ""))) for o in listed if isinstance(o, dict)}
            if isinstance(listed, list)
            else set()
        )

    def _custom(self, contract: dict[str, Any]) -> Iterator[str]:
        """Take over the custom properties that are keys of ours, and tell the others."""
        custom = {**self.shared.custom, **self.node.custom()}
        titles = {key: custom.pop(f"title_{key}", (None, None))[0] for key in ("vi", "en")}
        contract["title"] = {**contract["title"], **{key: str(text) for key, text in titles.items() if text}}
        for name, (value, where) in custom.items():
            if name == "systems" and isinstance(value, list):
                contract["systems"] = [item["id"] if isinstance(item, dict) else item for item in value]
            elif name in {"clauses", "data_class", "legal_basis", "personal_purpose", "qc", "supersedes", "unverified"}:
                contract[name] = value
            elif name == "written_by" and value in {"sources", "platform"} and "stream" in contract:
                contract["stream"]["written_by"] = value
            elif name == "retention_by" and isinstance(value, dict):
                contract["retention"]["by"] = value
            elif name == "classification" and value in CLASSIFICATIONS:
                contract["classification"] = max(value, contract["classification"], key=CLASSIFICATIONS.index)
            else:
                yield f"{where}: the custom property {name} is not taken over"

    # ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _fields(self, earlier: Sequence[Draft]) -> Iterator[_Field]:
        properties = self.node.nodes("properties")
        if not properties:
            self._refuse("an object has no properties", "properties", hint="list at least its key")
        taken: set[str] = set()
        for node in properties:
            name = node.text("name")
            if not name:
                self._refuse("a property has no name", hint="name it", node=node)
                continue
            # A mart may have such a column as its own field; what the platform adds is in no key and has no class
            # of ours.
            is_own = node.data.get("primaryKey") or node.data.get("classification") in CLASSIFICATIONS
            if spelled(name) in system.TYPES and not is_own:
                self.notes.append(f"{node.where()}: the platform adds the column {name!r} to every row itself")
                continue
            if node.data.get("transformSourceObjects") and node.data.get("partitioned") and name.endswith("_date"):
                self.derived_partition = spelled(name)
                continue
            kind = self._kind(node, name)
            found = self._field(node, name, kind, taken) if kind else None
            if found:
                taken.add(found.name)
                self._reference(node, found, earlier)
                self.notes.extend(node.leftovers())
                yield found

    def _kind(self, node: _Node, name: str) -> LogicalType | None:
        """The logical type of a property; None, told or refused, when it has no place in a flat row."""
        logical = str(node.take("logicalType") or "").lower()
        physical = str(node.take("physicalType") or "").lower()
        options = node.data.get("logicalTypeOptions") or {}
        form = str(options.get("format", "")) if isinstance(options, dict) else ""
        kind = _logical(logical, physical, form)
        if kind is not None:
            return kind
        if logical in {"object", "array", "time"}:
            if node.data.get("primaryKey"):
                message = f"the key {name!r} is of type {logical}, which has no place in a flat row"
                self._refuse(message, "logicalType", node=node, hint="flatten it into properties of its own")
            else:
                self.notes.append(f"{node.where()}: property {name!r} is of type {logical} and left out: rows are flat")
            return None
        said = f"type {logical or physical!r}" if logical or physical else "no type"
        hint = "allowed logicalType: string, boolean, integer, number, date, timestamp"
        self._refuse(f"property {name!r} has {said}", "logicalType", node=node, hint=hint)
        return None

    def _field(self, node: _Node, name: str, kind: LogicalType, taken: set[str]) -> _Field | None:
        custom = node.custom()
        found = Vocabulary(self.registry.dictionary).find(name)
        known = self.registry.dictionary[found] if found else None
        if found and found in taken:
            self._refuse(f"two properties are the field {found!r}", "name", node=node, hint="rename or leave out one")
            return None
        entry: dict[str, Any] | None = None
        if known is None:
            found, entry = proposed_entry(name, kind, taken={*self.registry.dictionary, *taken})
            self._describe(node, custom, entry)
        assert found is not None
        if known is not None and not _agree(kind, known.type):
            message = f"property {name!r} is {kind}, the field {found!r} of the dictionary is {known.type}"
            hint = "a field has one type everywhere: rename the property, or change its type"
            self._refuse(message, "logicalType", node=node, hint=hint)
        if found != name:
            self.notes.append(f"{node.where('name')}: property {name!r} is the field {found!r}")
        self.names[name] = found
        is_key = bool(node.take("primaryKey"))
        position = node.take("primaryKeyPosition")
        use: dict[str, Any] = {"required": True} if node.take("required") or is_key else {}
        self._limits(node, custom, known, entry, use, found)
        is_coded = "code_list" in (use if entry is None else entry) or (
            known is not None and known.code_list is not None
        )
        for rule in node.nodes("quality"):
            # What the codes may be is said by the code list of the field.
            if not (is_coded and _is_codes(rule)):
                self._rule(rule, found)
        if node.take("unique") and not is_key:
            self._add_rule({"rule": "unique", "fields": [found]}, node.where("unique"))
        partitioned, partition = bool(node.take("partitioned")), node.take("partitionKeyPosition")
        classification = self._classification(node, known, entry)
        self._known_texts(node, custom, known)
        for same in ("id", "physicalName"):
            if node.data.get(same) == name:
                node.take(same)
        return _Field(
            name=found,
            use=use,
            entry=entry,
            kind=known.type if known else kind,
            key_position=(position if isinstance(position, int) and position > 0 else 10_000) if is_key else None,
            partition_position=(partition if isinstance(partition, int) else 10_000) if partitioned else None,
            classification=classification,
        )

    def _describe(self, node: _Node, custom: dict[str, tuple[Any, Location]], entry: dict[str, Any]) -> None:
        """Fill a new entry of the dictionary with what the file says of the property."""
        if title := node.text("businessName"):
            entry["title"] = _both(title)
        if description := node.text("description"):
            entry["description"] = _both(description)
        else:
            self.notes.append(f"{node.where()}: no description is given; write one in schemas/fields.yaml")
        if unit := custom.pop("unit", (None, None))[0]:
            entry["unit"] = str(unit)
        if custom.pop("free_text", (None, None))[0]:
            entry["free_text"] = True
        token = custom.pop("token_of", (None, None))[0]
        if isinstance(token, dict):
            entry["tokenise"] = token

    def _known_texts(self, node: _Node, custom: dict[str, tuple[Any, Location]], known: FieldDefinition | None) -> None:
        """The dictionary's own words stand; what differs in meaning is told."""
        if known is not None:
            node.take("businessName")
            node.take("description")
            unit = custom.pop("unit", (None, None))
            if unit[0] and unit[0] != known.unit:
                self.notes.append(f"{unit[1]}: the unit {unit[0]!r} is {known.unit!r} in the dictionary")
            for said_there in ("free_text", "token_of"):
                custom.pop(said_there, None)
        custom.pop("published", None)
        for name, (_, where) in custom.items():
            self.notes.append(f"{where}: the custom property {name} is not taken over")

    def _classification(self, node: _Node, known: FieldDefinition | None, entry: dict[str, Any] | None) -> str:
        said = str(node.take("classification") or "").lower()
        level = _CLASSES.get(said)
        if said and level is None:
            self.notes.append(
                f"{node.where('classification')}: classification {said!r} is not known; internal is taken"
            )
        if known is not None:
            if level and level != known.classification:
                message = f"classification {said} is {known.classification} in the dictionary"
                self.notes.append(f"{node.where('classification')}: {message}")
            return known.classification
        assert entry is not None
        if level and entry["classification"] != "personal":
            entry["classification"] = level
        return str(entry["classification"])

    def _limits(
        self,
        node: _Node,
        custom: dict[str, tuple[Any, Location]],
        known: FieldDefinition | None,
        entry: dict[str, Any] | None,
        use: dict[str, Any],
        name: str,
    ) -> None:
        """Range, code list and pattern: in a new entry of the dictionary, or where this dataset differs."""
        options = node.node("logicalTypeOptions")
        for ignored in ("format", "timezone", "defaultTimezone"):
            options.take(ignored)
        target = use if entry is None else entry
        for limit in ("minimum", "maximum"):
            value = options.take(limit)
            value = custom.pop(limit, (value, None))[0] if limit in custom else value
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if known is None or getattr(known, limit) != value:
                target[limit] = value
        pattern = options.take("pattern")
        if pattern:
            self._add_rule({"rule": "pattern", "field": name, "pattern": str(pattern)}, options.where("pattern"))
        code_list = custom.pop("code_list", (None, None))
        if code_list[0]:
            lists = {one.id for one in self.registry.code_lists}
            if code_list[0] not in lists:
                self.notes.append(f"{code_list[1]}: the code list {code_list[0]!r} does not exist")
            elif known is None or known.code_list != code_list[0]:
                target["code_list"] = code_list[0]
        self.notes.extend(options.leftovers())

    def _reference(self, node: _Node, found: _Field, earlier: Sequence[Draft]) -> None:
        keys = {d.id: d.key for d in self.registry.datasets} | {d.id: tuple(d.contract["key"]) for d in earlier}
        for relation in node.nodes("relationships"):
            to = relation.take("to")
            relation.take("type")
            parts = re.split(r"[./#]+", str(to)) if isinstance(to, str) else []
            names = [spelled(part) for part in parts if part]
            target = next((n for n in names if n in keys and names[-1] in keys[n]), None)
            if target and "references" not in found.use:
                found.use["references"] = f"{target}.{names[-1]}"
            else:
                message = f"the relationship to {to!r} leads to no key of a dataset and is not taken over"
                self.notes.append(f"{relation.where()}: {message}")

    # ── quality ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _rule(self, node: _Node, name: str | None) -> None:
        """Take over a check of the standard's library where a rule here says the same; tell any other."""
        rule = _library_rule(node.data, name, self.names)
        if rule is None:
            said = node.data.get("name") or node.data.get("id") or node.data.get("metric") or node.data.get("type")
            self.notes.append(f"{node.where()}: the quality check {said!r} is not taken over")
        else:
            for key in _RULE_KEYS:
                node.take(key)
            self.notes.extend(node.leftovers())
            self._add_rule(rule, node.where())

    def _add_rule(self, rule: dict[str, Any], where: Location) -> None:
        try:
            _RULE.validate_python(rule)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.notes.append(f"{where}: the rule {rule['rule']} is not taken over: {reason}")
            return
        if rule not in self.rules:
            self.rules.append(rule)


def _by_key(item: _Field) -> int:
    return item.key_position or 0


def _by_partition(item: _Field) -> int:
    return item.partition_position or 0


def _logical(logical: str, physical: str, form: str) -> LogicalType | None:
    """The type that a property's words mean; v3.0 calls an instant a date whose format or column has a time."""
    word = logical or re.split(r"[\s(]", physical)[0]
    has_time = "timestamp" in physical or "datetime" in physical or bool(re.search(r"[HhT]", form))
    if word in {"timestamp", "timestamptz", "datetime"} or (word == "date" and has_time):
        return parse("timestamp")
    if word in {"string", "varchar", "text", "char", "uuid"}:
        return parse("string")
    if word in {"boolean", "bool"}:
        return parse("boolean")
    if word == "date":
        return parse("date")
    if word in {"integer", "int", "bigint", "long", "smallint", "int4", "int8"}:
        is_big = form == "i64" or physical in {"bigint", "long", "int8"} or word in {"bigint", "long", "int8"}
        return parse("bigint" if is_big else "integer")
    if word in {"number", "decimal", "numeric", "double", "float", "real"}:
        match = _PRECISE.search(physical)
        if match:
            return LogicalType("decimal", int(match[1]), int(match[2] or 0))
        return parse("double")
    return None


def _agree(found: LogicalType, known: LogicalType) -> bool:
    return found.name == known.name or (found.is_numeric and known.is_numeric)


def _schedule(latency: str) -> str:
    """How often a table must be read to be as fresh as promised."""
    number, unit = latency.split(" ")
    if unit in {"d", "months", "years"}:
        return "0 2 * * *"
    return "0 * * * *" if unit == "h" else f"*/{max(1, min(int(number), 30))} * * * *" if unit == "min" else "* * * * *"


def _is_codes(data: _Node) -> bool:
    arguments = data.data.get("arguments")
    return data.data.get("metric") == "invalidValues" and isinstance(arguments, dict) and "validValues" in arguments


def _library_rule(data: Mapping[str, Any], name: str | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The rule that a library check means; None when there is no such rule here."""
    if data.get("type", "library") != "library":
        return None
    metric = str(data.get("metric") or data.get("rule") or "")
    arguments = data.get("arguments") if isinstance(data.get("arguments"), dict) else {}
    assert isinstance(arguments, dict)
    if metric == "rowCount" and name is None:
        least = data.get("mustBeGreaterOrEqualTo")
        more = data.get("mustBeGreaterThan")
        minimum = least if isinstance(least, int) else more + 1 if isinstance(more, int) else None
        return None if minimum is None else {"rule": "row_count", "minimum": minimum}
    none_allowed = data.get("mustBe") == 0 or data.get("mustBeLessOrEqualTo") == 0
    if metric in {"duplicateValues", "duplicateCount"} and none_allowed:
        listed = arguments.get("properties") or ([name] if name else [])
        fields = [names.get(str(n), spelled(str(n))) for n in listed]
        return {"rule": "unique", "fields": fields} if fields else None
    if name is None:
        return None
    if metric in {"nullValues", "missingValues", "nullCheck"}:
        if none_allowed:
            return {"rule": "completeness", "field": name, "minimum_pct": 100}
        most = data.get("mustBeLessOrEqualTo")
        if data.get("unit") == "percent" and isinstance(most, int | float):
            return {"rule": "completeness", "field": name, "minimum_pct": 100 - most}
        return None
    if metric == "invalidValues" and none_allowed:
        if "pattern" in arguments:
            whole = re.fullmatch(r"\^\(\?:(.*)\)\$", str(arguments["pattern"]))
            return {"rule": "pattern", "field": name, "pattern": whole[1] if whole else str(arguments["pattern"])}
        if arguments.get("validValues"):
            values = [str(value) for value in arguments["validValues"]]
            return {"rule": "share", "field": name, "values": values, "minimum_pct": 100}
    return None
