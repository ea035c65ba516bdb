"""Synthetic sample tables made from the contracts: seeded, consistent across datasets, and within every quality rule.

A table has the source's columns: clear personal values where the contract has a token. Times are UTC. The same seed
and scale give the same table on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts.model import (
    Choice,
    ContractField,
    Dataset,
    RequiredTogether,
    RowCount,
    Serial,
    Total,
    Unique,
)
from pipelines.contracts.registry import Registry
from pipelines.replay import sector_data
from pipelines.replay.sample_columns import Array, Column, from_arrow, instant_us
from pipelines.replay.sample_keys import capacity, distinct
from pipelines.replay.sample_rules import (
    attainable_rows,
    duplicated,
    fill_completeness,
    make_totals,
    order_comparisons,
    refuse,
    steer_shares,
    violations,
)
from pipelines.replay.sample_values import (
    END,
    Domain,
    Setting,
    chance_of,
    domain,
    draw_values,
    generator,
    is_by_row,
    key_domain,
    needs,
    serial_texts,
    typed,
)

DEFAULT_ROWS, DEFAULT_ENTITIES = 100, 10
"""The rows at scale 1 of a dataset without a `sample` block, and the entities of such a stream."""
_REDRAWS = 60

Keys = dict[str, Array]
"""The distinct values of a parent's key fields, in storage."""
Clear = Callable[[Registry, int, float], list[sector_data.Row]]


def _tickets(registry: Registry, seed: int, scale: float) -> list[sector_data.Row]:
    return sector_data.tickets(registry, seed, max(1, round(sector_data.TICKETS * scale)))


def _assets(registry: Registry, seed: int, scale: float) -> list[sector_data.Row]:
    return sector_data.assets(registry, seed, max(1, round(sector_data.ASSETS * scale)))


def _prices(registry: Registry, seed: int, scale: float) -> list[sector_data.Row]:
    register = next((d for d in registry.datasets if d.id == sector_data.FACILITY_REGISTER), None)
    count = max(1, round(sector_data.FACILITIES * scale))
    # Prices of facilities that the register does not have would be orphans.
    return sector_data.prices(registry, seed, min(count, _target(register, scale)) if register else count)


CALIBRATED: Mapping[str, Clear] = {"feedback_ticket": _tickets, "road_asset": _assets, "med_price": _prices}
"""The datasets whose rows are written by hand after published baselines: they take the place of drawn ones."""


@dataclass(frozen=True)
class Drawn:
    """The sample of one dataset."""

    dataset: Dataset
    table: pa.Table


def source_schema(dataset: Dataset) -> pa.Schema:
    """The Arrow schema of the source's columns, in contract order."""
    return pa.schema([(f.source_name, f.type.arrow) for f in dataset.fields])


def can_be_drawn(dataset: Dataset) -> bool:
    """Whether a dataset comes from outside: a sector table or a stream, not what the platform computes."""
    return dataset.sector is not None or dataset.stream is not None


