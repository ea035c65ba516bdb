"""Errors of the contract system: each says what, where, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A place in a schema file; ``line`` counts from 1, 0 when the file as a whole is meant."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """Render as ``file:line``, the form that editors and CI annotations understand."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Finding:
    """What one validator found: the sentence, where in the file, and what to do."""

    message: str
    pointer: tuple[str | int, ...] = ()
    hint: str = ""


class ContractError(Exception):
    """One finding in a contract, code list or field dictionary."""

    def __init__(self, message: str, *, where: Location, dataset: str = "", hint: str = "") -> None:
        """Keep the parts apart so that a command can print them as text or as JSON."""
        self.message, self.where, self.dataset, self.hint = message, where, dataset, hint
        subject = f"{dataset}: " if dataset else ""
        remedy = f" ({hint})" if hint else ""
        super().__init__(f"{where}: {subject}{message}{remedy}")


class ContractErrors(Exception):
    """Every finding of one load or check, so that nobody mends them one by one."""

    def __init__(self, errors: Iterable[ContractError]) -> None:
        """Sort by place, the order in which a person reads the files."""
        self.errors = tuple(sorted(errors, key=lambda e: (e.where.file, e.where.line, e.message)))
        super().__init__("\n".join(str(e) for e in self.errors))


class Untranslatable(Exception):
    """A target cannot express a part of a contract; it is refused, never dropped."""

    def __init__(self, dataset: str, rule: str, target: str, reason: str) -> None:
        """Name the dataset, its rule, the target and why."""
        self.dataset, self.rule, self.target, self.reason = dataset, rule, target, reason
        super().__init__(f"{dataset}: {target} cannot express {rule}: {reason}")
