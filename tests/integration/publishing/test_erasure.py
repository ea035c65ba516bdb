"""A person leaves the lake: tables, history, quarantine and every older version, and does not come back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from altered import sourced
from catalogue import city
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.model import Deletes
from pipelines.contracts.registry import Registry
from pipelines.gateway.tokens import load_tokeniser, rotate
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import load_status
from pipelines.landing.ledger import ledger
from pipelines.publishing.erasure import carry
from pipelines.publishing.erasure.certificate import verify
from pipelines.publishing.erasure.find import find
from pipelines.publishing.erasure.register import erasures
from pipelines.publishing.maintain import maintain
from pipelines.publishing.publication import pinned, publish, rollback, verdicts_of
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.quality.gate import judge
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.serving.trino import Client
from pipelines.warehouse.manifest import resolve

TICKET, TRAINING = "feedback_ticket", "training_record"
HER, HIM = "0912 345 678", "0987 654 321"
HER_NAME, HIS_NAME = "Nguyễn Thị Ân", "Lê Văn Bá"
BY = {"by": "Sở Khoa học và Công nghệ", "reason": "Đơn số 12"}


@pytest.fixture(scope="module", autouse=True)
def judges(lake_services: Any) -> None:
    """The gate needs Spark."""
    lake_services.need("spark")


@pytest.fixture(scope="module")
def kept(registry: Registry) -> Registry:
    """Tickets can do without their reporter, and have a history; a training record cannot do without its person."""
    whole = city()
    datasets = (*registry.datasets, whole.dataset(TRAINING))
    found = replace(registry, datasets=datasets, sector_sources=whole.sector_sources)
    for name in (TICKET, TRAINING):
        layout = FileLayout.model_validate({"format": "json", "name": name.upper() + "_{yyyyMMdd}.json"})
        how = {"mode": "snapshot", "cursor": None, "deletes": Deletes.model_validate("keys"), "history": True}
        found = sourced(found, name, "folder", file=layout, **how)
    return found


def ticket(number: int, phone: str | None, rating: int = 3) -> dict[str, Any]:
    return {
        "ticket_id": f"PA{number:06d}",
        "created_at": "2026-10-01T01:00:00Z",
        "updated_at": "2026-10-02T01:00:00Z",
        "category_code": "traffic",
        "ward_code": "19774",
        "agency_id": "H57.XD",
        "ticket_status": "received",
        "due_at": "2026-10-09T01:00:00Z",
        "rating": rating,
        "reporter_name": HER_NAME if phone == HER else HIS_NAME,
        "reporter_phone": phone,
        "content_text": f"Gọi lại cho tôi số {phone}",
    }


def training(number: int, name: str) -> dict[str, Any]:
    return {
        "training_id": f"HV-{number:06d}",
        city().dataset(TRAINING).field("person_token").source_name: name,
        "position_kind": "manager",
        "unit_level": "city",
        "agency_id": "H57.XD",
        "course_id": "KH-001",
        "course_kind": "gis",
        "plan_year": 2026,
        "work_status": "in_progress",
        "has_certificate": False,
        "started_at": "2026-03-01T01:00:00Z",
        "updated_at": "2026-04-01T01:00:00Z",
    }


@pytest.fixture
def night(
    settings: Settings, kept: Registry, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Load one file of a dataset, dated by a day."""
    settings.set_sector_sample(None)
    folder = tmp_path_factory.mktemp("inbox")
    for name in (TICKET, TRAINING):
        connection = kept.source_of(kept.dataset(name)).connection
        monkeypatch.setenv(variable_of(connection), json.dumps({"conn_type": "fs", "extra": {"path": str(folder)}}))

    def load(dataset: str, day: int, *rows: dict[str, Any]) -> None:
        path = folder / f"{dataset.upper()}_202610{day:02d}.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        then = time.time() - 3600
        os.utime(path, (then, then))
        ingest(settings, kept, dataset, f"night-{day}")

    return load


def release(settings: Settings, registry: Registry, run_id: str) -> None:
    """Judge and publish what there is, as a run does."""
    manifest = resolve(settings, registry, run_id)
    for name in (TICKET, TRAINING):
        judge(settings, registry, manifest, "silver", domain=registry.dataset(name).domain)
    publish(settings, registry, manifest, verdicts_of(settings, run_id), by="airflow", reason="run")


def silver(settings: Settings, dataset: str) -> dict[str, dict[str, Any]]:
    rows = DeltaTable(str(settings.table_path("silver", dataset))).to_pyarrow_table().to_pylist()
    key = "ticket_id" if dataset == TICKET else "training_id"
    return {row[key]: row for row in rows}


