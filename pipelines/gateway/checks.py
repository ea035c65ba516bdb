"""What can be said of brokers and inboxes without a network: `lake gateway check`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.contracts.collectors import Collector, check_collectors
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.inbox.watch import folders
from pipelines.gateway.mqtt.connections import connections
from pipelines.gateway.sources import Sources
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


def findings(settings: Settings, registry: Registry, root: Path) -> Iterator[str]:
    """Everything that would keep a message or file from being taken, a sentence each; `root` holds the inboxes."""
    for error in check_collectors(registry):
        yield str(error)
    known = {collector.id: collector for collector in registry.collectors}
    sources = Sources(settings)
    for name, connection in connections(settings).items():
        if name not in known:
            yield f"{name}: schemas/collectors/{name}.yaml is not there"
            continue
        try:
            connection.check()
        except LakeError as error:
            yield f"{name}: {error}"
        yield from _sources(known[name], registry, sources)
    streams = {dataset.id: dataset for dataset in registry.streams()}
    for source in sources.all():
        if own := [name for name in source.datasets if name in streams and not streams[name].is_sent]:
            remedy = f"bind it anew: lake gateway token create {source.name} --agency {source.agency} --dataset …"
            yield f"{source.name} is bound to {', '.join(own)}, which the platform alone writes ({remedy})"
    for path, _ in folders(root):
        yield from _inbox(path, sources, streams)


def _sources(collector: Collector, registry: Registry, sources: Sources) -> Iterator[str]:
    where = registry.collector_sources[collector.id].where
    for index, binding in enumerate(collector.bindings):
        if binding.source is None:
            continue
        try:
            source = sources.named(binding.source)
        except LakeError as error:
            yield f"{where('bindings', index, 'source')}: {collector.id}: {error}"
            continue
        if binding.dataset is not None and not source.may_send(binding.dataset):
            bound = ", ".join(source.datasets)
            yield (
                f"{where('bindings', index, 'source')}: {collector.id}: {source.name} may not send to "
                f"{binding.dataset} (it is bound to: {bound})"
            )


def _inbox(path: Path, sources: Sources, streams: Mapping[str, Dataset]) -> Iterator[str]:
    source, dataset = path.parent.name, path.name
    try:
        allowed = sources.named(source).may_send(dataset)
    except LakeError as error:
        yield f"{path}: {error}"
        return
    if dataset not in streams:
        yield f"{path}: there is no stream {dataset!r}"
    elif not streams[dataset].is_sent:
        yield f"{path}: the platform alone writes {dataset}"
    elif not allowed:
        yield f"{path}: {source} may not send to {dataset}"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield f"{path}: the gateway's user may not read and write there"
