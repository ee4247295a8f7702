"""How long a fault is felt: the time until notifications of events sent after it arrive. Measured, never asserted."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.system.chaos.crowd import Crowd
from tests.system.chaos.feeder import Feeders


@dataclass(slots=True)
class Recovery:
    """One fault. `first_s`: until a user received an event sent after it; `all_s`: until every steady user had.

    The clock starts when the fault has `struck`: a cut waits for the command that it is meant for.
    """

    fault: str
    struck: Callable[[], bool]
    first_s: float | None = None
    all_s: float | None = None
    _began_s: float | None = None
    _sent_end: int = 0

    @property
    def has_struck(self) -> bool:
        return self._began_s is not None

    def observe(self, feeders: Feeders, crowd: Crowd) -> None:
        """Look whether it has struck and, from then on, at what the steady users have received."""
        now = time.monotonic()
        if self._began_s is None:
            if self.struck():
                self._began_s, self._sent_end = now, feeders.sent_end
            return
        if self.all_s is not None:
            return
        heard = [peer.last_number >= self._sent_end for peer in list(crowd.steady.values())]
        if self.first_s is None and any(heard):
            self.first_s = now - self._began_s
        if heard and all(heard):
            self.all_s = now - self._began_s
