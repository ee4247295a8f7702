"""Log lines that peers cause: counted, and limited so that no peer floods the log.

Pure: writing and time are the caller's.

Rules kept here:

- A kind of line is an event with its reason. The first line of a kind is written at once.
- After that at most one a second is written: the latest, with `suppressed`, the number of those left out.
- Every line is counted, written or not. Lines at debug level are written as they come.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

INTERVAL_S = 1.0

Kind = tuple[str, str]
"""(event, reason); the reason is empty where the event has none."""
Write = Callable[[str, str, dict[str, Any]], None]
"""Writes a line: level, event, fields."""
Later = Callable[[float, Callable[[], None]], object]
"""Calls back after a number of seconds, like an event loop's `call_later`."""


@dataclass(slots=True)
class Held:
    """What is held back of one kind in the current second."""

    count: int = 0
    level: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class PeerLog:
    """One process's lines about its peers. `counts` has how many there were of each kind."""

    def __init__(self, write: Write, later: Later) -> None:
        self.counts: Counter[Kind] = Counter()
        self._write = write
        self._later = later
        self._held: dict[Kind, Held] = {}

    def debug(self, event: str, **fields: Any) -> None:
        """Count it, and write it where that level is on."""
        self.counts[_kind(event, fields)] += 1
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log("warning", event, fields)

    def close(self) -> None:
        """The process ends: write what was held back, and all counts."""
        for kind in list(self._held):
            self._write_held(kind)
        self._write("info", "peer_counts", {"counts": dict(self.by_reason())})

    def by_reason(self) -> Counter[str]:
        """The counts under one name each: `event: reason`."""
        return Counter({": ".join(filter(None, kind)): count for kind, count in sorted(self.counts.items())})

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        kind = _kind(event, fields)
        self.counts[kind] += 1
        held = self._held.get(kind)
        if held is not None:
            held.count += 1
            held.level, held.fields = level, fields
            return
        self._write(level, event, fields)
        self._hold_back(kind)

    def _hold_back(self, kind: Kind) -> None:
        self._held[kind] = Held()
        self._later(INTERVAL_S, lambda: self._second_is_over(kind))

    def _second_is_over(self, kind: Kind) -> None:
        if self._write_held(kind):
            self._hold_back(kind)

    def _write_held(self, kind: Kind) -> bool:
        held = self._held.pop(kind, Held())
        if held.count:
            self._write(held.level, kind[0], held.fields | {"suppressed": held.count - 1})
        return held.count > 0


def _kind(event: str, fields: dict[str, Any]) -> Kind:
    return event, str(fields.get("reason", ""))
