"""The verdict of many rounds, for people and as JSON."""

import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from tests.system.chaos.round import Verdict

SHOWN = 20
SAMPLES = 10_000
"""Recovery times kept for each kind of fault, so that a long run needs little memory."""


@dataclass(slots=True)
class Totals:
    """The sums over all rounds."""

    seed: int
    rounds: int = 0
    events: int = 0
    connections: int = 0
    reconnects: int = 0
    source_reconnects: int = 0
    resumed: int = 0
    resets: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    _first_s: dict[str, list[float]] = field(default_factory=dict)
    _all_s: dict[str, list[float]] = field(default_factory=dict)
    _pause_s: dict[str, list[float]] = field(default_factory=dict)
    _began_s: float = field(default_factory=time.monotonic)

    def add(self, verdict: Verdict) -> None:
        """Add the verdict of a round."""
        self.rounds += 1
        self.events += verdict.events
        self.connections += verdict.connections
        self.reconnects += verdict.reconnects
        self.source_reconnects += verdict.source_reconnects
        self.resumed += verdict.resumed
        self.resets += verdict.resets
        self.bytes += verdict.bytes
        self.differences += [f"seed {verdict.seed}: {difference}" for difference in verdict.differences]
        for recovery in verdict.recoveries:
            self.faults[recovery.fault] += 1
            figures = (recovery.first_s, recovery.all_s, recovery.pause_s)
            for kept, seconds in zip((self._first_s, self._all_s, self._pause_s), figures, strict=True):
                if seconds is not None:
                    kept.setdefault(recovery.fault, []).append(seconds)
                    del kept[recovery.fault][:-SAMPLES]

    def line(self) -> str:
        """The progress so far, in one line."""
        verdict = f"{len(self.differences)} differences" if self.differences else "no difference"
        return (
            f"{time.monotonic() - self._began_s:6.0f} s  {self.rounds} rounds  {self.events:,} events  "
            f"{self.faults.total()} faults  {self.connections:,} connections  {verdict}"
        )

    def as_dict(self) -> dict[str, object]:
        """The summary for scripts; times in seconds."""
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._began_s, 1),
            "rounds": self.rounds,
            "events": self.events,
            "connections_checked": self.connections,
            "connections_made_again": self.reconnects,
            "sources_connected_again": self.source_reconnects,
            "users_resumed": self.resumed,
            "users_reset": dict(self.resets),
            "bytes_checked": self.bytes,
            "faults": {
                name: {
                    "count": count,
                    "first_s": _spread(self._first_s, name),
                    "all_s": _spread(self._all_s, name),
                    "untouched_pause_s": _spread(self._pause_s, name),
                }
                for name, count in sorted(self.faults.items())
            },
            "differences": self.differences,
        }

    def __str__(self) -> str:
        rows = [f"{'fault':<46}{'count':>6}{'first s':>9}{'all s':>9}{'worst s':>9}{'others s':>10}{'worst s':>9}"]
        for name, count in sorted(self.faults.items()):
            first, every, others = (_spread(kept, name) for kept in (self._first_s, self._all_s, self._pause_s))
            recovered = (first.get("median"), every.get("median"), every.get("max"))
            columns = "".join(f"{'-' if figure is None else figure:>9}" for figure in recovered)
            columns += f"{others.get('median', '-'):>10}{others.get('max', '-'):>9}"
            rows.append(f"{name:<46}{count:>6}{columns}")
        rows += [
            "first: median time from the fault until a user received an event sent after it; all: until each of",
            "the steady users had; worst: the longest of those. This includes the duration of the fault and of others.",
            "others: the longest silence of a steady user at a node that no fault in force touches; median and worst.",
            "",
            f"{self.rounds} rounds, {self.events:,} events, {self.faults.total()} faults, {self.connections:,} "
            f"connections and {self.bytes:,} bytes checked,",
            f"{self.reconnects:,} client and {self.source_reconnects:,} source connections were made again,",
            f"resuming users went on {self.resumed:,} times, and were told RESET {self.resets.total():,} times",
        ]
        rows += [f"DIFFERENCE {difference}" for difference in self.differences[:SHOWN]]
        rows.append(f"FAILED: {len(self.differences)} differences" if self.differences else "passed: no difference")
        return "\n".join(rows)


def _spread(times: dict[str, list[float]], name: str) -> dict[str, float]:
    found = times.get(name)
    return {"median": round(median(found), 2), "max": round(max(found), 2)} if found else {}
