"""Texts that match a regular expression of the contracts: one per number, the same at every run."""

from __future__ import annotations

import re
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

_LETTERS = digits + ascii_uppercase + ascii_lowercase
_WIDTH = 4
"""An open repetition of one character is written so long that thousands of numbers differ."""


def matching(pattern: str, number: int) -> str:
    """A text that `pattern` matches as a whole; small numbers give different texts where the pattern allows it.

    Raises:
        NotImplementedError: the pattern uses what no contract has used so far.
    """
    text = _sequence(_parser.parse(pattern), number)
    assert re.fullmatch(pattern, text), f"{text!r} does not match {pattern!r}"
    return text


def _sequence(parts: Any, number: int) -> str:
    return "".join(_part(kind, given, number) for kind, given in parts)


def _part(kind: Any, given: Any, number: int) -> str:
    if kind is c.LITERAL:
        return chr(given)
    if kind in {c.IN, c.ANY, c.NOT_LITERAL}:
        return _characters(kind, given)[0]
    if kind is c.SUBPATTERN:
        return _sequence(given[3], number)
    if kind is c.BRANCH:
        return _sequence(given[1][0], number)
    if kind is c.MAX_REPEAT:
        low, high, (inner, *more) = given
        if more or inner[0] not in {c.IN, c.ANY, c.NOT_LITERAL}:
            return _sequence(given[2], number) * low
        width = min(max(low, _WIDTH), high) if high > 1 else low
        return _digits(number, _characters(*inner), width)
    raise NotImplementedError(f"{kind} in a pattern: teach tests/patterns.py to write it")


def _characters(kind: Any, given: Any) -> str:
    """The letters and digits that a class allows, else its first character."""
    if kind is c.ANY:
        return _LETTERS
    if kind is c.NOT_LITERAL:
        return _LETTERS.replace(chr(given), "")
    is_negated = given[0][0] is c.NEGATE
    named: set[str] = set()
    for part, value in given[is_negated:]:
        if part is c.LITERAL:
            named.add(chr(value))
        elif part is c.RANGE:
            named |= {chr(code) for code in range(value[0], value[1] + 1)}
        else:
            raise NotImplementedError(f"{part} {value} in a class of characters")
    allowed = [letter for letter in _LETTERS if (letter in named) != is_negated]
    return "".join(allowed) or min(named)


def _digits(number: int, letters: str, width: int) -> str:
    written = ""
    for _ in range(width):
        number, digit = divmod(number, len(letters))
        written = letters[digit] + written
    return written