def draw_order(registry: Registry, wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted datasets and all that they refer to, parents first and otherwise by id.

    Raises:
        KeyError: an unknown dataset.
        LakeError: datasets refer to each other in a circle.
    """
    order: dict[str, None] = {}

    def visit(dataset_id: str, path: tuple[str, ...]) -> None:
        if dataset_id in order:
            return
        dataset = registry.dataset(dataset_id)
        if dataset_id in path:
            circle = " → ".join((*path[path.index(dataset_id) :], dataset_id))
            raise refuse(registry, dataset, f"cannot be drawn: its references go in a circle ({circle})")
        for parent in _parents(registry, dataset):
            visit(parent, (*path, dataset_id))
        order[dataset_id] = None

    for dataset_id in sorted(wanted):
        visit(dataset_id, ())
    return tuple(order)


def draw_all(registry: Registry, seed: int, scale: float, wanted: Iterable[str]) -> Iterator[Drawn]:
    """Draw the wanted datasets one after the other, parents first; parents that are not wanted are drawn silently.

    Only the keys of what was drawn are kept, so that one table at a time is in memory.

    Raises:
        LakeError: a sample contradicts its own contract.
        ValueError: a scale that is not positive.
    """
    asked = set(wanted)
    keys: dict[str, Keys] = {}
    for dataset_id in draw_order(registry, asked):
        dataset = registry.dataset(dataset_id)
        table = _draw(registry, dataset, seed, scale, keys)
        keys[dataset_id] = _keys(dataset, table)
        if dataset_id in asked:
            yield Drawn(dataset, table)


def draw(registry: Registry, dataset: Dataset, seed: int, scale: float, parents: Mapping[str, pa.Table]) -> pa.Table:
    """The sample of one dataset: its source's columns (:func:`source_schema`), `parents` by dataset id.

    A stream is in order of its event time. There are `sample.rows` × scale rows, at least one, and at most as many as
    the key has distinct values or a running number has digits for.

    Raises:
        LakeError: the sample contradicts its own contract; the text names dataset, rule and file.
        ValueError: a scale that is not positive.
    """
    return _draw(registry, dataset, seed, scale, {k: _keys(registry.dataset(k), t) for k, t in parents.items()})


def _draw(registry: Registry, dataset: Dataset, seed: int, scale: float, parents: Mapping[str, Keys]) -> pa.Table:
    if not scale > 0:
        raise ValueError("the scale is a positive number")
    if dataset.id in CALIBRATED:
        return pa.Table.from_pylist(CALIBRATED[dataset.id](registry, seed, scale), schema=source_schema(dataset))
    try:
        drawn = _Draw(registry, dataset, seed, scale, parents).run()
    except ValueError as error:
        raise refuse(registry, dataset, f"cannot be drawn: {error}") from error
    if broken := next(violations(registry, dataset, drawn, parents), None):
        raise refuse(registry, dataset, broken)
    return pa.table([drawn[f.name].arrow for f in dataset.fields], schema=source_schema(dataset))


def _target(dataset: Dataset, scale: float) -> int:
    """How many rows are wanted: by scale, as many as a rule demands, and no more than a running number counts."""
    rows = max(1, round((dataset.sample.rows if dataset.sample else DEFAULT_ROWS) * scale))
    rows = max([rows, *(rule.minimum for rule in dataset.quality if isinstance(rule, RowCount))])
    widths = [g.width for f in dataset.fields if isinstance(g := generator(dataset, f.name), Serial)]
    if not (dataset.stream and _is_by_entity(dataset)):
        rows = min([rows, *(10**width - 1 for width in widths)])
    return attainable_rows(dataset, rows)


def _is_by_entity(dataset: Dataset) -> bool:
    """Whether the readings of a stream belong to entities that report again and again."""
    return dataset.event_time in dataset.key and len(dataset.key) > 1


def _parents(registry: Registry, dataset: Dataset) -> tuple[str, ...]:
    named = {f.references.dataset for f in dataset.fields if f.references} - {dataset.id}
    return tuple(d.id for d in registry.datasets if d.id in named and can_be_drawn(d))


def _keys(dataset: Dataset, table: pa.Table) -> Keys:
    fields = [dataset.field(name) for name in dataset.key]
    return {f.name: from_arrow(f.type, pc.unique(pa.concat_arrays(table[f.source_name].chunks))) for f in fields}


class _Draw:
    """The draw of one dataset: keys first, then every field after those that it looks at."""

    def __init__(
        self, registry: Registry, dataset: Dataset, seed: int, scale: float, parents: Mapping[str, Keys]
    ) -> None:
        self._registry, self._dataset, self._seed, self._scale = registry, dataset, seed, scale
        self._domains: dict[str, Domain] = {}
        for field in dataset.fields:
            if found := domain(registry, dataset, field, parents):
                self._domains[field.name] = found
        self._drawn: dict[str, Column] = {}
        self._order: list[str] = []
        self._entity: Array | None = None
        self._rows = _target(dataset, scale)

    def run(self) -> dict[str, Column]:
        """Every column of the dataset.

        Raises:
            ValueError: a generator does not fit, or fields wait for each other.
        """
        if self._dataset.stream:
            self._stream_keys()
        else:
            self._sector_keys()
        for field in self._in_order():
            self._field(field)
        fixed = frozenset(self._dataset.key) | ({str(self._dataset.event_time)} if self._dataset.stream else set())
        order_comparisons(self._dataset, self._drawn, self._order, fixed)
        return self._drawn

    def _setting(self, rows: int | None = None) -> Setting:
        return Setting(
            self._registry,
            self._dataset,
            self._seed,
            self._rows if rows is None else rows,
            self._domains,
            self._drawn,
            self._entity,
            self._fixed() if self._entity is not None else frozenset(),
        )

    def _fixed(self) -> frozenset[str]:
        """Fields that belong to the entity of a stream: where it stands and what it is part of."""
        dataset = self._dataset
        fixed = set()
        for field in dataset.fields:
            if field.name in dataset.key or field.name not in self._domains:
                continue
            own = generator(dataset, field.name)
            is_conditional = own is not None and (own.only_when or own.null_pct)
            is_place = own is None and field.code_list is not None and _is_by_entity(dataset)
            if is_place or (field.references and field.required and not is_conditional):
                fixed.add(field.name)
        return frozenset(fixed)

    def _put(self, field: ContractField, values: Array) -> None:
        self._drawn[field.name] = Column(field.type, values, np.ones(len(values), dtype=bool))
        self._order.append(field.name)

    def _sector_keys(self) -> None:
        """Draw the key as distinct combinations, unless a running number makes every row distinct anyhow."""
        fields = [self._dataset.field(name) for name in self._dataset.key]
        if any(is_by_row(generator(self._dataset, f.name)) and f.name not in self._domains for f in fields):
            return
        domains = self._key_domains(fields, self._rows)
        self._rows = min(self._rows, capacity(domains))
        chance = chance_of(self._seed, self._dataset.id, "|".join(self._dataset.key))
        for field, values in zip(fields, distinct(domains, chance, self._rows), strict=True):
            self._put(field, values)

    def _stream_keys(self) -> None:
        """Let the entities report in turn at the cadence, the last time just before the end of the window."""
        dataset = self._dataset
        assert dataset.stream is not None
        entities = (dataset.sample.entities if dataset.sample else None) or DEFAULT_ENTITIES
        entities = min(self._rows, max(1, round(entities * self._scale)))
        clock = dataset.field(dataset.stream.event_time)
        fields = self._entity_fields()
        parts: list[Array] = []
        if _is_by_entity(dataset):
            domains = self._key_domains(fields, entities)
            entities = min(entities, capacity(domains))
            chance = chance_of(self._seed, dataset.id, "|".join(dataset.entity_key))
            parts = distinct(domains, chance, entities)
        steps = -(-self._rows // entities)
        row = np.arange(self._rows)
        self._entity = row % entities
        cadence_us = int(dataset.stream.cadence.total_seconds() * 1_000_000)
        moments = instant_us(END) - (steps - row // entities) * cadence_us
        if not parts:
            # Events happen at any second of the step, in order of time; readings stand on the step itself.
            seconds = chance_of(self._seed, dataset.id, clock.name).integers(cadence_us // 1_000_000, size=self._rows)
            moments = np.sort(moments + seconds * 1_000_000)
        self._put(clock, moments)
        for field, values in zip(fields, parts, strict=False):
            self._put(field, values[self._entity])
        if not parts and not any(is_by_row(generator(dataset, f.name)) for f in fields):
            chance = chance_of(self._seed, dataset.id, "|".join(dataset.entity_key))
            domains = self._key_domains(fields, self._rows)
            for field, values in zip(fields, distinct(domains, chance, self._rows), strict=True):
                self._put(field, values)

    def _entity_fields(self) -> list[ContractField]:
        """The key fields that tell the entities of a stream apart.

        What is chosen by weight, such as the kind of an event, differs from reading to reading: the entity and the time
        make the key distinct without it, and its shares stay those of the contract.
        """
        fields = [self._dataset.field(name) for name in self._dataset.entity_key]
        owns = {f.name: generator(self._dataset, f.name) for f in fields}
        weighted = {n for n, own in owns.items() if isinstance(own, Choice) and len(set(own.values.values())) > 1}
        kept = [f for f in fields if f.name not in weighted]
        return kept if kept and _is_by_entity(self._dataset) else fields

    def _key_domains(self, fields: list[ContractField], count: int) -> list[Domain]:
        """The closed set of every key field; days are as many as the other fields leave to be told apart."""
        setting = self._setting(count)
        found: dict[str, Domain] = {}
        for field in fields:
            own = generator(self._dataset, field.name)
            if field.name in self._domains:
                found[field.name] = self._domains[field.name]
            elif isinstance(own, Serial):
                found[field.name] = Domain(typed(field, serial_texts(own, min(count, 10**own.width - 1))))
        others = math.prod(len(d.values) for d in found.values())
        for field in fields:
            if field.name not in found:
                found[field.name] = key_domain(setting, field, others)
        return [found[field.name] for field in fields]

    def _in_order(self) -> list[ContractField]:
        """The fields that are left, each after those that it looks at.

        Raises:
            ValueError: fields wait for each other.
        """
        dataset, ready = self._dataset, set(self._drawn)
        left = [f for f in dataset.fields if f.name not in ready]
        waits = {f.name: self._waits(f) for f in left}
        order: list[ContractField] = []
        while left:
            free = next((f for f in left if waits[f.name] <= ready), None)
            if free is None:
                stuck = "; ".join(f"{f.name} needs {', '.join(sorted(waits[f.name] - ready))}" for f in left)
                raise ValueError(f"fields wait for each other in a circle ({stuck})")
            order.append(free)
            ready.add(free.name)
            left.remove(free)
        return order

    def _waits(self, field: ContractField) -> set[str]:
        found = set(needs(self._registry, self._dataset, field))
        for rule in self._dataset.quality:
            if isinstance(rule, RequiredTogether) and rule.field == field.name:
                found.add(rule.when)
            if isinstance(rule, Total) and rule.field == field.name:
                found |= set(rule.by)
        return found - {field.name}

    def _field(self, field: ContractField) -> None:
        dataset = self._dataset
        values = draw_values(self._setting(), field)
        known = self._known(field)
        column = Column(field.type, values, known)
        chance = chance_of(self._seed, dataset.id, f"{field.name}|rules")
        if field.name in self._domains:
            column = steer_shares(dataset, field.name, column, self._domains[field.name], chance)
        column = make_totals(dataset, field, column, self._drawn)
        self._drawn[field.name] = self._redrawn(field, column)
        self._order.append(field.name)

    def _known(self, field: ContractField) -> Array:
        """Where the field has a value: not where a condition, chance or an unknown base leaves it out, but always where
        the contract demands one."""
        dataset, own = self._dataset, generator(self._dataset, field.name)
        everywhere = np.ones(self._rows, dtype=bool)
        if own is None or field.required or field.name in dataset.key:
            return everywhere
        allowed = everywhere.copy()
        for other, text in own.only_when.items():
            allowed &= self._drawn[other].is_text(text)
        base = getattr(own, "field", None)
        if base is not None:
            allowed &= self._drawn[base].known
        chance = chance_of(self._seed, dataset.id, f"{field.name}|null")
        known: Array = allowed & (chance.random(self._rows) * 100 >= own.null_pct)
        for rule in dataset.quality:
            if isinstance(rule, RequiredTogether) and rule.field == field.name:
                known |= self._drawn[rule.when].is_text(rule.equals)
        return fill_completeness(dataset, field.name, known, allowed, chance)

    def _redrawn(self, field: ContractField, column: Column) -> Column:
        """Draw again what repeats an earlier row in the fields of a `unique` rule, or in the key."""
        groups = [r.fields for r in self._dataset.quality if isinstance(r, Unique)] + [self._dataset.key]
        ready = {*self._drawn, field.name}
        watched = [g for g in groups if field.name in g and set(g) <= ready]
        if is_by_row(generator(self._dataset, field.name)):
            return column
        for fields in watched:
            for attempt in range(1, _REDRAWS):
                columns = [column if name == field.name else self._drawn[name] for name in fields]
                repeats = duplicated(columns)
                if not repeats.any():
                    break
                values = column.values.copy()
                values[repeats] = draw_values(self._setting(), field, attempt)[repeats]
                column = Column(column.kind, values, column.known)
        return column
