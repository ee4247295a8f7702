"""When a client cuts its own connection, in which way, and when it comes back. From a seed; pure.

A client cuts when its cursor passes one of a few numbers spread over the run, and in the middle of what it has just
read, so mostly in the middle of a line. That way each is cut as often in a run of two seconds as in one of an hour.
"""

from random import Random
from typing import Final

from simulator.cursor import Bye

CUTS: Final = 4
"""How often each client cuts its connection in a run."""

CLOSE, RESET, LEAVE_OPEN = "closed", "reset", "left open"
WAYS: Final = (CLOSE, RESET, LEAVE_OPEN)
"""An orderly end; a TCP reset; and one that the server does not see: the client reads no more, and says nothing."""

PAUSE_S: Final = 0.4
"""The longest pause before a client comes back by itself."""
BACK_OFF_S: Final = (0.1, 2.0)
"""The pause after the first attempt that failed, which doubles, and its greatest value."""
REFUSED_S: Final = 1.0
"""The least pause after a connection that the server refused with ERROR."""


class Habits:
    """The habits of one client. `first` to before `end`: the numbers of the run."""

    def __init__(self, rng: Random, first: int, end: int, cuts: int = CUTS) -> None:
        self._rng = rng
        self._due = sorted((rng.randrange(first, end) for _ in range(cuts)), reverse=True)
        self._failures = 0

    @property
    def may_cut(self) -> bool:
        """Whether there are cuts to come."""
        return bool(self._due)

    def split(self, size: int) -> int:
        """How much of `size` bytes to look at before the next question for a cut."""
        return self._rng.randrange(size + 1)

    def cuts_at(self, number: int) -> str:
        """The way in which to cut now, when the cursor has passed a number that is due; else empty."""
        if not self._due or number < self._due[-1]:
            return ""
        while self._due and number >= self._due[-1]:
            self._due.pop()
        return self._rng.choice(WAYS)

    def served(self) -> None:
        """The server has answered the registration."""
        self._failures = 0

    def pause_s(self, bye: Bye | None, *, refused: bool, failed: bool) -> float:
        """How long to stay away.

        After a BYE clients spread their return over the time that it gives. `failed`: no answer came at all;
        `refused`: the answer was ERROR.
        """
        uniform = self._rng.uniform
        if bye is not None and bye.max_wait_s:
            return uniform(0.0, bye.max_wait_s)
        if not (refused or failed):
            return uniform(0.0, PAUSE_S)
        least, most = BACK_OFF_S
        back_off_s = min(most, least * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return uniform(0.5, 1.0) * back_off_s + (REFUSED_S if refused else 0.0)
