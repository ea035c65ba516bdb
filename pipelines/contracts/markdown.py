"""Markdown that is read in the repository: tables whose cells hold any sentence, sections that may be empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; the cells are Markdown already, see :func:`escape`."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def names(listed: Iterable[str]) -> str:
    """Names of fields or codes, as code."""
    return ", ".join(f"`{name}`" for name in listed)


def escape(text: str) -> str:
    """Keep a sentence one cell of a table and its signs what they are."""
    text = " ".join(text.split())
    for sign in ("\\", "|", "*", "<", "`"):
        text = text.replace(sign, f"\\{sign}")
    return text


def section(title: str, text: str | None) -> Iterator[str]:
    """A heading with its text; nothing where there is no text."""
    if text:
        yield f"## {title}"
        yield text


def joined(parts: Iterable[str]) -> str:
    """The text of a page: its parts with a blank line between."""
    return "\n\n".join(parts) + "\n"
