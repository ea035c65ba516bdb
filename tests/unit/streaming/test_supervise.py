"""When a job is left alone, restored or rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.streaming.job import Job
from pipelines.streaming.supervise import FAILED_RESTORES, Decision, JobRecord, decide, newest_checkpoint

JOB = Job("demo.flood", "flood", ("CREATE TABLE a (b INT)",), ("INSERT INTO a SELECT 1",), (), ())


def _record(**changes: object) -> JobRecord:
    values = {
        "name": JOB.name,
        "fingerprint": JOB.fingerprint,
        "job_id": "id1",
        "submitted_at": "",
        "restored_from": None,
    }
    return JobRecord(**{**values, **changes})  # type: ignore[arg-type]


def _checkpoint(folder: Path, job_id: str, number: int, *, complete: bool = True) -> Path:
    path = folder / job_id / f"chk-{number}"
    path.mkdir(parents=True)
    if complete:
        (path / "_metadata").touch()
    return path


def _decide(folder: Path, record: JobRecord | None, *, alive: bool = False, asked: bool = False) -> Decision | None:
    return decide(JOB, record, alive=alive, asked=asked, checkpoint=lambda job_id: newest_checkpoint(folder, job_id))


def test_a_job_that_runs_as_planned_is_left_alone(tmp_path: Path) -> None:
    assert _decide(tmp_path, _record(), alive=True) is None


def test_a_job_that_is_gone_comes_back_from_its_newest_completed_checkpoint(tmp_path: Path) -> None:
    _checkpoint(tmp_path, "id1", 9)
    newest = _checkpoint(tmp_path, "id1", 10)
    _checkpoint(tmp_path, "id1", 11, complete=False)
    decision = _decide(tmp_path, _record())
    assert decision == Decision(newest.as_uri(), "it was gone", rebuild=False)


def test_a_job_that_died_before_its_first_checkpoint_tries_the_one_it_came_from(tmp_path: Path) -> None:
    earlier = _checkpoint(tmp_path, "id0", 3)
    decision = _decide(tmp_path, _record(restored_from=earlier.as_uri()))
    assert decision is not None
    assert decision.restore_from == earlier.as_uri()


def test_a_checkpoint_that_never_works_is_given_up(tmp_path: Path) -> None:
    earlier = _checkpoint(tmp_path, "id0", 3)
    decision = _decide(tmp_path, _record(restored_from=earlier.as_uri(), failed_restores=FAILED_RESTORES))
    assert decision is not None
    assert decision.rebuild
    assert decision.restore_from is None


@pytest.mark.parametrize(
    ("record", "asked", "reason"),
    [
        (None, False, "first start"),
        (_record(), True, "rebuild was asked for"),
        (_record(fingerprint="of another plan"), False, "its plan has changed"),
        (_record(), False, "it was gone and no usable checkpoint is left"),
    ],
)
def test_without_usable_state_the_raw_topics_are_read_again(
    tmp_path: Path, record: JobRecord | None, asked: bool, reason: str
) -> None:
    decision = _decide(tmp_path, record, asked=asked)
    assert decision is not None
    assert (decision.restore_from, decision.reason) == (None, reason)


def test_a_changed_plan_outweighs_a_good_checkpoint(tmp_path: Path) -> None:
    _checkpoint(tmp_path, "id1", 9)
    decision = _decide(tmp_path, _record(fingerprint="of another plan"), alive=True)
    assert decision is not None
    assert decision.restore_from is None
