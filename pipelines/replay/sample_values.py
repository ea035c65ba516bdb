"""Draws the values of one field: by its generator, or by what the contract knows of it (codes, range, type, title).

Every field has a random number generator of its own, seeded by seed, dataset and field: adding a field to a contract
does not change the values of the others, and every machine draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipelines.contracts.model import (
    After,
    Choice,
    ContractField,
    Daily,
    Dataset,
    Number,
    Person,
    Product,
    SampleValue,
    Serial,
    Words,
)
from pipelines.contracts.registry import Registry
from pipelines.replay.sample_columns import (
    DAY_US,
    Array,
    Column,
    day_number,
    from_numbers,
    instant_us,
    limits,
    numbers,
    parse_text,
    storage,
    storage_type,
)
from pipelines.replay.sample_people import personal_values

FIRST, END = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 10, tzinfo=UTC)
"""The window of instants and days without a generator; readings of streams end at its end."""
_SPAN = 1000
_HUE_US = 7 * 3_600_000_000
_SECOND_US = 1_000_000
_NIGHT_S = 6 * 3600


@dataclass(frozen=True)
class Domain:
    """The values that a field can have, in storage, with their probabilities (sum 1); None: all alike."""

    values: Array
    weights: Array | None = None

    def draw(self, chance: np.random.Generator, count: int) -> Array:
        """`count` values by weight."""
        return self.values[chance.choice(len(self.values), size=count, p=self.weights)]


@dataclass(frozen=True)
class Setting:
    """What the draw of one field may look at: the columns drawn before it and the keys of the parents.

    `entity` is the number (from 0) of the entity of each row of a stream, None for a sector table. `fixed` are fields
    whose value belongs to the entity and not to the row.
    """

    registry: Registry
    dataset: Dataset
    seed: int
    rows: int
    domains: Mapping[str, Domain]
    drawn: Mapping[str, Column]
    entity: Array | None = None
    fixed: frozenset[str] = frozenset()


def chance_of(seed: int, dataset: str, field: str) -> np.random.Generator:
    """The random number generator of one field: a function of its arguments on every machine (never `hash`)."""
    digest = hashlib.sha256(f"{seed}|{dataset}|{field}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def generator(dataset: Dataset, field: str) -> SampleValue | None:
    """The generator that the contract gives a field; None where it gives none."""
    return dataset.sample.fields.get(field) if dataset.sample else None


def domain(
    registry: Registry, dataset: Dataset, field: ContractField, parents: Mapping[str, Mapping[str, Array]]
) -> Domain | None:
    """The closed set that a field draws from: its parent's keys, its choices, its code list, true and false.

    A reference wins over choices, so that a foreign key holds at every scale. None: the field has no closed set.

    Raises:
        ValueError: a choice is no value of the field's type.
    """
    own = generator(dataset, field.name)
    if field.references and field.references.dataset in parents:
        keys = parents[field.references.dataset][field.references.field]
        return Domain(keys) if len(keys) else None
    if isinstance(own, Choice):
        texts = list(own.values)
        weights = np.array([own.values[text] for text in texts], dtype=float)
        return Domain(storage(field.type, [parse_text(field.type, t) for t in texts]), weights / weights.sum())
    if own is not None:
        return None
    if codes := _code_list(registry, field):
        parsed = [parse_text(field.type, code) for code in registry.code_list(codes).codes]
        return Domain(storage(field.type, parsed))
    if field.type.name == "boolean":
        return Domain(np.array([False, True]))
    return None


def needs(registry: Registry, dataset: Dataset, field: ContractField) -> tuple[str, ...]:
    """The fields that must be drawn before this one, because its values or its conditions look at them."""
    own = generator(dataset, field.name)
    found = list(own.only_when) if own else []
    if isinstance(own, After | Product):
        found.append(own.field)
    if isinstance(own, Daily) and (clock := _clock(dataset)):
        found.append(clock)
    if own is None and (area := _area(registry, dataset, field)):
        found.append(area)
    if own is None and (day := _reported_day(dataset, field)):
        found.append(day)
    return tuple(dict.fromkeys(found))


def draw_values(setting: Setting, field: ContractField, attempt: int = 0) -> Array:
    """Values of one field for every row, in storage; whether a row is NULL is decided elsewhere.

    `attempt` numbers the redraws of the same field.

    Raises:
        ValueError: the generator does not fit the field's type.
    """
    name = field.name if attempt == 0 else f"{field.name}|{attempt}"
    chance = chance_of(setting.seed, setting.dataset.id, name)
    if field.name in setting.fixed and setting.entity is not None:
        entities = int(setting.entity.max()) + 1
        return _plain(setting, field, chance, entities)[setting.entity]
    own = generator(setting.dataset, field.name)
    if own is None or field.name in setting.domains:
        return _plain(setting, field, chance, setting.rows)
    return _DRAW[type(own)](setting, field, own, chance)


def is_by_row(value: SampleValue | None) -> bool:
    """Whether a generator writes the number of the row into its text, which makes it unique."""
    return isinstance(value, Serial) or (isinstance(value, Words) and all("{n}" in text for text in value.texts))


def serial_texts(value: Serial, count: int) -> Array:
    """The running numbers 1 … `count` behind the prefix, padded to their width."""
    digits = np.char.zfill(np.arange(1, count + 1).astype(str), value.width).astype(object)
    texts: Array = value.prefix + digits
    return texts


def typed(field: ContractField, texts: Array) -> Array:
    """Texts in the storage of a field.

    Raises:
        ValueError: a text is no value of the field's type.
    """
    if field.type.name == "string":
        return texts
    return storage(field.type, [parse_text(field.type, text) for text in texts])


def _plain(setting: Setting, field: ContractField, chance: np.random.Generator, count: int) -> Array:
    """Values without a generator."""
    if known := setting.domains.get(field.name):
        return known.draw(chance, count)
    if field.tokenise:
        return personal_values(field.tokenise.kind, chance, count)
    day = _reported_day(setting.dataset, field)
    if day and day in setting.drawn:
        # A day's figures are entered in the small hours of the next day.
        return (setting.drawn[day].values + 1) * DAY_US + chance.integers(_NIGHT_S, size=count) * _SECOND_US
    match field.type.name:
        case "timestamp":
            span_s = int((END - FIRST).total_seconds())
            return instant_us(FIRST) + chance.integers(span_s, size=count) * _SECOND_US
        case "date":
            return day_number(FIRST.date()) + chance.integers((END - FIRST).days + 1, size=count)
        case "string":
            return _titled(field, count)
        case _:
            return _between(setting, field, chance, count)


def _titled(field: ContractField, count: int) -> Array:
    texts: Array = f"{field.title.vi} " + np.arange(1, count + 1).astype(str).astype(object)
    return texts


def _between(setting: Setting, field: ContractField, chance: np.random.Generator, count: int) -> Array:
    """Uniform within the field's range, or within the extent of the row's ward for a coordinate."""
    area = _area(setting.registry, setting.dataset, field)
    if area and area in setting.drawn:
        low, high = _extent(setting, field, area)
    else:
        bottom = 0.0 if field.minimum is None else float(field.minimum)
        top = bottom + _SPAN if field.maximum is None else float(field.maximum)
        # A range of ten million says what is possible, not what is usual.
        low, high = np.full(count, bottom), np.full(count, min(top, bottom + _SPAN))
    return from_numbers(field, low + chance.random(count) * (high - low))


def _extent(setting: Setting, field: ContractField, area: str) -> tuple[Array, Array]:
    """The limits of a coordinate in each row's ward: from the columns `min_…` and `max_…` of its code list."""
    rows = setting.registry.code_list(str(setting.dataset.field(area).code_list))
    at = {str(row[rows.key]): index for index, row in enumerate(rows.rows)}
    low = np.array([float(row[f"min_{field.name}"]) for row in rows.rows])
    high = np.array([float(row[f"max_{field.name}"]) for row in rows.rows])
    codes, inverse = np.unique(setting.drawn[area].values.astype(str), return_inverse=True)
    places = np.array([at[code] for code in codes])[inverse]
    return low[places], high[places]


