"""The places of the dashboard's viewers, shared between addresses. Pure.

When all are taken, a newcomer gets the oldest place of the address that has most, unless that address would then have
fewer than the newcomer's own. So whoever takes all of them, or has a browser do it, keeps out nobody but itself.
"""

from collections.abc import Callable

Leave = Callable[[], object]
"""Makes a viewer go."""


class Places:
    """At most `most` viewers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[str, dict[object, Leave]] = {}

    def take(self, address: str, leave: Leave) -> object | None:
        """A place, to be given back with `give_back`; None when there is none. `leave` is called when it is lost."""
        if sum(map(len, self._taken.values())) >= self._most:
            greedy = max(self._taken, key=lambda each: len(self._taken[each]))
            if len(self._taken[greedy]) <= len(self._taken.get(address, ())) + 1:
                return None
            place, make_leave = next(iter(self._taken[greedy].items()))
            self.give_back(greedy, place)
            make_leave()
        place = object()
        self._taken.setdefault(address, {})[place] = leave
        return place

    def give_back(self, address: str, place: object) -> None:
        """The viewer has gone."""
        places = self._taken.get(address, {})
        places.pop(place, None)
        if not places:
            self._taken.pop(address, None)
