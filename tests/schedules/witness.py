"""Watches what is committed, and judges a schedule: each number once and in order, no hole, no duplicate."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from contract.frames import StreamId, stream_id
from fanout.upstream.presence import ANNOUNCE
from tests.schedules.processes import KEYS, RECORDED
from tests.schedules.redis_double import Hash, Redis, SortedSet, Stream
from tests.schedules.reference import Event, Oracle

COUNTS = 9
"""Counters that one batch may change, `backlog` among them."""


@dataclass(frozen=True, slots=True)
class Committed:
    """One batch: it released from `first` up to, not including, `next`."""

    number: int
    first: int
    next: int
    cursor: StreamId
    time_s: float


class Listening(Protocol):
    """A user's connection, as far as it is judged."""

    user: int
    received: list[bytes]
    opened_at_batch: int
    written_at_opening: int

    @property
    def node_id(self) -> bytes:
        """The node that it is or was connected to."""


class WrongError(AssertionError):
    """The system broke one of its promises."""


class Witness:
    """Sees every batch and every join, and compares with the oracle."""

    def __init__(self, redis: Redis, sequence: list[Event], users: int, reachable: int) -> None:
        self.batches = [Committed(0, 1, 1, (0, 0), 0.0)]
        self.oracle = Oracle(sequence[:reachable], users)
        self.end = reachable + 1
        self._lines = {event.line: event.number for event in sequence}
        self._redis = redis
        self._joins: dict[tuple[bytes, bytes], tuple[StreamId, float]] = {}
        self._ahead = [event.line for event in sequence[reachable + 1 :]]
        self._stored: set[bytes] = set()

    def after_command(self, command: list[bytes], reply: object, now_s: float, answered_s: float) -> None:
        """Look at what a command has changed, and at what it cost."""
        run, self._redis.commands[:] = self._redis.commands[:], []
        if command[:2] == [b"EVALSHA", ANNOUNCE.sha.encode()] and isinstance(reply, bytes):
            node, *fields = command[7:]
            told = {name: users.split() for name, users in zip(fields[::2], fields[1::2], strict=True)}
            joins = told.get(b"join", [])
            if twice := set(joins) & set(told.get(b"leave", [])):
                raise WrongError(f"{node!r} told a leave and a join of {twice} in one entry")
            for user in joins:
                self._joins[node, user] = stream_id(reply), answered_s
        elif command[0] == b"EVALSHA":
            state = self._redis.get(KEYS.state, Hash)
            if int(state.get(b"batch", b"0")) != self.batches[-1].number:
                self._saw_batch(int(state[b"batch"]), int(state[b"next"]), stream_id(state[b"cursor"]), now_s)
                self._check_cost(run)

    def _saw_batch(self, number: int, next_number: int, cursor: StreamId, now_s: float) -> None:
        last = self.batches[-1]
        if number != last.number + 1 or next_number < last.next or cursor < last.cursor:
            raise WrongError(f"batch {number} (next {next_number}, cursor {cursor}) came after {last}")
        self.batches.append(Committed(number, last.next, next_number, cursor, now_s))
        published, self._redis.published[:] = self._redis.published[:], []
        for channel, payload in published:
            lines = payload.splitlines(keepends=True)[channel == KEYS.broadcast.encode() :]
            numbers = [self._lines.get(line, 0) for line in lines]
            if numbers != sorted(set(numbers)) or (
                numbers and not last.next <= numbers[0] <= numbers[-1] < next_number
            ):
                raise WrongError(f"batch {number} published {payload!r} to {channel!r}; it began at {last.next}")

    def _check_cost(self, commands: list[list[bytes]]) -> None:
        """A commit writes what it must and nothing twice, however events and users come."""
        batch = self.batches[-1]
        written = Counter((name, key) for name, key, *_ in commands)
        lines = [line for name, _, *rest in commands if name == b"ZADD" for line in rest[1::2]]
        if again := self._stored.intersection(lines):
            raise WrongError(f"batch {batch.number} stored {again} a second time")
        self._stored.update(lines)
        edges = sum(line.split(b"|")[1] in (b"F", b"U") for line in self._released(batch))
        graph = tuple(prefix.encode() for prefix in (KEYS.followers, KEYS.following))
        if sum(count for (_, key), count in written.items() if key.startswith(graph)) > 2 * edges:
            raise WrongError(f"batch {batch.number} changed the graph more often than by its {edges} events")
        moves = Counter((key, user) for name, key, *rest in commands if name in (b"SADD", b"SREM") for user in rest[:1])
        if max(moves.values(), default=0) > 1:
            raise WrongError(f"batch {batch.number} changed one member of a set more than once: {moves}")
        told = {key for name, key in written if name == b"PUBLISH"}
        if max((count for (name, _), count in written.items() if name == b"PUBLISH"), default=0) > 1:
            raise WrongError(f"batch {batch.number} published to a channel twice")
        parts, counts = written[b"XADD", KEYS.deliveries.encode()], written[b"HINCRBY", KEYS.state.encode()]
        recorded = written[b"XADD", KEYS.rejected.encode()]
        if recorded > RECORDED:
            raise WrongError(f"batch {batch.number} recorded {recorded} refused lines")
        if parts > len(told) or counts > COUNTS or written[b"ZREMRANGEBYSCORE", KEYS.waiting.encode()] > 1:
            raise WrongError(f"batch {batch.number} cost more than it must: {written}")

    def _released(self, batch: Committed) -> list[bytes]:
        return [line for line, number in self._lines.items() if batch.first <= number < batch.next]

    def written_by(self, node_id: bytes) -> int:
        """The batch that a node last reported to have written; a later connection gets nothing older."""
        return int(self._redis.get(KEYS.nodes, Hash).get(node_id, b"0").split()[0])

    # At the end

    def at_rest(self) -> bool:
        """Everything that was sent is consumed and released."""
        waiting = len(self._redis.get(KEYS.waiting, SortedSet))
        consumed = not len(self._redis.get(KEYS.events, Stream))
        return self.batches[-1].next == self.end and consumed and waiting == len(self._ahead)

    def check(self, connection: Listening, complete: bool) -> None:
        """What a connection received is one unbroken run from its join; up to the end when it is `complete`."""
        received = b"".join(connection.received)
        for first in self._starts(connection):
            run = self.oracle.since(connection.user, first)
            if run == received or (not complete and run.startswith(received)):
                return
        whole = self.oracle.since(connection.user, 1)
        raise WrongError(f"{connection} received {received!r}, which is no run of {whole!r} from its join on")

    def _starts(self, connection: Listening) -> list[int]:
        """Where the connection may begin.

        It begins with the batch that consumed its join, or with the first one after its node knew of that join;
        or with the next batch, if its user was live.
        """
        place = connection.node_id, b"%d" % connection.user
        if place not in self._joins:
            return [] if connection.received else [self.end]
        joined, known_s = self._joins[place]
        covering = (batch.number for batch in self.batches if joined <= batch.cursor and known_s < batch.time_s)
        latest = max(next(covering, len(self.batches)), connection.opened_at_batch + 1)
        starts = [batch.first for batch in self.batches[connection.written_at_opening + 1 : latest + 1]]
        return starts if latest < len(self.batches) else [*starts, self.batches[-1].next]

    def check_presence(self, serving: set[bytes], connections: Iterable[Listening]) -> None:
        """Redis knows exactly the nodes that serve, and who is connected to each."""
        known = set(self._redis.get(KEYS.nodes, Hash))
        if known != serving:
            raise WrongError(f"Redis knows the nodes {known}, and {serving} serve")
        connected = {(connection.node_id, b"%d" % connection.user) for connection in connections}
        prefix = KEYS.online.encode()
        online = {
            (key.removeprefix(prefix), user)
            for key, users in self._redis.data.items()
            if key.startswith(prefix)
            for user in users
        }
        if online != connected:
            raise WrongError(f"Redis has {online} online, and {connected} are connected")

    def check_state(self) -> None:
        """Redis holds the oracle's graph, the position after the last event, and what waits behind a gap."""
        self.check_graph(self.oracle)
        state = self._redis.get(KEYS.state, Hash)
        released = int(state.get(b"released", b"0"))
        if released != self.end - 1:
            raise WrongError(f"released {released} events, not {self.end - 1}")
        waiting = sorted(self._redis.get(KEYS.waiting, SortedSet), key=lambda line: self._lines[line])
        if waiting != self._ahead:
            raise WrongError(f"{waiting} waits, not {self._ahead}")

    def check_graph(self, oracle: Oracle) -> None:
        """The follow graph, both ways, is the oracle's."""
        following, followers = self._edges(KEYS.following), self._edges(KEYS.followers)
        if not following == {(b, a) for a, b in followers} == oracle.follows:
            raise WrongError(f"the graph is {following} and {followers}, the oracle's {oracle.follows}")

    def _edges(self, prefix: str) -> set[tuple[int, int]]:
        items = ((key.removeprefix(prefix.encode()), value) for key, value in self._redis.data.items())
        return {(int(key), int(other)) for key, value in items if key.isdigit() for other in value}