def oldest_readable(settings: Settings, layer: str, dataset: str) -> int:
    path, version = settings.table_path(layer, dataset), 0
    while True:
        try:
            DeltaTable(str(path), version=version)
        except DeltaError:
            version += 1
        else:
            return version


def said_anywhere(settings: Settings, layer: str, dataset: str, tokens: set[str]) -> list[int]:
    """The versions of a table, all that can be read, in which one of these texts stands."""
    path = str(settings.table_path(layer, dataset))
    newest = DeltaTable(path).version()
    found = []
    for version in range(oldest_readable(settings, layer, dataset), newest + 1):
        text = str(DeltaTable(path, version=version).to_pyarrow_table().to_pylist())
        if any(token in text for token in tokens):
            found.append(version)
    return found


def log_of(settings: Settings, layer: str, dataset: str) -> str:
    """Everything in a table's log that is text: statistics hold values."""
    folder = settings.table_path(layer, dataset) / "_delta_log"
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.json"))


def test_a_person_is_gone_from_everything_and_does_not_come_back(
    settings: Settings, kept: Registry, night: Callable[..., None]
) -> None:
    night(TICKET, 1, ticket(1, HER), ticket(2, HIM), ticket(3, HER))
    night(TRAINING, 1, training(1, HER_NAME), training(2, HIS_NAME))
    rotate(settings)
    # With another key every token of a reporter is another one; the first one still stands in bronze.
    night(TICKET, 2, ticket(1, HER, rating=4), ticket(2, HIM), ticket(3, HER, rating=1), ticket(4, HER, rating=99))
    ensure_serving(settings, kept)
    release(settings, kept, "before")
    tokeniser = load_tokeniser(settings)
    tokens = {*tokeniser.tokens("phone", HER), *tokeniser.tokens("name", HER_NAME)}
    his = tokeniser.tokens("phone", HIM)
    newest = tokeniser.token("phone", HER, tokeniser.newest)
    assert {name for one in find(settings, kept, [newest]) for name in one.places} == {
        f"silver.{TICKET}",
        f"bronze.{TICKET}",
        "quality.quarantine",
    }
    assert said_anywhere(settings, "silver", TICKET, tokens) and newest in log_of(settings, "bronze", TICKET)
    old_pin = pinned(Platform(settings))[TICKET]

    with pytest.raises(LakeError, match="a name and a reason"):
        carry.erase(settings, kept, [newest], by=" ", reason="x")
    wanted = (*tokeniser.tokens("phone", HER), *tokeniser.tokens("name", HER_NAME))
    done = carry.erase(settings, kept, wanted, **BY)
    assert done is not None and done.certificate is not None

    # The ticket stays without her, the record that is only about her goes.
    tickets = silver(settings, TICKET)
    assert sorted(tickets) == ["PA000001", "PA000002", "PA000003"]
    for number in (1, 3):
        row = tickets[f"PA{number:06d}"]
        assert (row["reporter_token"], row["phone_token"], row["content_text"]) == (None, None, None)
        assert row["category_code"] == "traffic"
    assert tickets["PA000002"]["phone_token"] in his
    assert sorted(silver(settings, TRAINING)) == ["HV-000002"]
    assert find(settings, kept, wanted) == ()
    # No version that can be read holds her, nor what the log says of its files.
    for layer in ("silver", "bronze"):
        for dataset in (TICKET, TRAINING):
            assert said_anywhere(settings, layer, dataset, tokens | {HER, HER_NAME}) == []
            assert not any(token in log_of(settings, layer, dataset) for token in tokens)
    assert said_anywhere(settings, "quality", "quarantine", {"PA000004"}) == []
    pins = pinned(Platform(settings))
    assert pins[TICKET] > old_pin
    with Client(settings, "analyst") as client:
        assert client.query(f"SELECT count(*) FROM published.{TICKET}") == [[3]]
        assert client.query(f"SELECT count(*) FROM published.{TRAINING}") == [[1]]
        states = client.query(f"SELECT ticket_id, rating, is_current FROM live.{TICKET}_history ORDER BY 1, 2")
        people = client.query(f"SELECT DISTINCT training_id FROM live.{TRAINING}_history")
    # What the city knows of the ticket stays, its states too; of the person there is none.
    assert states == [
        ["PA000001", 3, False],
        ["PA000001", 4, True],
        # Of his only the token changed, with the key.
        ["PA000002", 3, False],
        ["PA000002", 3, True],
        ["PA000003", 1, True],
        ["PA000003", 3, False],
    ]
    assert people == [["HV-000002"]]
    with pytest.raises(LakeError, match="không đọc được nữa"):
        rollback(settings, kept, TICKET, old_pin, by="S", reason="x")
    assert ledger(settings, kept).violations == ()
    maintain(settings, kept)

    # The source sends her again, also with a change; only what changed besides comes in.
    night(TICKET, 3, ticket(1, HER, rating=5), ticket(2, HIM), ticket(3, HER, rating=1))
    night(TRAINING, 3, training(1, HER_NAME), training(2, HIS_NAME), training(3, HER_NAME))
    row = silver(settings, TICKET)["PA000001"]
    assert (row["rating"], row["phone_token"], row["content_text"]) == (5, None, None)
    assert sorted(silver(settings, TRAINING)) == ["HV-000002", "HV-000003"], "a new record is of after the request"
    status = load_status(settings, kept.dataset(TRAINING))
    assert status is not None and (status.suppressed, status.inserted) == (1, 1)
    assert {name for one in find(settings, kept, wanted) for name in one.places} == {
        f"silver.{TRAINING}",
        f"bronze.{TRAINING}",
    }
    assert ledger(settings, kept).violations == ()

    statement = verify(settings, done.certificate)
    assert statement["tables"][f"silver.{TICKET}"]["rows"] == 2
    assert statement["tables"][f"silver.{TRAINING}"] | {"clean_from": 0} == {
        "clean_from": 0,
        "how": "deleted",
        "rows": 1,
    }
    assert statement["published_versions"][TICKET] == pins[TICKET]
    text = done.certificate.read_text(encoding="utf-8")
    assert not any(secret in text for secret in (*wanted, HER, HER_NAME))
    forged = done.certificate.with_name("forged.json")
    forged.write_text(text.replace(BY["reason"], "Đơn số 13"), encoding="utf-8")
    with pytest.raises(LakeError, match="was changed"):
        verify(settings, forged)


