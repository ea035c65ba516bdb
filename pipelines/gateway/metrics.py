"""The gateway's counters in the form of Prometheus; they are read from the core when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pipelines.gateway.core import Core
from pipelines.gateway.told import Watched

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one gateway process."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, core: Core, others: Watched | None = None) -> None:
        """Nothing global: each gateway has a registry of its own. `others` are the ways in besides HTTP."""
        self._registry = CollectorRegistry()
        self._registry.register(_CoreCollector(core))
        if others is not None:
            self._registry.register(_OtherCollector(others))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "lake_gateway_requests", "Answers to POST /v1/ingest, by status.", ("status",), registry=self._registry
        )
        self._seconds = Histogram(
            "lake_gateway_request_seconds",
            "From the first byte of a request to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )

    def request(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _CoreCollector(Collector):
    def __init__(self, core: Core) -> None:
        self._core = core

    def collect(self) -> Iterator[Metric]:
        """Everything that the core counts."""
        records = CounterMetricFamily(
            "lake_gateway_records", "Records by what became of them.", labels=("dataset", "outcome")
        )
        state = self._core.state
        for (dataset, outcome), count in state.outcomes.items():
            records.add_metric((dataset, outcome), count)
        yield records
        waiting = GaugeMetricFamily("lake_gateway_spool_records", "Records that wait for Kafka.", labels=("dataset",))
        for dataset, count in state.waiting.items():
            waiting.add_metric((dataset,), count)
        yield waiting
        quarantined = self._core.quarantined
        kept = GaugeMetricFamily(
            "lake_gateway_quarantine_records", "Kept records of devices that nobody registered.", labels=("dataset",)
        )
        for dataset, count in quarantined.records.items():
            kept.add_metric((dataset,), count)
        gone = CounterMetricFamily(
            "lake_gateway_quarantine_gone_records", "Of these, let go: too old, or no room.", labels=("dataset", "why")
        )
        for each in quarantined.gone:
            gone.add_metric((each.dataset, each.why), each.records)
        yield from (kept, gone)
        gauges = {
            "lake_gateway_quarantine_bytes": ("Disk under records of unknown devices.", quarantined.used_bytes),
            "lake_gateway_quarantine_limit_bytes": ("The bound of that disk.", quarantined.limit_bytes),
            "lake_gateway_kafka_connected": ("Whether Kafka answers.", state.is_connected),
            "lake_gateway_spool_bytes": ("Bytes of the spool in use.", state.spool_bytes),
            "lake_gateway_spool_limit_bytes": ("The bound of the spool.", state.spool_limit_bytes),
            "lake_gateway_spool_damaged_records": ("Records that the disk changed.", state.damaged),
            "lake_gateway_in_flight_bytes": ("Bytes that have no receipt yet.", state.in_flight_bytes),
        }
        for name, (said, value) in gauges.items():
            yield GaugeMetricFamily(name, said, value=float(value))


class _OtherCollector(Collector):
    def __init__(self, others: Watched) -> None:
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """How brokers and inboxes go."""
        names = ("kind", "name")
        well = GaugeMetricFamily("lake_gateway_collector_up", "Whether nothing is wrong with it.", labels=names)
        waiting = GaugeMetricFamily(
            "lake_gateway_collector_waiting", "Messages or files that came and are not safe yet.", labels=names
        )
        events = CounterMetricFamily(
            "lake_gateway_collector_events", "What happened, by word.", labels=(*names, "event")
        )
        for told in self._others.told():
            well.add_metric((told.kind, told.name), float(not told.problem))
            waiting.add_metric((told.kind, told.name), told.waiting)
            for event, count in told.counts.items():
                events.add_metric((told.kind, told.name, event), count)
        unbound = GaugeMetricFamily(
            "lake_gateway_unbound_messages", "Different messages that no dataset could be found for.",
            labels=("collector", "reason"),
        )  # fmt: skip
        for (collector, reason), count in self._others.unbound().items():
            unbound.add_metric((collector, reason), count)
        yield from (well, waiting, events, unbound)
