"""How clients that a node ends, and those that come to it, are spread over time. Pure: the caller has the time.

Rules kept here:

- A node that drains ends at most `per_s` connections a second, as long as the time that it has allows that. Beyond
  that those who opted in spread themselves: they are told to wait for a random time, up to `max_wait_ms`.
- Clients that come are refused only when more of them come than the node takes, and for longer than a burst. Each is
  told to wait as long as it takes until those that were refused before it have come.
"""

from dataclasses import dataclass
from math import ceil

from runtime.edge.rates import RateLimit

LEAST_WAIT_MS = 100
"""So that those who are told at the same moment do not come back at the same moment."""
LONGEST_WAIT_MS = 60_000
_ALL = b""


@dataclass(frozen=True, slots=True)
class Spread:
    """Over how long connections are ended, and how much longer those who are told so spread their return."""

    seconds: float
    max_wait_ms: int


def drained(connections: int, least_s: float, most_s: float, per_s: int) -> Spread:
    """How a node ends its connections: over `least_s` or longer, if they are many, up to `most_s`; 0: at once."""
    wanted_s = max(least_s, connections / per_s)
    seconds = min(wanted_s, max(least_s, most_s)) if least_s else 0.0
    return Spread(seconds, max(LEAST_WAIT_MS, ceil(1000 * (wanted_s - seconds))))


class Rush:
    """Lets in so many clients a second, with a burst of 10 s; with 0 there is no limit."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._rate = RateLimit(per_s)
        self._refused = 0

    def wait_ms(self, now_s: float) -> int:
        """0 when one more client may come now, and it is counted; else how long it should wait."""
        if self._rate.allows(_ALL, now_s):
            self._refused = 0
            return 0
        self._refused += 1
        return min(LONGEST_WAIT_MS, 1000 + ceil(1000 * self._refused / self._per_s))
