"""Which column of a file is which column of the source: by heading, as the layout maps it, else by name, else by title.

What is missing, unknown or there twice is told, not judged: a file and a table of a database drift by the same rules,
and those are the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.contracts.file_layout import FileLayout, same_heading
from pipelines.ingestion.files.values import Wanted

JOINT = " / "
MOST_COLUMNS = 16_384


@dataclass(frozen=True)
class Matched:
    """The columns of a file against those that are wanted.

    `positions` gives the place (from 0) of each wanted column that was found once. `missing` are wanted and not there;
    `unknown` are headings that nobody asked for; `duplicates` are columns that several headings mean, or headings that
    stand twice: none of these is read. `unnamed` are places (from 1) without a heading. `unfit` are sentences on
    columns whose type cannot be what is wanted (Parquet only).
    """

    positions: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    unnamed: tuple[int, ...] = ()
    unfit: tuple[str, ...] = ()


def joined(parts: Sequence[str]) -> str:
    """One heading of the cells above a column; a cell that is merged downwards counts once."""
    kept: list[str] = []
    for part in parts:
        plain = same_heading(part, fold=False)
        if plain and (not kept or same_heading(kept[-1]) != same_heading(plain)):
            kept.append(plain)
    return JOINT.join(kept)


def names_of(wanted: Sequence[Wanted], layout: FileLayout) -> dict[str, str]:
    """Compared heading → the wanted column that it means; the layout's own word counts first."""
    known = {same_heading(column.title): column.name for column in wanted if column.title}
    known |= {same_heading(column.name): column.name for column in wanted}
    asked = {column.name for column in wanted}
    return known | {same_heading(text): name for text, name in layout.columns.items() if name in asked}


def match(headings: Sequence[str], wanted: Sequence[Wanted], layout: FileLayout) -> Matched:
    """Hold the headings of a file against the wanted columns."""
    names = names_of(wanted, layout)
    compared = [same_heading(heading) for heading in headings]
    counts = Counter(compared)
    places: dict[str, list[int]] = {}
    unknown, doubled = [], []
    for place, heading in enumerate(compared):
        if heading in names:
            places.setdefault(names[heading], []).append(place)
        elif heading and counts[heading] > 1:
            doubled.append(headings[place])
        elif heading:
            unknown.append(headings[place])
    several = [column.name for column in wanted if len(places.get(column.name, ())) > 1]
    return Matched(
        positions={column.name: places[column.name][0] for column in wanted if len(places.get(column.name, ())) == 1},
        missing=tuple(column.name for column in wanted if column.name not in places),
        unknown=tuple(unknown),
        duplicates=(*several, *dict.fromkeys(doubled)),
        unnamed=tuple(place for place, heading in enumerate(compared, 1) if not heading),
    )
