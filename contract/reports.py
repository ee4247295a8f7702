"""What processes say about themselves in Redis: heartbeats of nodes and reports of services. Pure.

A heartbeat is a value of the `nodes` hash, one for each fanout node:

    41 1732391092341 12 3 1
    │  │             │  │ └─ has_channel: 1 if the node subscribes to its own channel as long as it is there
    │  │             │  └─── generation: which of the node's connections to Redis it came over, counted up by the node
    │  │             └────── connections: client connections of the node
    │  └──────────────────── time_ms: when it was written, in Redis time
    └─────────────────────── batch: the last batch that the node has written to its clients

A report is a value of the `services` hash, one for each process:

    1732391092341 {"not_ready": [], "role": "leader", "next": 70001, …}
    │             └─ facts: who it is, why it is not ready, settings that others must share, and its stats by name
    └─────────────── time_ms: when it was written, in Redis time

`reports.lua` is the part of this file that scripts need: it writes both, since only Redis knows the time.

Rules kept here:

- Fields are only ever appended. A reader ignores those it does not know and takes 0 for those that an older writer
  did not have: in a heartbeat by position, among the facts by name.
- Batch and time of a heartbeat, and the time of a report, have always been there. Without them it is not one.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORTS_LUA = Path(__file__).with_name("reports.lua")
"""Goes before a script that reads or writes heartbeats or reports."""

_NUMBER = re.compile(rb"[0-9]{1,15}")
"""Up to 15 digits: more than any of them ever has, and Lua counts exactly so far."""
_FIELDS, _LEAST_FIELDS = 5, 2


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's last heartbeat."""

    batch: int
    time_ms: int
    connections: int = 0
    generation: int = 0
    has_channel: int = 0


def parse_heartbeat(text: bytes) -> Heartbeat:
    """Parse `<batch> <time_ms> <connections> <generation> <has_channel> …`. ValueError when it is not a heartbeat."""
    fields = text.split(b" ")[:_FIELDS]
    if len(fields) < _LEAST_FIELDS or not all(map(_NUMBER.fullmatch, fields)):
        raise ValueError(f"not a heartbeat: {text[:80]!r}")
    return Heartbeat(*map(int, fields))


@dataclass(frozen=True, slots=True)
class Report:
    """A service's last report."""

    time_ms: int
    facts: dict[str, Any]

    def number(self, name: str) -> float:
        """A number among the facts; 0 when it is not there."""
        value = self.facts.get(name, 0)
        return value if isinstance(value, int | float) else 0

    @property
    def not_ready(self) -> list[str]:
        """Why the service can't do its work now."""
        return list(self.facts.get("not_ready", ()))

    @property
    def settings(self) -> dict[str, float]:
        """Settings that it should have in common with other services; empty from an older version."""
        return dict(self.facts.get("settings", {}))


def parse_report(text: bytes) -> Report:
    """Parse `<time_ms> <facts as JSON>`. ValueError when it is not a report."""
    time_ms, _, facts = text.partition(b" ")
    found: Any = json.loads(facts) if _NUMBER.fullmatch(time_ms) else None
    if not _are_facts(found):
        raise ValueError(f"not a report: {text[:80]!r}")
    return Report(int(time_ms), found)


def _are_facts(facts: Any) -> bool:
    if not isinstance(facts, dict):
        return False
    found = {name: facts.get(name, kind()) for name, kind in _COLLECTIONS.items()}
    if not all(isinstance(found[name], kind) for name, kind in _COLLECTIONS.items()):
        return False
    numbers = (*found["latency_seconds"], *found["peers"].values(), *found["settings"].values())
    return all(isinstance(number, int | float) for number in numbers)


_COLLECTIONS: dict[str, type] = {
    **dict.fromkeys(("not_ready", "latency_seconds"), list),
    **dict.fromkeys(("peers", "settings", "node_left_behind"), dict),
}
"""Facts that are not one number or text."""
