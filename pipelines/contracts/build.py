"""Everything that is generated as a committed file: one ordered table of targets, rendered together.

``lake contracts build`` writes it, ``lake contracts check`` and the drift test compare it with the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import (
    asyncapi,
    dbt,
    dcat,
    documentation,
    great_expectations,
    json_schema,
    odcs,
    openapi,
    rule_support,
    scenarios,
)


class FileTarget(Protocol):
    """A module, as a rule of :mod:`pipelines.contracts.targets`, whose output is committed.

    ``FOLDERS``, relative to the project root, are those in which a generated file that nobody asks for is an orphan.
    """

    @property
    def TARGET(self) -> str:
        """The name of the target."""
        ...

    @property
    def FOLDERS(self) -> tuple[str, ...]:
        """Its folders."""
        ...

    def render(self, registry: Registry) -> Mapping[str, str]:
        """Every file of the target: path relative to the project root → text, which carries the mark.

        Raises:
            Untranslatable: a contract holds what the target cannot express.
        """
        ...


TARGETS: tuple[FileTarget, ...] = (
    dbt,
    great_expectations,
    odcs,
    json_schema,
    openapi,
    asyncapi,
    dcat,
    documentation,
    rule_support,
    scenarios,
)
"""Every target that writes files, in the order in which they are rendered; a new one is a line here."""

FOLDERS: tuple[str, ...] = tuple(sorted({folder for target in TARGETS for folder in target.FOLDERS}))
"""All folders with generated files of these targets."""


def render(registry: Registry, others: Iterable[FileTarget] = ()) -> dict[str, str]:
    """Every generated file of every target: path relative to the project root → text.

    ``others`` are targets of packages that import this one.

    Raises:
        Untranslatable: a contract holds what a target cannot express.
        ValueError: two targets want the same path.
    """
    files: dict[str, str] = {}
    for target in (*TARGETS, *others):
        for path, text in target.render(registry).items():
            if path in files:
                raise ValueError(f"{target.TARGET} renders {path}, which another target renders too")
            files[path] = text
    return files
