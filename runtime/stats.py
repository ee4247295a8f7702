"""What a service counts: declared once, shown as metrics and in its report. Pure.

A service's stats are a dataclass whose fields are made by `counter`, `gauge`, `by_reason`, `by_node` and `histogram`,
each with its meaning. The hot path adds to plain numbers; all other work is done when they are shown.
"""

import dataclasses
from bisect import bisect_left
from collections import Counter
from typing import Any

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds for durations."""


class Histogram:
    """How many observations fell under each upper bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def counter(meaning: str) -> Any:
    """A number that only grows."""
    return dataclasses.field(default=0, metadata={"kind": "counter", "meaning": meaning})


def gauge(meaning: str) -> Any:
    """A number that goes up and down."""
    return dataclasses.field(default=0, metadata={"kind": "gauge", "meaning": meaning})


def by_reason(meaning: str, *known: str) -> Any:
    """Counters, one for each reason; the known ones begin at 0, since Prometheus sees no increase from nothing."""
    return dataclasses.field(
        default_factory=lambda: Counter(dict.fromkeys(known, 0)), metadata={"kind": "by_reason", "meaning": meaning}
    )


def by_node(meaning: str) -> Any:
    """A gauge for each node that has something now: node → reason. Its metric's name does not have the service's."""
    return dataclasses.field(default_factory=dict, metadata={"kind": "by_node", "meaning": meaning})


def histogram(meaning: str, bounds: tuple[float, ...] = SECONDS) -> Any:
    """A Histogram."""
    return dataclasses.field(
        default_factory=lambda: Histogram(bounds), metadata={"kind": "histogram", "meaning": meaning}
    )


def clear_gauges(stats: Any) -> None:
    """Reset every gauge to 0."""
    for field in dataclasses.fields(stats):
        if field.metadata["kind"] == "gauge":
            setattr(stats, field.name, 0)
        elif field.metadata["kind"] == "by_node":
            setattr(stats, field.name, {})


def metric_name(service: str, field: "dataclasses.Field[Any]") -> str:
    """`parade_listener_received_bytes_total`: Prometheus's conventions, with the unit in the field's name."""
    if field.metadata["kind"] == "by_node":
        return f"parade_{field.name}"
    total = "_total" if field.metadata["kind"] in ("counter", "by_reason") else ""
    return f"parade_{service}_{field.name}{total}"


def as_json(stats: Any) -> dict[str, Any]:
    """The values by field name; a histogram as its counts."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(stats):
        value = getattr(stats, field.name)
        found[field.name] = value.counts if isinstance(value, Histogram) else value
    return found


def quantile(counts: list[int], share: float, bounds: tuple[float, ...] = SECONDS) -> float | None:
    """Estimate the value below which this share of the observations lies; None without any."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for index, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = bounds[index - 1] if index else 0.0
            high = bounds[index] if index < len(bounds) else bounds[-1]
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return bounds[-1]
