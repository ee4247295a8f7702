"""Watches what is committed, and judges a schedule: each number once and in order, no hole, no duplicate."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from contract.frames import StreamId, stream_id
from fanout.upstream.presence import ANNOUNCE
from sequencer.standings import LOOK_S, STALL_S
from tests.schedules.places import Places
from tests.schedules.processes import KEYS, RECORDED, Returner
from tests.schedules.redis_double import Hash, Redis, SortedSet, Stream
from tests.schedules.reference import Event, Oracle, WrongError

ANSWER_S, STALLED_ANSWER_S = 0.5, 3.0
"""Longer than an answer of Redis takes, and than a stall of the process that waits for it."""
LOOKS = 2
"""Looks in a row at which a node must not have been there."""
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


class Staller(Protocol):
    """A process, as far as its clock is judged."""

    stalled_until: float


class Witness:
    """Sees every batch and every join, and compares with the oracle."""

    def __init__(
        self,
        redis: Redis,
        sequence: list[Event],
        users: int,
        reachable: int,
        window_batches: int | None = None,
        away: tuple[float, int] = (120.0, 100_000),
    ) -> None:
        self.batches = [Committed(0, 1, 1, (0, 0), 0.0)]
        self.oracle = Oracle(sequence[:reachable], users)
        self.end = reachable + 1
        self._places = Places(redis, self.oracle, *away)
        self._lines = {event.line: event.number for event in sequence}
        self._redis = redis
        self._joins: dict[tuple[bytes, bytes], tuple[StreamId, float]] = {}
        self._ahead = [event.line for event in sequence[reachable + 1 :]]
        self._stored: set[bytes] = set()
        self._window_batches = window_batches
        self._epoch, self._before_epoch = b"", 0
        self._heard: dict[bytes, int] = {}
        """node → the batch that it has written"""
        self._stills: dict[bytes, list[tuple[float, float]]] = {}
        """node → (end, length) of each time for which it wrote nothing"""
        self._absent: dict[tuple[object, bytes], tuple[int, int]] = {}
        """(sequencer, node) → looks in a row at which the node had no subscription; and the same one look before"""
        self._left_behind: dict[object, set[bytes]] = {}
        """sequencer → the nodes that it has left behind"""
        self._lease = b"", 0.0

    def after_command(
        self, process: object, command: list[bytes], reply: object, now_s: float, answered_s: float
    ) -> None:
        """Look at what a command of a process has changed, and at what it cost."""
        before = set(self._heard)
        run, self._redis.commands[:] = [each for each in self._redis.commands if each != [b"TIME"]], []
        self._look_at_nodes(now_s)
        self._look_at_the_lease(now_s)
        self._redis.commands.clear()
        if command[:2] == [b"EVALSHA", ANNOUNCE.sha.encode()] and isinstance(reply, bytes):
            node, *fields = command[7:]
            told = {name: users.split() for name, users in zip(fields[::2], fields[1::2], strict=True)}
            joins = told.get(b"join", [])
            if twice := set(joins) & set(told.get(b"leave", [])):
                raise WrongError(f"{node!r} told a leave and a join of {twice} in one entry")
            self._places.announced(node, told, stream_id(reply))
            for user in joins:
                self._joins[node, user] = stream_id(reply), answered_s
        elif command[0] == b"PUBSUB":
            self._saw_subscriptions(process, cast(list[object], reply))
        elif command[0] == b"EVALSHA":
            state = self._redis.get(KEYS.state, Hash)
            if int(state.get(b"batch", b"0")) != self.batches[-1].number:
                self._saw_batch(int(state[b"batch"]), int(state[b"next"]), stream_id(state[b"cursor"]), now_s)
                self._check_window(state[b"epoch"], self._left_behind.get(process, set()), before)
                self._check_cost(run)
                last, batch = self.batches[-2:]
                self._places.committed(last.next, batch.next, batch.cursor, run)

    def _saw_batch(self, number: int, next_number: int, cursor: StreamId, now_s: float) -> None:
        last = self.batches[-1]
        if number != last.number + 1 or next_number < last.next or cursor < last.cursor:
            raise WrongError(f"batch {number} (next {next_number}, cursor {cursor}) came after {last}")
        self.batches.append(Committed(number, last.next, next_number, cursor, now_s))
        published, self._redis.published[:] = self._redis.published[:], []
        for channel, payload in published:
            lines = [line + b"\n" for line in payload.split(b"\n")[:-1]][channel == KEYS.broadcast.encode() :]
            numbers = [self._lines.get(line, 0) for line in lines]
            if numbers != sorted(set(numbers)) or (
                numbers and not last.next <= numbers[0] <= numbers[-1] < next_number
            ):
                raise WrongError(f"batch {number} published {payload!r} to {channel!r}; it began at {last.next}")

    def _check_window(self, epoch: bytes, left_behind: set[bytes], before: set[bytes]) -> None:
        """A batch that is not a tick is published only while no node has more than a window of this term to write.

        Except nodes that are left behind, which never all are; and except the batch whose commit is under way when the
        first node enters. `before`: the nodes before this batch.
        """
        last, batch = self.batches[-2:]
        if epoch != self._epoch:
            self._epoch, self._before_epoch = epoch, last.number
        if self._window_batches is None or (batch.next, batch.cursor) == (last.next, last.cursor):
            return
        unwritten = {node: batch.number - max(self._written(node), self._before_epoch) for node in self._heard}
        far = {node for node, batches in unwritten.items() if batches > self._window_batches + 1}
        if far - left_behind or (before and before <= left_behind):
            raise WrongError(f"batch {batch.number} was published: to write {unwritten}, left behind {left_behind}")

    # Standings

    def logged(self, process: Staller, event: str, fields: dict[str, object], now_s: float) -> None:
        """A sequencer says how a node stands: that must be so."""
        if event == "sequencing":
            self._left_behind[process] = set()
        if event not in ("node_left_behind", "node_caught_up"):
            return
        node = str(fields["node"]).encode()
        (set.add if event == "node_left_behind" else set.discard)(self._left_behind[process], node)
        if event == "node_left_behind" and node in self._heard:
            was_stalled = now_s - process.stalled_until < STALLED_ANSWER_S
            self._judge(process, node, str(fields["reason"]), now_s - (STALLED_ANSWER_S if was_stalled else ANSWER_S))

    def _judge(self, process: object, node: bytes, reason: str, since_s: float) -> None:
        # The answer to the last look may still be on its way.
        if reason == "gone" and max(self._absent.get((process, node), (0, 0))) < LOOKS:
            raise WrongError(f"{node!r} is gone, and was there at one of the last looks")
        # What it says was so when it looked: the answer took a while.
        stills = self._stills[node]
        least_s = STALL_S - 2 * LOOK_S
        if reason == "stalled" and not any(length >= least_s and end >= since_s for end, length in stills):
            raise WrongError(f"{node!r} is stalled, and it was not: {stills}")

    def lease_is_free(self) -> None:
        """The lease was deleted."""
        self._lease = b"", 0.0

    def _written(self, node: bytes) -> int:
        return self._heard[node]

    def _look_at_nodes(self, now_s: float) -> None:
        """Remember for how long each node wrote nothing."""
        heartbeats = self._redis.get(KEYS.nodes, Hash)
        for node in self._heard.keys() - heartbeats.keys():
            del self._heard[node]
        for node, heartbeat in heartbeats.items():
            batch, stills = int(heartbeat.split()[0]), self._stills.setdefault(node, [(now_s, 0.0)])
            end, length = stills.pop()
            stills.append((now_s, length + now_s - end))
            if self._heard.get(node) != batch:
                stills.append((now_s, 0.0))
            self._heard[node] = batch

    def _saw_subscriptions(self, process: object, answer: list[object]) -> None:
        for channel, count in zip(answer[::2], answer[1::2], strict=True):
            key = process, cast(bytes, channel).removeprefix(KEYS.node.encode())
            before, _ = self._absent.get(key, (0, 0))
            self._absent[key] = 0 if count else before + 1, before

    def _look_at_the_lease(self, now_s: float) -> None:
        """A process that runs, and whose lease has not expired, keeps it until it gives it back."""
        holder = self._redis.get(KEYS.lease, bytes)
        before, expires_s = self._lease
        if before and holder and holder != before and now_s < expires_s:
            counts = self._redis.run([b"PUBSUB", b"NUMSUB", KEYS.leader.encode() + before])
            if counts[1]:
                raise WrongError(f"{holder!r} took the lease from {before!r}, which is there")
        self._lease = holder, now_s + self._redis.run([b"PTTL", KEYS.lease.encode()]) / 1000

    def _check_cost(self, commands: list[list[bytes]]) -> None:
        """A commit writes what it must and nothing twice, however events and users come."""
        batch = self.batches[-1]
        commands = [command for command in commands if command != [b"TIME"]]
        written = Counter((name, key) for name, key, *_ in commands)
        stored = (rest for name, key, *rest in commands if (name, key) == (b"ZADD", KEYS.waiting.encode()))
        lines = [line for rest in stored for line in rest[1::2]]
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
        if max((count for (name, _), count in written.items() if name == b"PUBLISH"), default=0) > 1:
            raise WrongError(f"batch {batch.number} published to a channel twice")
        parts, counts = written[b"XADD", KEYS.deliveries.encode()], written[b"HINCRBY", KEYS.state.encode()]
        recorded = written[b"XADD", KEYS.rejected.encode()]
        if recorded > RECORDED:
            raise WrongError(f"batch {batch.number} recorded {recorded} refused lines")
        journal = [rest for name, key, *rest in commands if (name, key) == (b"XADD", KEYS.deliveries.encode())]
        if (
            parts > len({field for _, *fields in journal for field in fields[::2]})
            or counts > COUNTS
            or written[b"ZREMRANGEBYSCORE", KEYS.waiting.encode()] > 1
        ):
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

    def check_returner(self, returner: Returner, reasons: set[bytes]) -> None:
        """A user that goes on where it was has every line behind its first place, but for what RESET has left out."""
        if not returner.live:
            raise WrongError(f"user {returner.user} has not been told where it is")
        if not set(returner.resets) <= reasons:
            raise WrongError(f"user {returner.user} was told RESET {returner.resets}")
        for at, (number, lines) in enumerate(returner.parts, 1):
            wanted = self.oracle.since(returner.user, number + 1)
            if not wanted.startswith(lines) or (at == len(returner.parts) and wanted != lines):
                raise WrongError(f"user {returner.user} has {lines!r} after {number}, and not {wanted!r}")

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

    def check_places(self) -> None:
        """Nobody is lost between online and away."""
        self._places.at_rest()

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
