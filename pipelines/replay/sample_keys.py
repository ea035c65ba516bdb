"""Distinct combinations of key values: by their weights as long as there is room, and every combination at last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.replay.sample_columns import Array
from pipelines.replay.sample_values import Domain

_ROUNDS = 6
_DENSE = 4


def capacity(domains: Sequence[Domain]) -> int:
    """How many distinct combinations there are."""
    return math.prod(len(d.values) for d in domains)


def distinct(domains: Sequence[Domain], chance: np.random.Generator, count: int) -> list[Array]:
    """`count` distinct combinations, one array per domain, in the order in which they were drawn.

    Raises:
        ValueError: there are fewer combinations than that.
    """
    sizes = [len(d.values) for d in domains]
    room = capacity(domains)
    if count > room:
        raise ValueError(f"{count} distinct keys are wanted, and there are {room}")
    found = np.empty(0, dtype=np.int64)
    if count * _DENSE <= room or any(d.weights is not None for d in domains):
        for _ in range(_ROUNDS):
            found = _first_seen(np.concatenate([found, _weighted(domains, sizes, chance, count)]))
            if len(found) >= count:
                break
    # What weights leave open is filled from all combinations; where they are many, chance alone finds new ones.
    if len(found) < count and room <= _DENSE * count + 100_000:
        rest = np.setdiff1d(np.arange(room), found, assume_unique=True)
        found = np.concatenate([found, chance.permutation(rest)])
    while len(found) < count:
        found = _first_seen(np.concatenate([found, chance.integers(room, size=count)]))
    return _parts(found[:count], domains, sizes)


def _weighted(domains: Sequence[Domain], sizes: list[int], chance: np.random.Generator, count: int) -> Array:
    """Combinations by weight, numbered in mixed radix."""
    numbers = np.zeros(count + count // 4 + 8, dtype=np.int64)
    for item, size in zip(domains, sizes, strict=True):
        numbers = numbers * size + chance.choice(size, size=len(numbers), p=item.weights)
    return numbers


def _parts(numbers: Array, domains: Sequence[Domain], sizes: list[int]) -> list[Array]:
    parts: list[Array] = []
    for item, size in zip(reversed(domains), reversed(sizes), strict=True):
        numbers, place = numbers // size, numbers % size
        parts.append(item.values[place])
    return parts[::-1]


def _first_seen(numbers: Array) -> Array:
    """The distinct numbers in the order of their first appearance."""
    _, first = np.unique(numbers, return_index=True)
    kept: Array = numbers[np.sort(first)]
    return kept
