"""Lineage of the marts, read from the dbt models themselves.

The models are rendered with the project's own macros and variables; ``ref`` and ``source`` give names instead of
relations, so that neither dbt nor a warehouse nor a run has to be there.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from jinja2.exceptions import TemplateError
from sqlglot import exp

from pipelines.contracts.registry import Registry
from pipelines.publishing.lineage.recorder import Recorder
from pipelines.publishing.lineage.sql import Relation, Untraceable, parse, select

_MACRO = re.compile(r"\{%-?\s*macro\s+(\w+)\s*\(.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)
_OURS = frozenset({"source", "ref", "lake_has"})


@dataclass(frozen=True)
class Project:
    """The SQL of a dbt project on disk."""

    folder: Path

    @cached_property
    def models(self) -> Mapping[str, Path]:
        """Name of a model → its file."""
        return {path.stem: path for path in sorted((self.folder / "models").rglob("*.sql"))}

    @cached_property
    def _macros(self) -> Mapping[str, str]:
        """Name of a macro of the project → its text; not those that are ours here."""
        files = sorted((self.folder / "macros").rglob("*.sql"))
        found = [match for path in files for match in _MACRO.finditer(path.read_text(encoding="utf-8"))]
        return {match[1]: match[0] for match in found if match[1] not in _OURS}

    def _called(self, text: str) -> str:
        """The macros that a template calls, those that they call first: the generated ones are too long for each."""
        found: dict[str, str] = {}

        def collect(part: str) -> None:
            for name, macro in self._macros.items():
                if name not in found and re.search(rf"\b{name}\s*\(", part):
                    found[name] = macro
                    collect(macro)

        collect(text)
        return "\n".join(reversed(found.values()))

    @cached_property
    def _variables(self) -> Mapping[str, Any]:
        data = yaml.safe_load((self.folder / "dbt_project.yml").read_text(encoding="utf-8"))
        return dict(data.get("vars") or {})

    def sql(self, model: str, held: Container[str] | None = None) -> str:
        """The SELECT of a model; a source is named ``<source>__<table>``, a model by its name. Of what a mart may read,
        it reads what is ``held``; None: everything.

        Raises:
            Untraceable: the model does not exist, or its template cannot be rendered.
        """
        path = self.models.get(model)
        if path is None:
            raise Untraceable(f"dbt has no model {model}")
        environment = Environment(  # noqa: S701 - SQL, not HTML
            extensions=["jinja2.ext.do"], undefined=StrictUndefined
        )
        given = {
            "ref": lambda name: name,
            "source": lambda source, table: f"{source}__{table}",
            "lake_has": lambda source, table: held is None or f"{source}__{table}" in held,
            "var": lambda name, default=None: self._variables.get(name, default),
            "config": lambda **_: "",
            # As while dbt parses: macros then ask for nothing that only a run knows.
            "execute": False,
        }
        try:
            text = path.read_text(encoding="utf-8")
            template = environment.from_string(self._called(text) + text)
            return template.render(given).strip()
        except TemplateError as error:
            raise Untraceable(f"{path.name} is not rendered: {error}") from error


def record_marts(recorder: Recorder, registry: Registry, project: Project) -> None:
    """Record the edges of every mart; a model that cannot be followed leaves edges between tables.

    Staging models are ephemeral: they are followed through, and stand nowhere in the lineage.
    """
    known: dict[str, Relation] = {}
    for dataset in registry.datasets:
        layer = dataset.layer
        known[dataset.id if dataset.mart else f"{layer}__{dataset.id}"] = recorder.relation(f"{layer}.{dataset.id}")
    for code_list in registry.code_lists:
        known[f"silver__code_{code_list.id}"] = recorder.relation(f"silver.code_{code_list.id}")
    for mart in registry.marts():
        target, process = f"gold.{mart.id}", f"dbt {mart.id}"
        try:
            relation = _model(mart.id, known, project, ())
            lacking = sorted(mart.has - set(relation.columns))
            if lacking:
                raise Untraceable(f"the model has no column {', '.join(lacking)}")
            recorder.select(target, {item.name: item.name for item in mart.fields}, relation, process)
        except Untraceable as error:
            inputs = [_input(registry, name) for name in (mart.mart.inputs if mart.mart else ())]
            recorder.untraced(process, str(error), inputs, target, process)


def _model(name: str, known: dict[str, Relation], project: Project, within: tuple[str, ...]) -> Relation:
    """Follow a model; the ephemeral models that it reads are followed first and remembered."""
    if name in within:
        raise Untraceable(f"models in a circle: {' -> '.join((*within, name))}")
    query = parse(project.sql(name, known))
    for table in query.find_all(exp.Table):
        if table.name not in known and table.name in project.models:
            known[table.name] = _model(table.name, known, project, (*within, name))
    return select(query, known)


def _input(registry: Registry, name: str) -> str:
    layers = {dataset.id: dataset.layer for dataset in registry.datasets}
    return f"{layers.get(name, 'silver')}.{name}"
