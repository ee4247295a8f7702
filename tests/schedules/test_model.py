"""The core, one step at a time, in any order that hypothesis thinks of; and checked after every step.

Ordering, routing, batches, the commit script, users, the feed's gap detection, the journal's repair and the writer
are the real ones. There is no time and no network: a step is run to its end, and what a node is sent waits until a
step delivers or loses it.
"""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contract.entries import Entry, parse_entry
from contract.frames import after, stream_id
from fanout.clients.server import ClientServer
from fanout.session import NodeSession
from fanout.stats import FanoutStats
from fanout.upstream.catch_up import JournalGoneError
from fanout.upstream.feed import FrameLostError
from fanout.upstream.heartbeat import ExpelledError
from fanout.upstream.presence import ANNOUNCE
from listener.appender import APPEND
from runtime.context import Context
from runtime.redis.link import RedisLink, RedisRefusedError
from runtime.settings import MIB, load
from sequencer.batch import Batch
from sequencer.graph import Graph
from sequencer.reader import take_batch
from sequencer.stats import SequencerStats
from sequencer.store import Store
from sequencer.term import Term
from tests.schedules.loop import VirtualLoop
from tests.schedules.processes import KEYS
from tests.schedules.redis_double import Redis, RefusedError, SortedSet, Stream
from tests.schedules.reference import Event, Oracle
from tests.schedules.witness import Witness

pytestmark = pytest.mark.slow

USERS = 3
OPTED_IN = (b"1", b"2")
T = TypeVar("T")

events = st.lists(
    st.tuples(st.sampled_from("FFUBPSS"), st.integers(1, USERS), st.integers(1, USERS)), min_size=8, max_size=20
)
options = st.fixed_dictionaries(
    {
        "batch_deliveries": st.sampled_from([1, 3, 200_000]),
        "journal_bytes": st.sampled_from([1024, 1 << 20]),
        "batch_edges": st.sampled_from([1, 2, 50_000]),
        "journal_part_users": st.sampled_from([1, 1000]),
        "entry_users": st.sampled_from([1, 2, 1000]),
        "linger_s": st.sampled_from([0.0, 1.0]),
        "away_users": st.sampled_from([1, 100]),
    }
)


class NoLog:
    """Nothing is logged."""

    def debug(self, event: str, **fields: object) -> None:
        pass

    info = warning = error = debug


async def nothing() -> None:
    """What happens between two commands most of the time."""


