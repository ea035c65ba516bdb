"""Kafka clients with the settings that the rest of the platform relies on."""

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_TIMEOUT_S = 15.0
_POLL_S = 0.1
ClientConfig = dict[str, str | int | float | bool]


class TopicSpec(Protocol):
    """A topic without its namespace prefix, as contracts compile it; `config` as Kafka names it."""

    @property
    def name(self) -> str:
        """`raw.river_stage`."""

    @property
    def partitions(self) -> int:
        """How many partitions it is made with."""

    @property
    def config(self) -> tuple[tuple[str, str], ...]:
        """Topic settings, name and value."""


def admin(settings: Settings) -> AdminClient:
    """Return an admin client of the running cluster; raises ServiceError when Kafka is down."""
    return AdminClient({"bootstrap.servers": endpoints(settings).kafka, "log_level": 3})


def ensure_topics(settings: Settings, topics: Iterable[TopicSpec]) -> tuple[str, ...]:
    """Make the namespace's topics that are missing and bring the configuration of the others to what is asked.

    Returns the full names of those that were made. Raises ServiceError when a topic exists with another number of
    partitions: keys would move to other partitions, so that is never changed silently.
    """
    wanted = {settings.topic(topic.name): topic for topic in topics}
    client = admin(settings)
    present = client.list_topics(timeout=_TIMEOUT_S).topics
    missing = [name for name in wanted if name not in present]
    new = [NewTopic(name, wanted[name].partitions, 1, config=dict(wanted[name].config)) for name in missing]
    for name, future in client.create_topics(new).items() if new else ():
        try:
            future.result(timeout=_TIMEOUT_S)
        except KafkaException as error:
            # Two processes may ensure the same topic at once; both then find it.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ServiceError(f"Kafka cannot make the topic {name}: {error.args[0].str()}") from error
    old = [name for name in wanted if name in present]
    for name in old:
        partitions = len(present[name].partitions)
        if partitions != wanted[name].partitions:
            raise ServiceError(
                f"The topic {name} has {partitions} partitions, its contract asks for {wanted[name].partitions}.",
                "Keep the number in the contract, or begin a new namespace.",
            )
    _align_configs(client, {name: dict(wanted[name].config) for name in old})
    return tuple(missing)


def _align_configs(client: AdminClient, wanted: Mapping[str, Mapping[str, str]]) -> None:
    if not wanted:
        return
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    changes = []
    for resource, future in client.describe_configs(resources).items():
        current = future.result(timeout=_TIMEOUT_S)
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in wanted[resource.name].items()
            if key not in current or current[key].value != value
        ]
        if entries:
            changes.append(ConfigResource(ResourceType.TOPIC, resource.name, incremental_configs=entries))
    for future in client.incremental_alter_configs(changes).values() if changes else ():
        future.result(timeout=_TIMEOUT_S)


def delete_topics(settings: Settings) -> tuple[str, ...]:
    """Delete every topic of the namespace (an exercise that is over); returns their names."""
    client = admin(settings)
    prefix = settings.topic("")
    names = sorted(name for name in client.list_topics(timeout=_TIMEOUT_S).topics if name.startswith(prefix))
    for future in client.delete_topics(names, operation_timeout=_TIMEOUT_S).values() if names else ():
        future.result(timeout=_TIMEOUT_S)
    return tuple(names)


def remove_topics(settings: Settings, names: Iterable[str]) -> None:
    """Delete topics of the namespace, and wait until they are gone: a topic that is made again has another id."""
    client, wanted = admin(settings), {settings.topic(name) for name in names}
    present = sorted(wanted & set(client.list_topics(timeout=_TIMEOUT_S).topics))
    for future in client.delete_topics(present, operation_timeout=_TIMEOUT_S).values() if present else ():
        future.result(timeout=_TIMEOUT_S)
    deadline = time.monotonic() + _TIMEOUT_S
    while left := wanted & set(client.list_topics(timeout=_TIMEOUT_S).topics):
        if time.monotonic() > deadline:
            raise ServiceError(f"Kafka does not delete {', '.join(sorted(left))}.", "See `lake logs kafka`.")
        time.sleep(_POLL_S)


def producer_config(bootstrap: str) -> ClientConfig:
    """Return the settings of a producer that loses nothing and repeats nothing within its session.

    The partitioner is that of the Java clients: one key lands in one partition, whoever sends it.
    """
    return {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": 2 * 1024 * 1024,
    }


def producer(settings: Settings, overrides: Mapping[str, str | int | float | bool] | None = None) -> Producer:
    """Return an idempotent producer with acks=all; raises ServiceError when Kafka is down."""
    return Producer({**producer_config(endpoints(settings).kafka), **(overrides or {})})


def consumer(
    settings: Settings, name: str, overrides: Mapping[str, str | int | float | bool] | None = None
) -> Consumer:
    """Return a consumer named in the namespace that commits nothing by itself; raises ServiceError when Kafka is down.

    An offset outside the topic's range is an error, never a silent seek.
    """
    config: ClientConfig = {
        "bootstrap.servers": endpoints(settings).kafka,
        "group.id": settings.group(name),
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    return Consumer({**config, **(overrides or {})})
