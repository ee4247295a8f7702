"""How often something may happen to one name: a user, an address. Pure: times are the caller's seconds.

Rules kept here:

- Each name has `per_s` times a second, and can use up to `BURST_S` seconds of that at once.
- A name that has its whole burst again is forgotten, so memory is bounded by the rate of all names together.
"""

from collections import OrderedDict

BURST_S = 10.0


class RateLimit:
    """A token bucket for each name. `per_s` of 0 is no limit."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._full_s: OrderedDict[str | bytes, float] = OrderedDict()
        """name → when it has its whole burst again; the most recently used name comes last."""

    def __len__(self) -> int:
        return len(self._full_s)

    def allows(self, name: str | bytes, now_s: float) -> bool:
        """Whether it may happen to this name now. If so, it is counted."""
        if not self._per_s:
            return True
        self._forget(now_s)
        full_s = max(now_s, self._full_s.get(name, now_s)) + 1 / self._per_s
        if full_s > now_s + max(BURST_S, 1 / self._per_s):
            return False
        self._full_s[name] = full_s
        self._full_s.move_to_end(name)
        return True

    def _forget(self, now_s: float) -> None:
        # Two for each call: no call takes long, and the table still shrinks.
        for _ in range(2):
            name = next(iter(self._full_s), None)
            if name is None or self._full_s[name] > now_s:
                return
            del self._full_s[name]
