"""Brings running services to what the contracts say; idempotent, so it is called whenever something may be missing."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.contracts.model import SCENARIO_JOB
from pipelines.contracts.registry import Registry
from pipelines.landing.tables import ensure_tables
from pipelines.publishing.registration import ensure_serving
from pipelines.runtime.settings import Settings
from pipelines.scenarios.publish import publish
from pipelines.streaming.topics import ensure_topics
from pipelines.warehouse.code_lists import ensure_code_lists


def apply(settings: Settings, registry: Registry, *, serving: bool = True) -> Iterator[str]:
    """Topics, tables, code lists, rules and (unless ``serving`` is off) Trino's catalog; yields a sentence per step.

    Raises:
        ServiceError: Kafka or Trino does not answer.
        LakeError: a topic or table exists that disagrees with its contract; nothing is changed by force.
    """
    made = ensure_topics(settings, registry)
    yield f"topics: {len(made)} made" if made else "topics: as the contracts say"
    tables = ensure_tables(settings, registry)
    yield f"tables: {len(tables)} as the contracts say"
    lists = ensure_code_lists(settings, registry)
    yield f"code lists: {len(lists)} loaded"
    if registry.derived(SCENARIO_JOB):
        rules = publish(settings, registry, by="lake contracts apply")
        changed = ", ".join(record.scenario for record in rules)
        yield f"scenarios: {changed} published" if rules else "scenarios: as the files say"
    if serving:
        done = ensure_serving(settings, registry)
        new, gone = len(done.registered), len(done.unregistered)
        yield f"Trino catalog {settings.catalog}: {new} tables registered, {gone} removed"
