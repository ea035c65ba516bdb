"""A night on which everything dies once: every table equals the undisturbed run, every record has its outcome.

While the replays flow: the TaskManager is killed, landing is killed and started twice, both managers are killed, the
state of one job is dropped, and a contract is added to it. Nothing is stopped politely.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from demo_run import PLAN, DemoRun, rows

from pipelines.commands.demo import REPLAYS, wait_until_settled
from pipelines.commands.flood_night import forecast_second_wave
from pipelines.commands.platform import start_namespace, stop_namespace
from pipelines.contracts.registry import Registry
from pipelines.landing.ledger import ledger
from pipelines.landing.status import read_status
from pipelines.replay.catalog import make_replay
from pipelines.replay.sender import send_replay
from pipelines.runtime import flink
from pipelines.runtime.process import lake_executable
from pipelines.runtime.services import endpoints, running
from pipelines.runtime.settings import Settings
from pipelines.serving.bootstrap import apply
from pipelines.streaming.job import jobs_of
from pipelines.streaming.supervise import Records

pytestmark = pytest.mark.timeout(1200)
RECORDED_SECONDS_PER_SECOND = 40_000
"""Nine days of flood in about 20 s: long enough for every death to fall into moving data."""


@pytest.fixture
def night(demo_run: DemoRun, tmp_path: Path) -> Iterator[Settings]:
    """A namespace of its own on the same servers, its jobs running, with schemas that the test may edit."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("pyproject.toml", "data", "infra"):
        (home / name).symlink_to(demo_run.settings.home / name)
    shutil.copytree(demo_run.settings.home / "schemas", home / "schemas")
    settings = replace(demo_run.settings.with_namespace("night"), home=home)
    settings.set_profile("demo")
    for _ in apply(settings, demo_run.registry, serving=False):
        pass
    start_namespace(settings, desk=False)
    for domain in jobs_of(demo_run.registry):
        flink.wait_running(settings, settings.group(domain), 240)
    yield settings
    stop_namespace(settings)


def _kill(settings: Settings, name: str) -> None:
    os.kill(running(settings)[name].pid, signal.SIGKILL)


def _lands(settings: Settings) -> bool:
    """Whether the process that the supervisor keeps is the one that lands (its status is written under the lease)."""
    status, process = read_status(settings), running(settings).get(settings.group("landing"))
    return status is not None and process is not None and status.pid == process.pid


def _landed(settings: Settings, dataset: str) -> int:
    path = settings.table_path("silver", dataset)
    return DeltaTable(str(path)).count()


def _send_all(settings: Settings, registry: Registry) -> None:
    for name in REPLAYS:
        replay = make_replay(name, registry, settings.home / "data", PLAN.faults)
        speed = RECORDED_SECONDS_PER_SECOND if name == "flood-2025" else 0
        send_replay(replay, settings, registry, endpoints(settings).kafka, speed=speed)


def test_every_table_equals_the_undisturbed_run(
    demo_run: DemoRun, night: Settings, wait_until: Callable[..., None]
) -> None:
    registry = demo_run.registry
    records = Records(night)
    sender = threading.Thread(target=_send_all, args=(night, registry))
    sender.start()

    wait_until(lambda: _landed(night, "river_stage") > 0, 120, "the first readings in silver")
    _kill(night, "flink-taskmanager")
    _kill(night, night.group("landing"))
    for domain in jobs_of(registry):
        flink.wait_running(night, night.group(domain), 240)
    wait_until(lambda: _lands(night), 120, "landing comes back by itself and holds its tables")

    second = subprocess.run(
        [lake_executable(), "landing", "run"],
        env={**os.environ, **night.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1, "a second landing must refuse to write"
    assert night.namespace in second.stderr or "landing" in second.stderr

    before = {domain: _record(records, domain) for domain in jobs_of(registry)}
    managers = [psutil.Process(running(night)[name].pid) for name in ("flink-jobmanager", "flink-taskmanager")]
    for manager in managers:
        manager.kill()
    wait_until(
        lambda: all(_record(records, d) != before[d] for d in before), 300, "the supervisor submits every job again"
    )
    for domain in jobs_of(registry):
        flink.wait_running(night, night.group(domain), 240)

    rebuilds = _rebuilds(records, "flood")
    records.request_rebuild("flood")
    wait_until(lambda: _rebuilds(records, "flood") > rebuilds, 240, "the flood job is rebuilt from the raw topics")
    flink.wait_running(night, night.group("flood"), 240)

    rebuilds = _rebuilds(records, "flood")
    _add_contract(night, "river_stage", "river_stage_backup")
    wait_until(lambda: _rebuilds(records, "flood") > rebuilds, 240, "a contract was added: the job is rebuilt again")
    flink.wait_running(night, night.group("flood"), 240)

    sender.join(timeout=300)
    assert not sender.is_alive()
    wait_until_settled(night, registry, 300)
    forecast_second_wave(night, registry)
    wait_until_settled(night, registry, 300)

    # The messages of an exercise carry its namespace in their identifiers; what they are made of is compared.
    for dataset in (d for d in registry.datasets if (d.stream or d.derived) and d.id != "alert_cap"):
        expected, found = (_told(rows(settings, dataset), dataset.id) for settings in (demo_run.settings, night))
        assert found.num_rows == expected.num_rows, dataset.id
        assert found.equals(expected), f"{dataset.id} differs from the undisturbed run"
    entries = {entry.dataset: entry for entry in ledger(night, registry).datasets}
    assert not [sentence for entry in entries.values() for sentence in entry.violations]
    for name in REPLAYS:
        for dataset_id, truth in demo_run.truth(name).datasets.items():
            entry = entries[dataset_id]
            assert (entry.received, entry.refused, entry.duplicate, entry.accepted) == (
                truth.sent,
                truth.refused_total,
                truth.duplicate,
                truth.accepted,
            ), dataset_id


def _told(table: pa.Table, dataset: str) -> pa.Table:
    """What a table says of the city: when its scenarios were published is another moment in each run."""
    return table.drop_columns(["changed_at", "received_at"]) if dataset == "scenario_change" else table


def _add_contract(settings: Settings, like: str, name: str) -> None:
    """Add one dataset to the domain flood and to what the namespace holds, whole at once as an editor or git does."""
    profiles = settings.home / "schemas" / "profiles.yaml"
    listed = profiles.read_text(encoding="utf-8").replace(f"- {like}\n", f"- {like}\n      - {name}\n", 1)
    whole = profiles.with_suffix(".partial")
    whole.write_text(listed, encoding="utf-8")
    os.replace(whole, profiles)
    folder = settings.home / "schemas" / "datasets" / "flood"
    text = (folder / f"{like}.yaml").read_text(encoding="utf-8").replace(f"id: {like}", f"id: {name}")
    partial = folder / f"{name}.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, folder / f"{name}.yaml")


def _record(records: Records, domain: str) -> str:
    record = records.read(domain)
    return record.job_id if record else ""


def _rebuilds(records: Records, domain: str) -> int:
    record = records.read(domain)
    return record.rebuilds if record else 0
