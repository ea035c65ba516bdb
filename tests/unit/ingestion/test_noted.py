"""What is kept of a load while it is judged: the same whether the hashes of its keys fit into memory or lie on disk."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.ingestion import noted
from pipelines.ingestion.noted import Hashes, Note, Notes, missing

HASHES = st.lists(st.lists(st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)))


@given(added=HASHES, others=HASHES, in_memory=st.sampled_from([1, 2, 5, 1000]))
@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hashes_are_compared_as_one_set_would_be(
    tmp_path: Path, added: list[list[int]], others: list[list[int]], in_memory: int
) -> None:
    ours, theirs = Counter(chain(*added)), Counter(chain(*others))
    expected = max(ours.total(), theirs.total())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noted, "IN_MEMORY", in_memory)
        with Hashes(expected, tmp_path) as one, Hashes(expected, tmp_path) as two:
            for hashes, lists in ((one, added), (two, others)):
                for found in lists:
                    hashes.add(np.array(found, dtype=np.uint64))
            assert bool(one._files) is (expected > in_memory)
            assert np.concatenate(list(one.parts())).tolist() == sorted(ours.elements())
            assert one.shared().tolist() == sorted(key for key, count in ours.items() if count > 1)
            distinct, lacking = missing(two, one)
            assert (distinct, lacking.tolist()) == (len(theirs), sorted(set(ours) - set(theirs)))
            assert list(tmp_path.iterdir()) == [], "what is on disk has no name"


def test_one_part_at_a_time_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted, "IN_MEMORY", 1000)
    rows = 20_000
    drawn = np.random.default_rng(7).integers(0, 2**64 - 1, rows, dtype=np.uint64)
    with Hashes(rows, tmp_path) as found:
        for piece in np.split(drawn, 8):
            found.add(piece)
        parts = [len(part) for part in found.parts()]
    assert sum(parts) == rows and max(parts) < 1000


def test_the_notes_of_a_row_are_its_own() -> None:
    notes = Notes(5)
    notes.add(np.array([0, 3]), Note.TOLD)
    notes.add(np.array([3, 4]), Note.DELETED)
    notes.add(np.zeros(0, dtype=np.int64), Note.DOUBLED)
    assert notes.of(slice(2, 5), Note.DELETED).tolist() == [False, True, True]
    assert notes.of(np.array([4, 0]), Note.TOLD).tolist() == [False, True]
    both = Note.TOLD | Note.DELETED
    assert notes.of(slice(None), both).tolist() == [True, False, False, True, True]
    assert [notes.count(note) for note in (Note.TOLD, Note.DELETED, both, Note.DOUBLED)] == [2, 2, 3, 0]
