"""The topics of a namespace, made from its contracts."""

from __future__ import annotations

from pipelines.contracts.model import SCENARIO_JOB
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import kafka as target
from pipelines.runtime import kafka
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings


def ensure_topics(settings: Settings, registry: Registry) -> tuple[str, ...]:
    """Make what is missing and align the configuration of the rest; returns the names of those that were made.

    Raises:
        ServiceError: Kafka is down, or a topic has another number of partitions than its contract.
    """
    # Only the city itself runs on the wall clock; every other namespace replays a recorded arrival clock.
    simulated = settings.namespace != DEFAULT_NAMESPACE
    wanted = [target.dead_letter_topic(simulated_clock=simulated)]
    if registry.derived(SCENARIO_JOB):
        wanted.append(target.scenario_rule_topic())
    for dataset in registry.datasets:
        if dataset.topic:
            wanted += target.topics(dataset, simulated_clock=simulated)
    return kafka.ensure_topics(settings, wanted)
