"""The spool: in order, bounded, and whole after a kill, a torn file or a bad disk."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gateway.spool import Batch, Spool, SpoolFailed, SpoolFull

HEADERS = (("source", b"gw-1"),)
LIMIT = 10**8


def batch(first: int, count: int, dataset: str = "river_stage") -> Batch:
    pairs = [(b"71520", f"record {number}".encode()) for number in range(first, first + count)]
    return Batch(dataset, f"raw.{dataset}", 1761570005250, HEADERS, pairs)


def values(spool: Spool, dataset: str = "river_stage") -> list[str]:
    return [record.value.decode() for record in spool.oldest(dataset, 100_000)]


def test_records_come_back_in_order_by_dataset_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([batch(0, 3), batch(0, 2, "rain_gauge")])
    spool.append([batch(3, 2)])
    spool.close()
    again = Spool(tmp_path, LIMIT)
    assert again.waiting == {"rain_gauge": 2, "river_stage": 5}
    assert values(again) == [f"record {n}" for n in range(5)]
    (first, *_) = again.oldest("river_stage", 1)
    assert (first.topic, first.key, first.timestamp_ms, first.headers) == (
        "raw.river_stage",
        b"71520",
        1761570005250,
        HEADERS,
    )
    again.forget("river_stage", [record.seq for record in again.oldest("river_stage", 4)])
    assert values(again) == ["record 4"]
    again.close()


@given(key=st.binary(), value=st.binary(), headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5))))
def test_any_bytes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), LIMIT)
    spool.append([Batch("d", "raw.d", -1, headers, [(key, value)])])
    (found,) = spool.oldest("d", 1)
    assert (found.key, found.value, list(found.headers), found.timestamp_ms) == (key, value, headers, -1)
    spool.close()


def test_a_full_spool_keeps_all_or_nothing_of_an_append_and_has_room_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 128 * 1024)
    taken = 0
    with pytest.raises(SpoolFull, match="is full"):  # noqa: PT012
        while True:
            spool.append([batch(taken, 500)])
            taken += 500
    assert len(values(spool)) == taken > 0
    spool.forget("river_stage", [record.seq for record in spool.oldest("river_stage", 1000)])
    spool.append([batch(taken, 500)])
    spool.close()


def test_a_record_that_the_disk_changed_is_set_aside_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([batch(0, 4)])
    other = sqlite3.connect(spool.path)
    other.execute("update record set value = cast('record x' as blob) where seq = 2")
    other.commit()
    other.close()
    assert values(spool) == ["record 0", "record 2", "record 3"]
    assert (spool.damaged, spool.waiting["river_stage"]) == (1, 3)
    spool.close()


def test_a_torn_tail_costs_only_what_nobody_was_told_of(tmp_path: Path) -> None:
    """Whatever the last write left of the file: whole appends are there, from the first on, and none in part."""
    spool = Spool(tmp_path / "whole", LIMIT)
    for first in range(0, 50, 10):
        spool.append([batch(first, 10)])
    database, log = spool.path, spool.path.with_name("spool.db-wal")
    size = log.stat().st_size
    counts = []
    for cut in range(0, size, max(1, size // 40)):
        torn = tmp_path / f"torn-{cut}"
        torn.mkdir()
        shutil.copy(database, torn)
        (torn / log.name).write_bytes(log.read_bytes()[: size - cut])
        again = Spool(torn, LIMIT)
        found = values(again)
        assert found == [f"record {n}" for n in range(len(found))]
        assert len(found) % 10 == 0
        counts.append(len(found))
        again.append([batch(len(found), 10)])
        assert len(values(again)) == len(found) + 10
        again.close()
    spool.close()
    assert counts[0] == 50
    assert min(counts) < 50


def test_what_append_returned_from_outlives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipelines.gateway.spool import Spool, Batch\n"
        "spool, number = Spool(Path(sys.argv[1]), 10**8), 0\n"
        "while True:\n"
        "    pairs = [(b'k', b'record %d' % n) for n in range(number, number + 7)]\n"
        "    spool.append([Batch('river_stage', 'raw.river_stage', 1, (), pairs)])\n"
        "    number += 7\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.kill()
    told = max([told, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
    process.wait(timeout=20)
    spool = Spool(tmp_path, LIMIT)
    found = values(spool)
    assert len(found) in {told, told + 7}
    assert found == [f"record {n}" for n in range(len(found))]
    spool.close()


def test_a_file_that_is_no_spool_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(SpoolFailed, match=r"spool\.db cannot be opened"):
        Spool(tmp_path, LIMIT)
