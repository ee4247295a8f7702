"""The seats of the dashboard's viewers, shared between addresses. Pure.

When all are taken, a newcomer gets the oldest seat of the address that has most, unless that address would then have
fewer than the newcomer's. So an address that takes all seats keeps out only itself.
"""

from collections.abc import Callable

Leave = Callable[[], object]
"""Ends a viewer's stream."""


class Seats:
    """At most `most` viewers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[str, dict[object, Leave]] = {}

    def take(self, address: str, leave: Leave) -> object | None:
        """A seat, to be given back with `give_back`; None when there is none. `leave` is called when it is lost."""
        if sum(map(len, self._taken.values())) >= self._most:
            greedy = max(self._taken, key=lambda each: len(self._taken[each]))
            if len(self._taken[greedy]) <= len(self._taken.get(address, ())) + 1:
                return None
            seat, make_leave = next(iter(self._taken[greedy].items()))
            self.give_back(greedy, seat)
            make_leave()
        seat = object()
        self._taken.setdefault(address, {})[seat] = leave
        return seat

    def give_back(self, address: str, seat: object) -> None:
        """The viewer has gone."""
        seats = self._taken.get(address, {})
        seats.pop(seat, None)
        if not seats:
            self._taken.pop(address, None)