class Crash(Exception):
    """The process ends here."""


STEPS = (f"silver.{TICKET}", "emptied", "released")


@pytest.mark.parametrize("at", STEPS)
def test_an_erasure_that_was_stopped_is_finished_by_the_same_command(
    at: str, settings: Settings, kept: Registry, night: Callable[..., None]
) -> None:
    day = 4 + 2 * STEPS.index(at)
    phone = f"0905 111 {day:03d}"
    rows = (ticket(1, HER, rating=5), ticket(2, HIM), ticket(3, HER, rating=1), ticket(100 + day, phone))
    night(TICKET, day, *rows)
    release(settings, kept, f"stop-{day}")
    token = load_tokeniser(settings).tokens("phone", phone)

    def crash(step: str) -> None:
        if step == at:
            raise Crash

    with pytest.raises(Crash):
        carry.erase(settings, kept, token, **BY, step=crash)
    # Whatever the crash left, people are shown a version that can be read, and maintenance kills none.
    maintain(settings, kept)
    began = erasures(settings)[-1]
    assert began.state != "done"
    if began.state == "begun":
        with pytest.raises(LakeError, match="the same token again"):
            carry.resume(settings, kept, began.erasure_id)
        done = carry.erase(settings, kept, token, **BY)
    elif began.state == "emptied":
        # What comes meanwhile is taken out with the rest.
        night(TICKET, day + 1, *rows, ticket(200 + day, phone))
        done = carry.erase(settings, kept, token, **BY)
        assert silver(settings, TICKET)[f"PA{200 + day:06d}"]["phone_token"] is None
    else:
        done = carry.resume(settings, kept, began.erasure_id)
    assert done is not None and done.erasure.erasure_id == began.erasure_id
    assert done.erasure.state == "done" and verify(settings, done.certificate)["erasure_id"] == began.erasure_id
    assert find(settings, kept, token) == () and said_anywhere(settings, "silver", TICKET, set(token)) == []
    assert silver(settings, TICKET)[f"PA{100 + day:06d}"]["phone_token"] is None
    assert carry.erase(settings, kept, token, **BY) is None, "a second request finds nothing"
    assert ledger(settings, kept).violations == ()


def test_what_a_law_wants_kept_is_kept_and_named(
    settings: Settings, kept: Registry, night: Callable[..., None]
) -> None:
    night(
        TRAINING, 20, training(1, HER_NAME), training(2, HIS_NAME), training(3, HER_NAME), training(9, "Trần Thị Cúc")
    )
    token = load_tokeniser(settings).tokens("name", "Trần Thị Cúc")
    assert carry.erase(settings, kept, token, **BY, kept=[TRAINING]) is None
    with pytest.raises(LakeError, match="no dataset 'nothing'"):
        carry.erase(settings, kept, token, **BY, kept=["nothing"])
    assert "HV-000009" in silver(settings, TRAINING)
