"""Which delivered files are news, in which order, and by which connection an inbox is reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import parse_connection
from pipelines.ingestion.deliveries import Delivery, open_inbox, pending
from pipelines.ingestion.deliveries.bucket import BucketInbox
from pipelines.ingestion.deliveries.folder import FolderInbox
from pipelines.runtime.errors import LakeError

DATED = FileLayout.model_validate({"format": "csv", "name": "GIA_{ddMMyyyy}*.csv"})
UNDATED = FileLayout.model_validate({"format": "csv", "name": "GIA*.csv"})
T0 = datetime(2025, 10, 1, tzinfo=UTC)


def delivery(day: int, at: int, mark: str = "") -> Delivery:
    return Delivery(f"GIA_{date(2025, 10, day):%d%m%Y}{mark}.csv", 10, T0 + timedelta(hours=at))


DELIVERIES = st.lists(
    st.builds(delivery, st.integers(1, 28), st.integers(0, 900), st.sampled_from(["", "_2"])),
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(found=DELIVERIES, kept=st.lists(st.integers(0, 7), max_size=4))
def test_loading_what_is_news_in_order_ends_with_the_newest_day(found: Sequence[Delivery], kept: list[int]) -> None:
    """However the files arrive: each is loaded at most once, no older whole table follows a newer, nothing is left."""
    loaded: list[Delivery] = []
    mark: int | None = None
    first = [found[place] for place in kept if place < len(found)]
    for seen in (first, found, found):
        known = {one.identity for one in loaded}
        for news in pending(dict.fromkeys(seen), DATED, mark, known.__contains__):
            if not news.late:
                loaded.append(news.delivery)
                assert mark is None or news.mark >= mark
                mark = news.mark
    assert len({one.identity for one in loaded}) == len(loaded)
    newest = max((one.name[4:12] for one in found), default=None)
    if newest is not None:
        assert {one.name for one in found if one.name[4:12] == newest} <= {one.name for one in loaded}


def test_without_a_day_in_the_name_the_last_change_counts() -> None:
    late, early = Delivery("GIA 2.csv", 1, T0), Delivery("GIA 1.csv", 1, T0 + timedelta(hours=1))
    other = Delivery("DS.csv", 1, T0)
    found = pending([early, late, other], UNDATED, None, lambda _: False)
    assert [one.delivery for one in found] == [late, early]
    assert not pending([late], UNDATED, found[0].mark, lambda _: False)[0].late
    assert pending([late], UNDATED, found[1].mark, lambda _: False)[0].late


def test_a_file_is_another_when_its_content_is() -> None:
    one = Delivery("a.csv", 1, T0)
    assert one.identity == Delivery("a.csv", 1, T0).identity
    assert len({d.identity for d in (one, Delivery("b.csv", 1, T0), Delivery("a.csv", 2, T0))}) == 3
    assert one.identity != Delivery("a.csv", 1, T0 + timedelta(microseconds=1)).identity
    # An object store knows content by its own name; a copy of the same is no news.
    assert Delivery("a.csv", 1, T0, "x").identity == Delivery("a.csv", 1, T0 + timedelta(days=1), "x").identity


def access(registry: Registry, kind: str, connection: object) -> Access:
    source = registry.source_of(registry.dataset("med_price")).model_copy(update={"kind": kind})
    return Access(source, parse_connection("sector_soyt", json.dumps(connection)), "observed")


def test_the_inbox_of_each_kind(registry: Registry, tmp_path: Path) -> None:
    path = {"conn_type": "fs", "extra": {"path": str(tmp_path)}}
    assert isinstance(open_inbox(access(registry, "folder", path), tmp_path), FolderInbox)
    extra = {"endpoint_url": "https://kho.hue.local:9000", "bucket_name": "so-y-te", "prefix": "/gia/"}
    s3 = {"conn_type": "aws", "login": "k", "password": "s", "extra": extra}
    assert isinstance(open_inbox(access(registry, "s3", s3), tmp_path), BucketInbox)


@pytest.mark.parametrize(
    ("kind", "connection", "said"),
    [
        ("postgresql", {"conn_type": "fs"}, "The source soyt is of the kind postgresql, which has no deliveries."),
        ("folder", {"conn_type": "aws"}, "The connection 'sector_soyt' is of the type aws, its source is of the kind"),
        ("folder", {"conn_type": "fs"}, "The connection 'sector_soyt' names no absolute path. Write AIRFLOW_CONN_SEC"),
        ("folder", {"conn_type": "fs", "extra": {"path": "a/b"}}, "The connection 'sector_soyt' names no absolute"),
        ("folder", {"conn_type": "fs", "extra": {"pfad": "/"}}, "The connection 'sector_soyt' has extras that are not"),
        ("s3", {"conn_type": "aws"}, "The connection 'sector_soyt' names no endpoint (http or https) and bucket."),
        (
            "s3",
            {"conn_type": "aws", "extra": {"endpoint_url": "ftp://h", "bucket_name": "b"}},
            "The connection 'sector_soyt' names no endpoint (http or https) and bucket.",
        ),
    ],
)
def test_a_connection_that_does_not_fit_is_refused(
    registry: Registry, tmp_path: Path, kind: str, connection: object, said: str
) -> None:
    with pytest.raises(LakeError) as caught:
        open_inbox(access(registry, kind, connection), tmp_path)
    assert str(caught.value).startswith(said)
