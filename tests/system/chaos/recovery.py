"""How long a fault lasts for clients: the time until events sent after it arrive. Measured, never asserted."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.system.chaos.crowd import Crowd
from tests.system.chaos.feeder import Feeders

LASTS_S = 0.5
"""How long a fault that was healed still counts as one in force."""


def touched_by(recoveries: "list[Recovery]") -> frozenset[int] | None:
    """The ports of all nodes that the faults in force strike; None if one of these can stop all."""
    touched = [recovery.touched for recovery in recoveries if recovery.is_in_force]
    if None in touched:
        return None
    return frozenset(port for ports in touched if ports is not None for port in ports)


@dataclass(slots=True)
class Recovery:
    """One fault. `first_s`: until a user received an event sent after it; `all_s`: until every steady user had.

    The clock starts when the fault has `struck`: a cut waits for its command.
    """

    fault: str
    struck: Callable[[], bool]
    touched: frozenset[int] | None
    """The ports of the nodes that the fault strikes; None: it can stop all of them."""
    heals_s: float
    pause_s: float | None = None
    """The longest silence of a steady user at an untouched node, as long as no other kind of fault is in force."""
    first_s: float | None = None
    all_s: float | None = None
    _began_s: float | None = None
    _sent_end: int = 0

    @property
    def is_in_force(self) -> bool:
        """From the strike until a moment after it was healed."""
        return time.monotonic() < self.heals_s + LASTS_S

    def observe_untouched(self, crowd: Crowd, touched: frozenset[int] | None) -> None:
        """Look how long the steady users at nodes that no fault touches have heard nothing."""
        now = time.monotonic()
        if touched is None or self._began_s is None or not self.is_in_force:
            return
        for peer in list(crowd.steady.values()):
            if peer.port not in touched and peer.began is not None and not peer.closed:
                self.pause_s = max(self.pause_s or 0.0, now - max(peer.heard_s, self._began_s))

    @property
    def has_struck(self) -> bool:
        return self._began_s is not None

    def observe(self, feeders: Feeders, crowd: Crowd) -> None:
        """Check whether the fault has struck and, once it has, what the steady users have received."""
        now = time.monotonic()
        if self._began_s is None:
            if self.struck():
                self._began_s, self._sent_end = now, feeders.sent_end
            return
        if self.all_s is not None:
            return
        received = [peer.last_number >= self._sent_end for peer in list(crowd.steady.values())]
        if self.first_s is None and any(received):
            self.first_s = now - self._began_s
        if received and all(received):
            self.all_s = now - self._began_s
