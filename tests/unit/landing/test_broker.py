"""Where reading goes on: at the committed offset, at the beginning, or nowhere."""

from __future__ import annotations

import pytest

from pipelines.landing.broker import OffsetOutOfRange, Range, Topic, starts

TOPIC = Topic("city.clean.river_stage", "id", (0,))


def _start(committed: int | None, low: int, high: int) -> int:
    return starts(TOPIC, {0: committed}, {(TOPIC.name, 0): Range(low, high)})[0]


@pytest.mark.parametrize(
    ("committed", "low", "high", "expected"),
    [(None, 0, 0, 0), (None, 7, 9, 7), (0, 0, 5, 0), (3, 0, 5, 3), (5, 0, 5, 5), (5, 5, 9, 5)],
)
def test_a_committed_offset_within_the_topic_is_where_it_goes_on(
    committed: int | None, low: int, high: int, expected: int
) -> None:
    assert _start(committed, low, high) == expected


def test_lost_records_are_counted_and_the_remedy_named() -> None:
    with pytest.raises(OffsetOutOfRange, match=r"begins at offset 7, .* up to 5: 2 records are gone .* accept-loss"):
        _start(5, 7, 9)


def test_a_topic_that_lost_its_end_is_an_error() -> None:
    with pytest.raises(OffsetOutOfRange, match=r"ends at offset 4, .* up to 5: .*create the topic anew"):
        _start(5, 0, 4)