def _choice(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    return setting.domains[field.name].draw(chance, setting.rows)


def _number(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    first, second = own.parameters
    match own.kind:
        case "uniform":
            values = chance.uniform(first, second, setting.rows)
        case "normal":
            values = chance.normal(first, second, setting.rows)
        case _:
            values = first * np.exp(second * chance.standard_normal(setting.rows))
    return from_numbers(field, values)


def _daily(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    clock = _clock(setting.dataset)
    if clock is None:
        hours = np.arange(setting.rows) % 24.0
    else:
        moments = setting.drawn[clock]
        local = moments.values + _HUE_US if moments.kind.name == "timestamp" else moments.values * DAY_US
        hours = local % DAY_US / 3_600_000_000
    wave = own.mean + own.amplitude * np.cos((hours - own.peak_hour) * (2 * np.pi / 24))
    return from_numbers(field, wave + own.sd * chance.standard_normal(setting.rows))


def _serial(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    return typed(field, serial_texts(own, setting.rows))


def _after(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    base = setting.drawn[own.field]
    if field.type.name not in {"date", "timestamp"} or base.kind.name not in {"date", "timestamp"}:
        raise ValueError("`after` needs two days or instants")
    second = timedelta(seconds=1)
    if field.type.name == "date":
        # The day of an instant is the day in Huế.
        days = base.values if base.kind.name == "date" else (base.values + _HUE_US) // DAY_US
        first = -(-own.earliest // timedelta(days=1))
        last = max(first, own.latest // timedelta(days=1))
        return days + chance.integers(first, last, size=setting.rows, endpoint=True)
    moments = base.values * DAY_US if base.kind.name == "date" else base.values
    first, last = own.earliest // second, own.latest // second
    return moments + chance.integers(first, max(first, last), size=setting.rows, endpoint=True) * _SECOND_US


def _product(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    low, high = own.factor
    return from_numbers(field, numbers(setting.drawn[own.field]) * chance.uniform(low, high, setting.rows))


def _person(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    return personal_values(field.tokenise.kind if field.tokenise else "name", chance, setting.rows)


def _words(setting: Setting, field: ContractField, own: Any, chance: np.random.Generator) -> Array:
    row_numbers = np.arange(1, setting.rows + 1).astype(str).astype(object)
    chosen = chance.integers(len(own.texts), size=setting.rows)
    texts = np.empty(setting.rows, dtype=object)
    for index, pattern in enumerate(own.texts):
        rows = chosen == index
        head, *tail = pattern.split("{n}")
        built: Array = np.full(int(rows.sum()), head, dtype=object)
        for part in tail:
            built = built + row_numbers[rows] + part
        texts[rows] = built
    return typed(field, texts)


_DRAW: dict[type, Callable[[Setting, ContractField, Any, np.random.Generator], Array]] = {
    Choice: _choice,
    Number: _number,
    Daily: _daily,
    Serial: _serial,
    After: _after,
    Product: _product,
    Person: _person,
    Words: _words,
}


def key_domain(setting: Setting, field: ContractField, others: int) -> Domain:
    """The closed set of a key field that has none: enough days or minutes for `others` combinations each, a range of
    whole numbers, or what the generator happens to draw.

    Days reach back from the end of the window: as many as the rows need, at most ten years.
    """
    if generator(setting.dataset, field.name) is None and not field.references:
        wanted = -(-setting.rows // max(1, others))
        if field.type.name == "date":
            count = min(3650, max((END - FIRST).days + 1, wanted))
            return Domain(day_number(END.date()) - np.arange(count)[::-1])
        if field.type.name == "timestamp":
            count = int((END - FIRST) / timedelta(minutes=1))
            return Domain(instant_us(FIRST) + np.arange(count) * 60 * _SECOND_US)
        low, high = limits(field)
        if field.minimum is not None and field.maximum is not None and high - low < 100_000:
            return Domain(np.arange(low, high + 1).astype(storage_type(field.type)))
    return Domain(np.unique(draw_values(setting, field)))


def _code_list(registry: Registry, field: ContractField) -> str | None:
    """The code list of a field, or of the field it refers to."""
    if field.code_list or not field.references:
        return field.code_list
    known = {d.id: d for d in registry.datasets}
    target = known.get(field.references.dataset)
    return target.field(field.references.field).code_list if target else None


def _area(registry: Registry, dataset: Dataset, field: ContractField) -> str | None:
    """The coded field of the same row whose list knows the extent of this coordinate, such as the ward."""
    if not field.type.is_numeric or field.unit is None:
        return None
    for other in dataset.fields:
        if other.code_list and {f"min_{field.name}", f"max_{field.name}"} <= {
            c.name for c in registry.code_list(other.code_list).columns
        }:
            return other.name
    return None


def _reported_day(dataset: Dataset, field: ContractField) -> str | None:
    """The day in the key of a sector table that its cursor `field` cannot be older than."""
    if dataset.sector is None or field.type.name != "timestamp" or field.name in dataset.key:
        return None
    if field.name not in {dataset.sector.cursor, "updated_at"}:
        return None
    return next((name for name in dataset.key if dataset.field(name).type.name == "date"), None)


def _clock(dataset: Dataset) -> str | None:
    """The field whose hour a daily value follows."""
    if dataset.event_time:
        return dataset.event_time
    return next((f.name for f in dataset.fields if f.type.name == "timestamp"), None)
