"""Whether trying again is worth it, by the class of the error."""

from __future__ import annotations

import pytest

from pipelines.ingestion.connections import ConnectionMissing, ConnectionUnreadable
from pipelines.ingestion.exits import FAILED, REFUSED, TRY_AGAIN, exit_status
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
from pipelines.ingestion.trouble import SourceChanged, SourceError, SourceLocked, SourceUnavailable, WrongCredentials
from pipelines.ingestion.window import OutsideWindow
from pipelines.landing.lease import LeaseHeld
from pipelines.landing.migrate import TableDisagrees
from pipelines.runtime.errors import LakeError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SourceUnavailable("away"), TRY_AGAIN),
        (LeaseHeld("another"), TRY_AGAIN),
        (SourceLocked("by another"), TRY_AGAIN),
        (FileIncomplete("a.csv", "ends in a row", "Send it again."), TRY_AGAIN),
        (FileUnfit("a.csv", "is no table", "Send another."), REFUSED),
        (SourceChanged("no column"), REFUSED),
        (ConnectionMissing("none"), REFUSED),
        (ConnectionUnreadable("none"), REFUSED),
        (OutsideWindow("not now"), REFUSED),
        (TableDisagrees("another"), REFUSED),
        (WrongCredentials("refused"), REFUSED),
        (SourceError("unknown"), REFUSED),
        (LakeError("anything"), FAILED),
        (ZeroDivisionError(), FAILED),
    ],
)
def test_an_error_and_what_it_is_worth(error: Exception, status: int) -> None:
    assert exit_status([error]) == status


def test_one_table_that_is_worth_trying_again_is_worth_it_for_all() -> None:
    changed, away = SourceChanged("no column"), SourceUnavailable("away")
    assert exit_status([]) == 0
    assert exit_status([changed, away, ZeroDivisionError()]) == TRY_AGAIN
    assert exit_status([changed, ZeroDivisionError()]) == FAILED
    assert exit_status([changed, changed]) == REFUSED
