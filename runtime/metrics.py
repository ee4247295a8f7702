"""Stats in the form that Prometheus reads, made when it asks."""

import dataclasses
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.stats import metric_name

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class StatsCollector(Collector):
    """One service's stats as Prometheus metrics."""

    def __init__(self, service: str, stats: Any) -> None:
        self._service = service
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        for field in dataclasses.fields(self._stats):
            name, meaning = metric_name(self._service, field), field.metadata["meaning"]
            value = getattr(self._stats, field.name)
            match field.metadata["kind"]:
                case "counter":
                    yield CounterMetricFamily(name, meaning, value=value)
                case "gauge":
                    yield GaugeMetricFamily(name, meaning, value=value)
                case "by_reason":
                    reasons = CounterMetricFamily(name, meaning, labels=["reason"])
                    for reason, count in value.items():
                        reasons.add_metric([reason], count)
                    yield reasons
                case "by_node":
                    nodes = GaugeMetricFamily(name, meaning, labels=["node", "reason"])
                    for node, reason in value.items():
                        nodes.add_metric([node, reason], 1)
                    yield nodes
                case "histogram":
                    bounds = [*(str(bound) for bound in value.bounds), "+Inf"]
                    buckets = list(zip(bounds, accumulate(value.counts), strict=True))
                    yield HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=value.sum)


class ReadyCollector(Collector):
    """Whether `/readyz` would say yes."""

    def __init__(self, service: str, ready: bool) -> None:
        self._service = service
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        meaning = "1 while this process says on /readyz that it can do its work"
        yield GaugeMetricFamily(f"parade_{self._service}_ready", meaning, value=self._ready)


def exposition(service: str, stats: Any, ready: bool) -> bytes:
    """Everything about this process, as text."""
    registry = CollectorRegistry()
    registry.register(ReadyCollector(service, ready))
    registry.register(StatsCollector(service, stats))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)