class Calls:
    """The double behind the interface of a RedisLink; every answer is there at once."""

    def __init__(self, core: "Core") -> None:
        self._core = core

    async def call(self, *command: bytes | str | int | float) -> Any:
        return self._core.run([part if isinstance(part, bytes) else str(part).encode() for part in command])

    async def call_all(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        return [await self.call(*command) for command in commands]


class Connection:
    """A user's connection to a node."""

    def __init__(self, node: "ModelNode", user: int) -> None:
        self.user = user
        self.node_id = node.session.node.encode()
        self.received: list[bytes] = []
        self.write = self.received.append
        self.opened_at_batch = node.core.witness.batches[-1].number
        self.written_at_opening = node.core.witness.written_by(self.node_id)


class ModelNode:
    """A node without sockets. What Redis has published to it is in `in_flight`, batch by batch."""

    def __init__(self, core: "Core") -> None:
        self.core = core
        self.in_flight: deque[list[list[Any]]] = deque()
        self.published: list[list[Any]] = []
        self.connections: list[Connection] = []

    async def begin(self) -> None:
        """A new session; clients that were connected are not any more."""
        self.connections.clear()
        stats = FanoutStats()
        clients = ClientServer(self.core.context, stats)
        self.users = clients.users
        self.session = NodeSession(self.core.context, clients, stats)
        await self.connect()

    async def connect(self) -> None:
        """New connections to Redis: what was on its way is lost, what the journal has is read again."""
        self.core.redis.forget(self)
        self.in_flight.clear()
        self.link = SimpleNamespace(on_message=None)
        links = cast(RedisLink, self.link), cast(RedisLink, self.core.calls)
        generation = self.session._new_generation(*links)
        self.feed = feed = generation.feed
        self.core.redis.subscribe(self, [KEYS.broadcast.encode(), *map(_channel, self.users.by_id)])
        try:
            await self.session._take_up(generation)
        except (ExpelledError, JournalGoneError):
            await self.begin()
            return
        feed.catch_up_ends()
        if feed.failed.done():
            assert isinstance(feed.failed.exception(), ExpelledError)
            await self.begin()

    @property
    def has_pending(self) -> bool:
        return self.users.pending_in_s(self.core.now_s) == 0

    async def hear(self) -> None:
        """Receive the oldest batch that is on its way."""
        for message in self.in_flight.popleft():
            self.link.on_message(message)
        if self.feed.failed.done():
            lost = isinstance(self.feed.failed.exception(), FrameLostError)
            await (self.connect if lost else self.begin)()

    async def post(self, outcome: str, forget: bool = False, between: Callable[[], Awaitable[None]] = nothing) -> None:
        """Post who came and left; `outcome` says how far that gets.

        `between` happens between any two commands on the way, which can be far apart in time.
        """
        leaves, joins = self.users.take_pending(self.core.settings.entry_users, self.core.now_s)
        self.core.redis.unsubscribe(self, list(map(_channel, leaves)))
        await between()
        self.core.redis.subscribe(self, [_channel(user.id) for user in joins])
        await between()
        fields = [b"leave", b" ".join(leaves)] * bool(leaves)
        fields += [b"join", b" ".join(user.id for user in joins)] * bool(joins)
        keep, forgotten = [user.id for user in joins if user.id in OPTED_IN], [user for user in leaves if forget]
        fields += [b"keep", b" ".join(keep)] * bool(keep) + [b"forget", b" ".join(forgotten)] * bool(forgotten)
        keys = (KEYS.events.encode(), KEYS.nodes.encode())
        command = [
            b"EVALSHA",
            ANNOUNCE.sha.encode(),
            b"2",
            *keys,
            b"%d" % self.session._generations,
            b"node",
            self.session.node.encode(),
            *fields,
        ]
        if outcome == "late":
            self.core.late.append(command)
        elif outcome == "refused":  # for want of memory; nothing is done about it but to try again
            self.users.not_posted()
            return
        elif outcome != "lost":
            entry = self.core.run(command)
        if outcome != "answered":
            await self.connect()
        else:
            self.users.posted(stream_id(entry))


class Core(RuleBasedStateMachine):
    """One sequencer and two nodes around the Redis double."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.redis = Redis(lambda: 0.0, lambda node, message: node.published.append(message))
        self.calls = Calls(self)
        self._clock = 0
        self.now_s = 0.0
        self._names = 0

    # What the services need

    def run(self, command: list[bytes]) -> Any:
        """Run a command; each has a moment of its own."""
        self._clock += 1
        try:
            reply = self.redis.run(command)
        except RefusedError as refusal:
            raise RedisRefusedError(str(refusal)) from None
        finally:
            for node in self.nodes:
                messages = [message for message in node.published if message[0] == b"message"]
                node.published.clear()
                if messages:
                    node.in_flight.append(messages)
        self.witness.after_command("sequencer", command, reply, self._clock, self._clock)
        return reply

    def name(self, _: int) -> str:
        self._names += 1
        return f"{self._names}"

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step to its end."""
        task = self.loop.create_task(step)
        self.loop.run(self.loop.time())
        assert not self.loop.errors, self.loop.errors
        return cast(T, task.result())

    # Steps

    @initialize(drawn=events, options=options)
    def start(self, drawn: list[tuple[str, int, int]], options: dict[str, Any]) -> None:
        self.settings = load(namespace=KEYS.namespace, **options)
        self.context = Context(self.settings, log=NoLog(), random_hex=self.name)
        self.sequence = [Event(number, *event) for number, event in enumerate(drawn, 1)]
        self.unsent = list(self.sequence)
        self.sent: list[bytes] = []
        self.nodes: list[ModelNode] = []
        self.late: list[list[bytes]] = []
        self.connections: list[Connection] = []
        away = self.settings.away_s, self.settings.away_users
        self.witness = Witness(self.redis, self.sequence, USERS, len(self.sequence), away=away)
        self.run([b"SCRIPT", b"LOAD", APPEND.text.encode()])
        self.nodes += [ModelNode(self) for _ in range(2)]
        for node in self.nodes:
            self.do(node.begin())
        self.crash()

    @rule()
    def crash(self) -> None:
        """The sequencer dies with all that it knew, and another loads what was committed."""
        self.batch: Batch | None = None
        self.do(self._load())

    async def _load(self) -> None:
        store = Store(self.calls, self.settings, "token", random_hex=self.name)
        await store.prepare()
        assert await store.acquire()
        graph = self.graph = Graph(self.calls, KEYS)
        self.term = Term(self.context, store, graph, cast(RedisLink, None), SequencerStats())
        await self.term.begin()

    @precondition(lambda self: self.unsent)
    @rule(places=st.lists(st.integers(0, 20), min_size=1, max_size=4))
    def append(self, places: list[int]) -> None:
        """Some events arrive, in any order."""
        events = [self.unsent.pop(place % len(self.unsent)) for place in places if self.unsent]
        self.sent.append(b"".join(event.line for event in events))
        self._append(self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 20))
    def repeat(self, place: int) -> None:
        """A chunk arrives a second time."""
        self._append(self.sent[place % len(self.sent)])

    def _append(self, chunk: bytes) -> None:
        self.run([b"EVALSHA", APPEND.sha.encode(), b"2", KEYS.events.encode(), KEYS.state.encode(), b"raw", chunk])

    @precondition(lambda self: self.batch is None)
    @rule(entries=st.integers(1, 4))
    def compute(self, entries: int) -> None:
        """The sequencer computes a batch; it is not committed yet."""
        read = deque(parse_entry(*entry) for entry in self._unread(entries))
        self.batch = self.do(self._make(take_batch(read, MIB)))

    async def _make(self, entries: deque[Entry]) -> Batch:
        return await self.graph.answered(self.term._assembly.make(entries, MIB))

    def _unread(self, count: int) -> list[Any]:
        """The next entries for the sequencer, as Redis answers them."""
        position = after(self.term.commits.position[1])
        return list(self.run([b"XRANGE", KEYS.events.encode(), position, b"+", b"COUNT", b"%d" % count]))

    @precondition(lambda self: self.batch is not None)
    @rule(dies=st.booleans())
    def commit(self, dies: bool) -> None:
        """The batch is committed; the sequencer may die before it learns of that."""
        batch, self.batch = self.batch, None
        assert batch is not None
        self._commit(batch)
        if dies:
            self.crash()

    @rule(place=st.integers(0, 1), expel=st.booleans())
    def tick(self, place: int, expel: bool) -> None:
        """A batch without events, which may expel a node; also between the making of a batch and its commit."""
        gone = self.nodes[place].session.node.encode()
        batch = Batch(*self.term.commits.position, gone=(gone,) * expel)
        self.term._assembly.expel(batch)
        self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        self.do(self.term._send(batch))
        self.do(self.term.commits.settle())

    @rule(place=st.integers(0, 1), user=st.integers(1, USERS))
    def join(self, place: int, user: int) -> None:
        """A user connects, for the first time or once more."""
        node = self.nodes[place]
        connection = Connection(node, user)
        node.users.add(b"%d" % user, connection)
        node.connections.append(connection)
        self.connections.append(connection)

    @precondition(lambda self: any(node.connections for node in self.nodes))
    @rule(place=st.integers(0, 20))
    def leave(self, place: int) -> None:
        """A connection ends."""
        there = [(node, connection) for node in self.nodes for connection in node.connections]
        self._end(*there[place % len(there)])

    def _end(self, node: ModelNode, connection: Connection) -> None:
        node.connections.remove(connection)
        node.users.remove(b"%d" % connection.user, connection, self.now_s)

    @precondition(lambda self: any(node.has_pending for node in self.nodes))
    @rule(
        place=st.integers(0, 1),
        outcome=st.sampled_from(["answered", "answered", "answer lost", "late", "lost", "refused"]),
        apart=st.booleans(),
        forget=st.sampled_from([False, False, True]),
    )
    def post(self, place: int, outcome: str, apart: bool, forget: bool = False) -> None:
        """A node posts who came and who left; a batch is published between its commands."""
        if self.nodes[place].has_pending:
            self.do(self.nodes[place].post(outcome, forget, self._publish if apart else nothing))

    async def _publish(self) -> None:
        if self.unsent:
            event = self.unsent.pop(0)
            self.sent.append(event.line)
            self._append(event.line)
        batch, self.batch = self.batch, None
        if batch is None:
            read = deque(parse_entry(*entry) for entry in self._unread(4))
            batch = await self._make(take_batch(read, MIB))
        await self.term._send(batch)
        await self.term.commits.settle()

    @precondition(lambda self: self.late)
    @rule()
    def arrive_late(self) -> None:
        """What a node posted on a connection that it has given up gets to Redis after all."""
        with contextlib.suppress(RedisRefusedError):
            self.run(self.late.pop())

    @precondition(lambda self: any(node.in_flight for node in self.nodes))
    @rule(place=st.integers(0, 1), lost=st.booleans())
    def deliver(self, place: int, lost: bool) -> None:
        """A batch gets to a node, or it gets lost."""
        node = self.nodes[place]
        if node.in_flight and lost:
            node.in_flight.popleft()
        elif node.in_flight:
            self.do(node.hear())

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; who lingers may leave."""
        self.now_s += seconds

    @rule(place=st.integers(0, 1))
    def reconnect(self, place: int) -> None:
        """A node loses its connections to Redis."""
        self.do(self.nodes[place].connect())

    @rule(chunks=st.integers(0, 2), user=st.integers(0, USERS), place=st.integers(0, 1))
    def work(self, chunks: int, user: int, place: int) -> None:
        """A while without trouble: a user comes, events arrive, and all of it is committed."""
        if user:
            self.join(place, user)
        for node in self.nodes:
            if node.has_pending:
                self.do(node.post("answered"))
        for _ in range(chunks):
            if self.unsent:
                self.append([0, 0])
        if self.batch is None:
            self.compute(4)
        self.commit(False)

    @rule(
        place=st.integers(0, 1),
        back=st.sets(st.integers(1, USERS)),
        outcome=st.sampled_from(["refused", "lost", "answer lost", "answered"]),
    )
    def storm(self, place: int, back: set[int], outcome: str) -> None:
        """All users of a node leave, posting that fails or not, and some come back before the outcome is known."""
        node = self.nodes[place]
        while node.connections:
            self._end(node, node.connections[0])
        self.now_s += 5

        async def come_back() -> None:
            for user in sorted(back):
                self.join(place, user)
            back.clear()

        if node.has_pending:
            self.do(node.post(outcome, between=come_back))
        while node.has_pending:
            self.post(place, "answered", apart=True)
            self.deliver_all()

    @rule()
    def deliver_all(self) -> None:
        """Everything that is on its way gets there."""
        for node in self.nodes:
            while node.in_flight:
                self.do(node.hear())

    # What must hold

    @invariant()
    def runs_are_unbroken(self) -> None:
        for connection in self.connections:
            self.witness.check(connection, complete=False)

    @invariant()
    def redis_holds_the_oracles_state(self) -> None:
        if not self.connections and not self.sent:
            return
        last = self.witness.batches[-1]
        self.witness.check_graph(Oracle(self.sequence[: last.next - 1], USERS))
        unread = {line for fields in self.redis.get(KEYS.events, Stream).fields for line in fields[1].splitlines(True)}
        sent = {line for chunk in self.sent for line in chunk.splitlines(True)}
        waiting = set(self.redis.get(KEYS.waiting, SortedSet))
        numbers = {event.line: event.number for event in self.sequence}
        ahead = {line for line in sent if numbers[line] >= last.next}
        assert ahead - unread <= waiting <= ahead

    def teardown(self) -> None:
        if hasattr(self, "nodes"):
            self._finish()

    def _finish(self) -> None:
        """Let everything arrive."""
        self.crash()
        self.now_s += 10
        while self.unsent:
            self.append([0, 0, 0, 0])
        for _ in range(3):
            for node in self.nodes:
                self.do(node.connect())
                while node.has_pending:
                    self.do(node.post("answered"))
            while len(self.redis.get(KEYS.events, Stream)) or self.term._assembly.ordering.ready:
                self.compute(4)
                self.commit(False)
            self.deliver_all()
        serving = {node.session.node.encode() for node in self.nodes}
        ended = tuple(name for name in self.run([b"HKEYS", KEYS.nodes.encode()]) if name not in serving)
        batch = Batch(*self.term.commits.position, gone=ended)
        self.term._assembly.expel(batch)
        self._commit(batch)
        self.witness.check_state()
        here = [connection for node in self.nodes for connection in node.connections]
        for connection in self.connections:
            self.witness.check(connection, complete=connection in here)
        self.witness.check_presence(serving, here)
        self.witness.check_places()


def _channel(user: bytes) -> bytes:
    return KEYS.user.encode() + user


Core.TestCase.settings = hypothesis_settings(max_examples=300, stateful_step_count=40, deadline=None)
TestCore = Core.TestCase


def test_a_leave_that_arrives_after_the_user_came_back_changes_nothing() -> None:
    core = Core()
    core.start([("P", 2, 1), ("P", 3, 1), ("B", 0, 0)], {"linger_s": 0})
    core.work(chunks=0, user=1, place=0)
    core.deliver_all()
    core.leave(0)
    core.post(0, "late", apart=False)
    core.work(chunks=0, user=1, place=0)
    core.deliver_all()
    core.arrive_late()
    core.work(chunks=2, user=0, place=0)
    core.deliver_all()
    core.runs_are_unbroken()
    assert b"".join(core.connections[-1].received) == b"1|P|2|1\n2|P|3|1\n3|B\n"
    core.teardown()


def test_who_is_back_is_not_given_up_by_a_leave_that_was_refused() -> None:
    core = Core()
    core.start([("P", 9, 1)] * 12, {"linger_s": 0, "entry_users": 1})
    for user in (1, 2):
        core.work(chunks=0, user=user, place=0)
        core.deliver_all()
    core.storm(place=0, back={1}, outcome="refused")
    core.work(chunks=2, user=0, place=0)
    core.deliver_all()
    core.runs_are_unbroken()
    assert b"|P|9|1" in core.connections[-1].received[-1]
    core.teardown()
