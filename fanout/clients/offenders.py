"""Which users and addresses did not take what was sent to them, within the last minutes. Pure.

Rules kept here:

- A user is remembered after one offence. An address is remembered only if more than half of its connections were
  set aside at that time: behind NAT, or a balancer that sends no PROXY line, all users share one address.
- Memory is bounded in number and in time; the newest entries displace the oldest.
"""

from collections import OrderedDict

REMEMBERED_S = 300.0
MOST = 10_000
"""Users, and as many addresses: about 1 MB each."""


class Recent:
    """Names, each remembered for a while. Times are the caller's monotonic seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._since_s: OrderedDict[bytes | str, float] = OrderedDict()

    def add(self, name: bytes | str, now_s: float) -> None:
        """Remember it from now on."""
        self._since_s[name] = now_s
        self._since_s.move_to_end(name)
        if len(self._since_s) > self._most:
            self._since_s.popitem(last=False)

    def has(self, name: bytes | str, now_s: float) -> bool:
        """Whether it is remembered."""
        since_s = self._since_s.get(name)
        return since_s is not None and now_s - since_s < self._seconds

    def count(self, now_s: float) -> int:
        """How many are remembered."""
        while self._since_s and now_s - next(iter(self._since_s.values())) >= self._seconds:
            self._since_s.popitem(last=False)
        return len(self._since_s)


class Offenders:
    """Users and addresses whose next connections are given less time."""

    def __init__(self, most: int = MOST, seconds: float = REMEMBERED_S) -> None:
        self._users = Recent(most, seconds)
        self._addresses = Recent(most, seconds)

    def add(self, user_id: bytes, address: str, aside: int, connections: int, now_s: float) -> None:
        """A connection was slow; of its address's `connections`, `aside` are set aside, this one included."""
        self._users.add(user_id, now_s)
        if 2 * aside > connections:
            self._addresses.add(address, now_s)

    def has(self, user_id: bytes, address: str, now_s: float) -> bool:
        """Whether the user or the address is remembered."""
        return self._users.has(user_id, now_s) or self._addresses.has(address, now_s)

    def count(self, now_s: float) -> int:
        """How many users and addresses are remembered."""
        return self._users.count(now_s) + self._addresses.count(now_s)
