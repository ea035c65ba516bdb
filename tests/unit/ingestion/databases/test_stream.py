"""Several readers are one stream: bounded, ended by an error, a silence or a caller who leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

import pyarrow as pa
import pytest

from pipelines.ingestion.databases.stream import Batches, Readers, Stalled


def batch(number: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": [number]})


def counting(first: int, count: int, made: list[int] | None = None) -> Callable[[], Batches]:
    def read() -> Batches:
        for number in range(first, first + count):
            if made is not None:
                made.append(number)
            yield batch(number)

    return read


def numbers(readers: Readers) -> list[int]:
    return [found.to_pydict()["n"][0] for found in readers.batches(lambda: None)]


def test_each_batch_comes_once_and_in_its_readers_order() -> None:
    found = numbers(Readers([counting(0, 50), counting(100, 50), counting(200, 0)], 5))
    assert sorted(found) == [*range(50), *range(100, 150)]
    assert [n for n in found if n < 100] == list(range(50))


def test_a_slow_caller_is_not_run_ahead_of() -> None:
    made: list[int] = []
    with closing(Readers([counting(0, 1000, made)], 5).batches(lambda: None)) as batches:
        next(batches)
        time.sleep(0.3)
        assert len(made) <= 5


def test_an_error_of_one_ends_all() -> None:
    def broken() -> Batches:
        yield batch(1)
        raise OSError("the line is cut")

    readers = Readers([broken, counting(0, 100_000)], 5)
    with pytest.raises(OSError, match="the line is cut"):
        numbers(readers)
    assert not readers.stuck


def test_a_silence_ends_the_wait_and_names_who_is_stuck() -> None:
    free = threading.Event()

    def silent() -> Batches:
        yield batch(1)
        free.wait()

    readers = Readers([counting(0, 3), silent], 0.3)
    with pytest.raises(Stalled):
        numbers(readers)
    assert readers.stuck == {1}
    free.set()


def test_who_leaves_cancels() -> None:
    cancelled: list[bool] = []
    readers = Readers([counting(0, 1000)], 5)
    with closing(readers.batches(lambda: cancelled.append(True))) as batches:
        next(batches)
    assert cancelled == [True] and not readers.stuck
