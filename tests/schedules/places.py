"""Judges whose place is kept, from what each commit leaves in Redis and in the journal."""

from contract.frames import FRAME, StreamId
from tests.schedules.processes import KEYS
from tests.schedules.redis_double import Hash, Redis, SortedSet
from tests.schedules.reference import Oracle, WrongError

LATE_S = 3.0
"""A leader that was stalled lets those go late, or by a clock that it read before, whose time is over."""


class Places:
    """Sees each commit. What `since` says is judged by the lines: the journal has had each of them from there on."""

    def __init__(self, redis: Redis, oracle: Oracle, away_s: float, limit: int) -> None:
        self._redis = redis
        self._oracle = oracle
        self._away_s = away_s
        self._limit = limit
        self._since: dict[bytes, int] = {}
        self._away: dict[bytes, float] = {}
        self._asked: dict[tuple[bytes, bytes], StreamId] = {}
        """(node, user) → the entry that asked last to keep the place"""
        self._forgotten: set[bytes] = set()

    def announced(self, node: bytes, told: dict[bytes, list[bytes]], entry: StreamId) -> None:
        """A node posted who came and who left."""
        for user in told.get(b"leave", []):  # who comes back without asking, in the same batch, has no place
            self._asked.pop((node, user), None)
        self._asked |= {(node, user): entry for user in told.get(b"keep", [])}
        self._forgotten |= set(told.get(b"forget", []))

    def committed(self, first: int, next_number: int, cursor: StreamId, commands: list[list[bytes]]) -> None:
        """A batch released the events from `first` up to, not including, `next_number`."""
        since = {user: int(number) for user, number in self._redis.get(KEYS.since, Hash).items()}
        away = dict(self._redis.get(KEYS.away, SortedSet))
        online = self._online()
        here = set().union(*online.values())
        if both := away.keys() & here:
            raise WrongError(f"{both} are both away and online")
        if missing := away.keys() - since.keys():
            raise WrongError(f"{missing} are away, and `since` does not have them")
        for user, number in since.items():
            begins_anew = number == first and self._may_go(user, away)
            if number != self._since.get(user, first) and not begins_anew:
                raise WrongError(f"{user!r} has a place since {number}, and the batch began at {first}")
        for (node, user), entry in list(self._asked.items()):
            if entry <= cursor and user not in online.get(node, ()):
                del self._asked[node, user]
            elif entry <= cursor and user not in since:
                raise WrongError(f"{user!r} is at {node!r}, asked for a place and has none: {since}")
        channels = {KEYS.user.encode() + user for user in away}
        if heard := {key for name, key, *_ in commands if name == b"PUBLISH" and key in channels}:
            raise WrongError(f"{heard} were published, and nobody is there to hear it")
        self._check_journal(since, first, next_number, commands)
        self._check_gone(since, away)
        self._since, self._away = since, away

    def at_rest(self) -> None:
        """Who has a place is online or away, and nobody is away for too long."""
        here = set().union(*self._online().values())
        if lost := self._since.keys() - here - self._away.keys():
            raise WrongError(f"{lost} have a place, and are neither online nor away")
        if len(self._away) > self._limit:
            raise WrongError(f"{len(self._away)} are away")
        if late := {user for user, deadline_ms in self._away.items() if self._left_s(deadline_ms) < -LATE_S}:
            raise WrongError(f"the time of {late} is over")

    def _check_journal(
        self, since: dict[bytes, int], first: int, next_number: int, commands: list[list[bytes]]
    ) -> None:
        journal: dict[bytes, bytes] = {}
        for name, key, *fields in commands:
            if (name, key) == (b"XADD", KEYS.deliveries.encode()):
                journal |= dict(zip(fields[1::2], fields[2::2], strict=True))
        broadcasts = journal.get(FRAME.encode(), b"").partition(b"\n")[2]
        for user, number in since.items():
            lines = {line for at, line in self._oracle.told[int(user)] if max(first, number) <= at < next_number} - {
                line + b"\n" for text in (journal.get(user, b""), broadcasts) for line in text.split(b"\n")
            }
            if lines:
                raise WrongError(f"{user!r} has a place since {number}, and the journal does not have {lines}")

    def _check_gone(self, since: dict[bytes, int], away: dict[bytes, float]) -> None:
        for user, deadline_ms in self._away.items():
            if user not in since and not self._may_go(user, away):
                raise WrongError(f"{user!r} was away and has no place any more: {self._left_s(deadline_ms)} s early")

    def _may_go(self, user: bytes, away: dict[bytes, float]) -> bool:
        """Whether a user who was away after the last commit may have no place now. `away`: who is after this one."""
        if user not in self._away:
            return user in self._forgotten
        is_over = len(self._away.keys() | away.keys()) >= self._limit or self._left_s(self._away[user]) <= LATE_S
        return is_over or user in self._forgotten

    def _left_s(self, deadline_ms: float) -> float:
        seconds, micros = self._redis.run([b"TIME"])
        left_s = deadline_ms / 1000 - int(seconds) - int(micros) / 1e6
        if left_s > self._away_s + 0.001:
            raise WrongError(f"somebody is away for {left_s} s")
        return left_s

    def _online(self) -> dict[bytes, set[bytes]]:
        prefix = KEYS.online.encode()
        return {key.removeprefix(prefix): users for key, users in self._redis.data.items() if key.startswith(prefix)}
