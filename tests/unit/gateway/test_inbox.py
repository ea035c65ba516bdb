"""Inboxes on a real disk: what is taken when, what becomes of it, and what a hostile or unlucky sender cannot do."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core, spool_folder
from pipelines.gateway.inbox import kinds
from pipelines.gateway.inbox.folder import Folder
from pipelines.gateway.inbox.inbox import Inbox
from pipelines.gateway.inbox.progress import ProgressBook
from pipelines.gateway.inbox.watch import InboxFront
from pipelines.gateway.limits import Limits
from pipelines.gateway.sources import Source, Sources, create_token
from pipelines.gateway.spool import Spool
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

SOURCE = Source("so-nnmt", "H57.NNMT", ("river_stage", "rain_gauge"), rate_per_s=1_000_000)
START = datetime(2025, 10, 27, tzinfo=UTC)


def reading(number: int) -> dict[str, object]:
    return {"station_id": "71520", "observed_at": (START + timedelta(minutes=number)).isoformat(), "stage_m": number}


def lines(first: int, count: int) -> bytes:
    return b"".join(json.dumps(reading(n)).encode() + b"\n" for n in range(first, first + count))


class Run:
    """An inbox of river stages, looked at and stepped by hand."""

    def __init__(self, core: Core, settings: Settings, dataset: str = "river_stage", source: str = SOURCE.name) -> None:
        self.core, self.settings = core, settings
        self.path = settings.state / "inbox" / source / dataset
        self.path.mkdir(parents=True, exist_ok=True)
        self.book = ProgressBook(settings.state / "inbox.db")
        self.inbox = Inbox(core, Sources(settings), self.book, self.path, settle_s=0)

    def drop(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def work(self, enough: Callable[[], bool] = lambda: False, timeout_s: float = 20) -> None:
        """Look and step until nothing waits, or it is enough."""
        deadline = time.monotonic() + timeout_s
        self.inbox.look()
        while not enough() and (self.inbox.told().waiting or self.inbox.step()):
            self.inbox.step()
            assert time.monotonic() < deadline, self.inbox.told()
            if not self.inbox.is_sending and not self.inbox.told().waiting:
                self.inbox.look()

    def put_away(self, where: str) -> dict[str, dict[str, Any]]:
        """The receipts of a folder, by the name of the file that was dropped."""
        found = {}
        for path in sorted((self.path / where).glob("*.receipt.json")):
            told = json.loads(path.read_bytes())
            assert path.with_name(path.name.removesuffix(".receipt.json")).exists() == told["is_kept"]
            found[told["file"]] = told
        return found

    def restart(self) -> None:
        """What a kill leaves: nothing but the disk."""
        self.inbox.close()
        self.book.close()
        self.book = ProgressBook(self.settings.state / "inbox.db")
        self.inbox = Inbox(self.core, Sources(self.settings), self.book, self.path, settle_s=0)


@pytest.fixture
def run(core: Core, settings: Settings, registry: Registry) -> Iterator[Run]:
    create_token(settings, registry, SOURCE)
    made = Run(core, settings)
    yield made
    made.inbox.close()
    made.book.close()


def sent(settings: Settings, dataset: str = "river_stage") -> list[Any]:
    """What the core has put on its disk, in order."""
    spool = Spool(spool_folder(settings), 10**9)
    try:
        values = [record.value for record in spool.oldest(dataset, 1_000_000)]
    finally:
        spool.close()
    return [json.loads(value).get("stage_m") if value[:1] == b"{" else value for value in values]


def test_every_format_is_read_and_put_away_with_a_receipt(run: Run, settings: Settings) -> None:
    table = "station_id,observed_at,stage_m\n" + "".join(
        f"71520,{reading(n)['observed_at']},{n}\n" for n in range(20, 30)
    )
    run.drop("a.ndjson", lines(0, 10))
    run.drop("b.json", json.dumps([reading(n) for n in range(10, 20)], indent=1).encode())
    run.drop("c.CSV", table.encode())
    run.drop("d.ndjson.gz", gzip.compress(lines(30, 5)) + gzip.compress(lines(35, 5)))
    run.drop("e.json", json.dumps(reading(40)).encode())
    run.work()
    done = run.put_away("done")
    assert {name: told["records"] for name, told in done.items()} == {
        "a.ndjson": 10, "b.json": 10, "c.CSV": 10, "d.ndjson.gz": 10, "e.json": 1,
    }  # fmt: skip
    assert sent(settings) == list(range(41))
    assert done["a.ndjson"]["result"] == "Đã đọc hết tệp — the file was read to its end"
    assert len(done["a.ndjson"]["sha256"]) == 64
    assert os.listdir(run.path / ".taken") == []
    assert run.inbox.told().counts["files_done"] == 5


def test_refused_records_are_told_with_their_line_and_the_others_are_taken(run: Run, settings: Settings) -> None:
    run.drop("a.ndjson", lines(0, 1) + b'\n{"no": "key"}\n' + lines(1, 1) + b"nonsense\n")
    run.drop("b.csv", f'station_id,observed_at,stage_m\n"71\n520",x,1\n71520,{reading(2)["observed_at"]},2\n'.encode())
    run.drop("c.json", json.dumps([reading(3), {"no": "key"}], indent=1).encode())
    run.work()
    done = run.put_away("done")
    refused = {n: [(r["line"], r["record"], r["reason"]) for r in t["refused_records"]] for n, t in done.items()}
    assert refused == {
        "a.ndjson": [(3, 2, "unusable"), (5, 4, "unusable")],
        "b.csv": [(2, 1, "unusable")],
        "c.json": [(7, 2, "unusable")],
    }
    assert done["a.ndjson"]["result"].startswith("Đã đọc hết tệp, có bản ghi không dùng được")
    assert (done["a.ndjson"]["records"], done["a.ndjson"]["spooled"], done["a.ndjson"]["refused"]) == (4, 2, 2)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.xlsx", b"x", "no format belongs to this name; allowed: .json, .jsonld"),
        ("a.csv.gz.gz", b"x", "no format belongs to this name"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv.gz", b"x" * 100, "the file is no gzip"),
        ("a.ndjson.gz", gzip.compress(lines(0, 9))[:-9], "the gzip ends too early"),
        ("a.ndjson.gz", gzip.compress(lines(0, 9)) + b"tail", "the file is no gzip, or it is damaged"),
        ("a.jsonld", json.dumps([reading(0)]).encode(), "rain_gauge takes no body of the type 'application/ld+json'"),
    ],
)
def test_what_cannot_be_read_is_put_aside_whole_with_the_reason(
    core: Core, settings: Settings, registry: Registry, name: str, data: bytes, reason: str
) -> None:
    create_token(settings, registry, SOURCE)
    run = Run(core, settings, "rain_gauge")
    core.streams["rain_gauge"] = replace_accepts(core, "rain_gauge")
    run.drop(name, data)
    run.work()
    told = run.put_away("failed")[name]
    assert reason in told["reason"]
    assert (told["records"], told["result"]) == (0, "Không đọc được tệp — the file could not be read")
    assert next((run.path / "failed").glob(f"*_{name}")).read_bytes() == data
    assert sent(settings, "rain_gauge") == []


def replace_accepts(core: Core, dataset: str) -> Any:
    """The stream with its native format alone."""
    found = core.streams[dataset]
    assert found.stream is not None
    return found.model_copy(update={"stream": found.stream.model_copy(update={"accepts": ("native",)})})


def test_a_file_that_breaks_in_the_middle_says_where_and_keeps_what_stands_before(run: Run, settings: Settings) -> None:
    records = ",\n".join(json.dumps(reading(n)) for n in range(5))
    run.drop("a.json", f"[{records},\n{{oops}},\n{records}]".encode())
    run.work()
    told = run.put_away("failed")["a.json"]
    assert (told["line"], told["records"], told["spooled"]) == (6, 5, 5)
    assert told["result"].startswith("Chỉ đọc được phần đầu")
    assert "not JSON" in told["reason"]
    assert sent(settings) == list(range(5))


def test_a_bomb_is_refused_before_anything_is_sent(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "FREE_EXPANSION_BYTES", 100_000)
    run.drop("a.ndjson.gz", gzip.compress(lines(0, 1) + b" " * 10_000_000))
    run.drop("b.ndjson.gz", gzip.compress(lines(0, 2_000)))
    run.work()
    assert "unpack to more than" in run.put_away("failed")["a.ndjson.gz"]["reason"]
    assert run.put_away("done")["b.ndjson.gz"]["records"] == 2_000
    assert len(sent(settings)) == 2_000


def test_only_complete_files_are_taken(run: Run, settings: Settings) -> None:
    run.inbox.close()
    run.inbox = Inbox(run.core, Sources(settings), run.book, run.path, settle_s=3600)
    for name in (".a.ndjson", "b.ndjson.part", "c.ndjson.tmp", "~d.ndjson", "grows.ndjson"):
        run.drop(name, lines(0, 1))
    for _ in range(3):
        run.inbox.look()
        assert run.inbox.step() is False
    assert run.inbox.told().waiting == 1
    # A file that was seen under a temporary name was renamed when it was complete.
    (run.path / "b.ndjson.part").rename(run.path / "b.ndjson")
    run.work(lambda: bool(run.put_away("done")))
    assert list(run.put_away("done")) == ["b.ndjson"]
    assert (run.path / "grows.ndjson").exists()


def test_a_file_that_has_not_changed_for_the_time_is_complete(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("pipelines.gateway.inbox.inbox.time.monotonic", lambda: now)
    run.inbox.close()
    run.inbox = Inbox(run.core, Sources(settings), run.book, run.path, settle_s=5)
    run.drop("a.ndjson", lines(0, 1))
    for now, size, is_taken in ((1001.0, 1, False), (1004.0, 2, False), (1008.9, 2, False), (1009.0, 2, True)):
        if size > 1 and now == 1004.0:
            run.drop("a.ndjson", lines(0, 2))
        run.inbox.look()
        assert run.inbox.step() is is_taken
    assert os.listdir(run.path / ".taken") != []


def test_nothing_outside_of_the_inbox_is_read_moved_or_written(run: Run, settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ndjson"
    secret.write_bytes(lines(0, 1))
    (run.path / "link.ndjson").symlink_to(secret)
    (run.path / "hard.ndjson").hardlink_to(secret)
    os.mkfifo(run.path / "pipe.ndjson")
    (run.path / "folder").mkdir()
    run.work(lambda: len(run_failed(run)) == 3)
    reasons = {told["file"]: told["reason"] for told in run_failed(run)}
    assert reasons["link.ndjson"].startswith("a symbolic link is not followed")
    assert "a second name" in reasons["hard.ndjson"]
    assert reasons["pipe.ndjson"] == "this is no ordinary file"
    assert "a folder lies in it" in run.inbox.told().problem
    assert secret.read_bytes() == lines(0, 1)
    assert sent(settings) == []


def run_failed(run: Run) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in (run.path / "failed").glob("*.receipt.json")]


@pytest.mark.parametrize("name", ["done", ".taken", "river_stage"])
def test_a_folder_that_is_a_link_is_no_inbox(core: Core, settings: Settings, tmp_path: Path, name: str) -> None:
    path = tmp_path / "root" / "source" / "river_stage"
    other = tmp_path / "other"
    other.mkdir()
    link = path if name == "river_stage" else path / name
    link.parent.mkdir(parents=True)
    link.symlink_to(other)
    with pytest.raises(OSError, match=r"(?i)not a directory|symbolic"):
        Folder(path)
    assert list(other.iterdir()) == []


def test_after_a_kill_at_any_record_everything_is_sent_and_at_most_one_piece_twice(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.gateway.inbox.reading.Bounds.records", 7)
    run.drop("a.ndjson", lines(0, 100))
    run.drop("b.json.gz", gzip.compress(json.dumps([reading(n) for n in range(100, 200)]).encode()))
    run.drop("c.csv", b"station_id,observed_at,stage_m\n" + b"".join(
        f"71520,{reading(n)['observed_at']},{n}\n".encode() for n in range(200, 300)
    ))  # fmt: skip
    kills = 0
    run.inbox.look()
    for steps in range(3, 12):
        # Wherever it is: between receipt and progress, before the first byte, while a file is put away.
        for _ in range(steps * 3):
            run.inbox.step()
            time.sleep(0.002)
        run.restart()
        kills += 1
        run.inbox.look()
    run.work()
    found = sent(settings)
    assert sorted(set(found)) == list(range(300))
    assert len(found) - 300 <= 7 * kills
    done = run.put_away("done")
    assert {name: told["records"] for name, told in done.items()} == {"a.ndjson": 100, "b.json.gz": 100, "c.csv": 100}
    assert 0 < sum(told["resumed"] for told in done.values()) <= kills


def test_a_file_that_is_changed_while_it_is_read_is_put_aside(run: Run, settings: Settings) -> None:
    run.drop("a.ndjson", lines(0, 10))
    run.inbox.look()
    run.inbox.step()
    own = next((run.path / ".taken").iterdir())
    with own.open("ab") as stream:
        stream.write(lines(10, 1))
    run.work()
    assert "changed while it was read" in run.put_away("failed")["a.ndjson"]["reason"]


def test_files_wait_while_the_source_is_not_bound_and_go_on_when_it_is(
    run: Run, settings: Settings, registry: Registry
) -> None:
    own = Run(run.core, settings, source="unknown-1")
    own.drop("a.ndjson", lines(0, 1))
    own.inbox.look()
    assert own.inbox.step() is False
    assert own.inbox.told().problem.startswith("files wait: There is no source 'unknown-1'.")
    create_token(settings, registry, replace(SOURCE, name="unknown-1", datasets=("rain_gauge",)))
    own.inbox.step()
    assert own.inbox.told().problem == "files wait: unknown-1 may not send to river_stage. It is bound to: rain_gauge."
    assert (own.path / "a.ndjson").exists()
    create_token(settings, registry, replace(SOURCE, name="unknown-1"))
    own.work()
    assert own.put_away("done")["a.ndjson"]["records"] == 1
    assert own.inbox.told().problem == ""


def test_a_full_spool_and_a_full_disk_are_told_and_end_by_themselves(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_token(settings, registry, SOURCE)
    monkeypatch.setattr("pipelines.gateway.inbox.reading.RETRY_S", 0.05)
    with Core(settings, registry, Limits(spool_bytes=256 * 1024), bootstrap=no_kafka) as core:
        run = Run(core, settings)
        run.drop("a.ndjson", lines(0, 5_000))
        run.work(lambda: "full" in run.inbox.told().problem)
        assert run.inbox.told().waiting == 1
        run.inbox.close()
    with Core(settings, registry, bootstrap=no_kafka) as core:
        run.core = core
        run.inbox = Inbox(core, Sources(settings), run.book, run.path, settle_s=0)
        fails = iter(range(3))

        def no_space(descriptor: int) -> None:
            if next(fails, None) is not None:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("pipelines.gateway.inbox.folder.os.fsync", no_space)
        run.work(lambda: "No space left" in run.inbox.told().problem)
        assert run.put_away("done") == {}
        run.work()
        told = run.put_away("done")["a.ndjson"]
    assert (told["records"], told["refused"]) == (5_000, 0)
    assert set(sent(settings)) == set(range(5_000))


def test_nothing_personal_is_kept_in_clear(core: Core, settings: Settings, registry: Registry) -> None:
    wanted = Source("so-ca", "H57.CA", ("violation_event",), is_delegated=True)
    create_token(settings, registry, wanted)
    run = Run(core, settings, "violation_event", "so-ca")
    event = {"event_id": "V1", "observed_at": "2025-10-27T13:00:00Z", "camera_id": "HUE-C19789-1",
             "violation_type": "red_light", "plate": "75A-123.45", "confidence": 0.9, "review_status": "pending",
             "ward_code": "19789", "evidence_uri": "e/V1.jpg"}  # fmt: skip
    run.drop("a.ndjson", json.dumps(event).encode() + b'\n{"plate": "75A-543.21"\n')
    run.drop("b.json", b'[{"plate": "75A-543.21"')
    run.work()
    told = run.put_away("done")["a.ndjson"]
    assert (told["records"], told["refused"], told["is_kept"]) == (2, 1, False)
    kept = [
        p
        for p in settings.state.rglob("*")
        if p.is_file() and (b"75A-123" in p.read_bytes() or b"75A-543" in p.read_bytes())
    ]
    assert [p.name.partition("_")[2] for p in kept] == ["b.json"]
    # What failed is its sender's to mend, for a week.
    run.inbox.purge("failed", timedelta(days=7), datetime.now(UTC) + timedelta(days=8))
    assert not kept[0].exists()
    assert len(run_failed(run)) == 1


def test_the_front_finds_new_inboxes_and_ends_between_two_pieces(
    core: Core, settings: Settings, registry: Registry, wait_until: Callable[..., None]
) -> None:
    create_token(settings, registry, SOURCE)
    root = settings.state / "inbox"
    front = InboxFront(core, Sources(settings), root, settle_s=0)
    front.start()
    path = root / SOURCE.name / "river_stage"
    path.mkdir(parents=True)
    (root / "link").symlink_to(settings.state)
    (path / "a.ndjson").write_bytes(lines(0, 10_000))
    wait_until(lambda: any(t.counts.get("files_done") for t in front.told()), what="the file is read")
    assert [told.name for told in front.told()] == [f"{SOURCE.name}/river_stage"]
    (path / "b.ndjson").write_bytes(lines(10_000, 30_000))
    wait_until(lambda: any(told.state.startswith("reading") for told in front.told()), what="the second is begun")
    front.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway-inbox"]
    again = InboxFront(core, Sources(settings), root, settle_s=0)
    again.start()
    wait_until(lambda: any(t.counts.get("files_done") for t in again.told()), what="the second file is read")
    again.stop()
    # A polite end waits for the receipt: nothing is sent twice.
    assert sent(settings) == list(range(40_000))
