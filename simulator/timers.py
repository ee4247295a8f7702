"""What is to be done at which time. Pure: the time is handed in."""

import heapq
import math
from collections.abc import Callable
from itertools import count


class Timers:
    """Callbacks in order of their time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    @property
    def due_s(self) -> float:
        """The time of the next one; infinity without one."""
        return self._heap[0][0] if self._heap else math.inf

    def add(self, due_s: float, callback: Callable[[], None]) -> None:
        """Call it once, at that time or soon after."""
        heapq.heappush(self._heap, (due_s, next(self._order), callback))

    def run(self, now_s: float) -> None:
        """Call all that are due."""
        while self._heap and self.due_s <= now_s:
            heapq.heappop(self._heap)[2]()
