"""The exported metrics, parsed from what the services answer on /metrics."""

import dataclasses
import re
from collections import Counter
from typing import Any

from fanout.stats import FanoutStats
from listener.stats import ListenerStats
from runtime.metrics import exposition
from sequencer.stats import SequencerStats

SERVICES: dict[str, type] = {"listener": ListenerStats, "sequencer": SequencerStats, "fanout": FanoutStats}
PROCESS = "process"
"""In place of a service's name: the metrics that every process exports."""
ANY = "any"
"""Placeholder for reasons that are not known in advance."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """One metric; the fields are the columns of the table in docs/metrics.md."""

    name: str
    kind: str
    labels: str
    meaning: str


def exported(service: str) -> list[Exported]:
    """The metrics of one service, or those of every process, in the order of the exposition."""
    text = _text("listener" if service == PROCESS else service)
    found = re.findall(r"^# HELP (\w+) (.*)\n# TYPE \1 (\w+)\n((?:[^#].*\n)*)", text, re.MULTILINE)
    return [
        Exported(name, kind, _labels(samples), meaning)
        for name, meaning, kind, samples in found
        if name.startswith("parade_") == (service != PROCESS)
    ]


def series() -> set[str]:
    """Every series name that a query can use; a histogram has three."""
    names = set()
    for service in (*SERVICES, PROCESS):
        for metric in exported(service):
            endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
            names |= {metric.name + ending for ending in endings}
    return names


def _text(service: str) -> str:
    stats: Any = SERVICES[service]()
    for value in vars(stats).values():
        if isinstance(value, Counter):
            value[ANY] = 0
        elif isinstance(value, dict):
            value[ANY] = ANY
    return exposition(service, stats, ready=True).decode()


def _labels(samples: str) -> str:
    found = re.findall(r'[{,](\w+)="([^"]*)"', samples)
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(name for name, _ in found) if name != "le")
    known = ", ".join(value for name, value in found if name == "reason" and value != ANY)
    return f"{names}: {known}" if known else names
