"""Places: who leaves stays known for a while, and what `since` says of a user is true, in whichever order it all comes.

The model below drives the real `Assembly` with every order of entries, ticks, expulsions and take-overs, and applies
what its batches say to a plain picture of Redis. It judges by the lines alone: whoever `since` has can read each line
from there on in the journal.
"""

from collections import deque
from typing import Any

import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contract.entries import Entry
from contract.events import parse
from contract.frames import stream_id
from runtime.settings import MIB, load
from sequencer.assembly import Assembly
from sequencer.away import EXPIRED_A_STEP, Places
from sequencer.batch import Batch
from sequencer.questions import FollowerCounts, FollowersAmong, Following, FollowingCounts, KnownNodes
from sequencer.reader import take_batch
from sequencer.routing import Routing
from sequencer.state import State

AWAY_S = 10.0
NODES = (b"n1", b"n2")
USERS = (b"1", b"2", b"3")

users = st.sets(st.sampled_from(USERS))


class Model(RuleBasedStateMachine):
    """One sequencer, and Redis as far as users are concerned."""

    @initialize(limit=st.sampled_from([0, 1, 2, 100, 100, 100]))
    def start(self, limit: int) -> None:
        self.settings = load(away_s=AWAY_S, away_users=limit, journal_s=AWAY_S)
        self.limit = limit
        self.now_s = 0.0
        self.receivers: list[bytes] = []
        """The receiver of each event from number 1 on."""
        self.entries: list[Entry] = []
        self.appended = 0
        self.nodes = set(NODES)
        self.online: dict[bytes, set[bytes]] = {}
        self.since: dict[bytes, int] = {}
        self.away: dict[bytes, float] = {}
        self.next, self.cursor = 1, b"0-0"
        self.journal: dict[bytes, list[int]] = {user: [] for user in USERS}
        self.asked: set[bytes] = set()
        """Users whose place may be kept."""
        self.kept: dict[bytes, tuple[float, float]] = {}
        """user whose place must be kept → when the last connection ended, at the earliest and at the latest"""
        self.load()

    @property
    def here(self) -> set[bytes]:
        return {user for users in self.online.values() for user in users}

    @rule()
    def load(self) -> None:
        """A new term begins with what was committed."""
        self.unsent: Batch | None = None
        left = {user: at - self.now_s for user, at in sorted(self.away.items(), key=lambda item: item[1])}
        online = {node: sorted(self.online.get(node, ())) for node in sorted(self.nodes)}
        state = State(self.next, 0, self.cursor, 0, [], online, dict(self.since), left)
        self.assembly = Assembly(state, self.settings, structlog.get_logger(), self.now_s)
        for user in self.since.keys() - self.away - self.here:
            self.kept[user] = self.kept.get(user, (self.now_s,))[0], self.now_s

    # What comes

    def _append(self, **fields: Any) -> None:
        self.appended += 1
        self.entries.append(Entry(b"%d-0" % self.appended, **fields))

    @rule(node=st.sampled_from(NODES), joins=users, keep=users, leaves=users, forget=users)
    def presence(
        self, node: bytes, joins: set[bytes], keep: set[bytes], leaves: set[bytes], forget: set[bytes]
    ) -> None:
        """Users come to a node and leave it, those who are there and those who are not."""
        leaves = leaves - joins
        if joins or leaves:
            told = (sorted(some) for some in (joins, leaves, keep & joins, forget & leaves))
            self._append(node=node, **dict(zip(("joins", "leaves", "keep", "forget"), told, strict=True)))

    @rule(node=st.sampled_from(NODES))
    def node_leaves(self, node: bytes) -> None:
        self._append(node=node, leaves=[b"*"])

    @rule(user=st.sampled_from(USERS))
    def event(self, user: bytes) -> None:
        self.receivers.append(user)
        self._append(raw=b"%d|P|9|%b\n" % (len(self.receivers), user))

    @rule(node=st.sampled_from(NODES))
    def node_enters(self, node: bytes) -> None:
        self.nodes.add(node)

    @rule(seconds=st.sampled_from([1.0, AWAY_S / 2, AWAY_S + 1]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    # Batches

    @precondition(lambda self: self.unsent is None)
    @rule(count=st.integers(0, 5))
    def make(self, count: int) -> None:
        """A batch is made, and not sent yet."""
        self.assembly.places.expire(self.now_s)
        self.made_s = self.now_s
        self.unsent = answered(self.assembly.make(take_batch(deque(self.entries[:count]), MIB), MIB), self.nodes)

    @precondition(lambda self: self.unsent is not None)
    @rule()
    def send(self) -> None:
        batch, self.unsent = self.unsent, None
        assert batch is not None
        self._commit(batch, self.made_s)

    @rule(gone=st.sets(st.sampled_from(NODES)))
    def tick(self, gone: set[bytes]) -> None:
        """An empty batch, which may expel nodes; also between the making of a batch and its commit."""
        self.assembly.places.expire(self.now_s)
        batch = Batch(self.next, self.cursor, gone=tuple(sorted(gone & self.nodes)))
        self.assembly.expel(batch)
        self._commit(batch, self.now_s)

    @rule()
    def work(self) -> None:
        """A batch without trouble."""
        if self.unsent is None:
            self.make(5)
        self.send()

    def _commit(self, batch: Batch, made_s: float) -> None:
        """What `commit.lua` does, and what the journal then has."""
        self.assembly.prepare(batch)
        first, before, consumed = self.next, set(self.since), self._consumed(batch)
        for (node, user), there in batch.moves.items():
            (set.add if there else set.discard)(self.online.setdefault(node, set()), user)
        for node in batch.gone:
            self.online.pop(node, None)
            self.nodes.discard(node)
        self.away |= dict.fromkeys(batch.away, self.now_s + AWAY_S)
        for user in batch.not_away:
            self.away.pop(user, None)
        self.since |= dict(batch.since)
        for user in batch.not_kept:
            self.since.pop(user, None)
        self.next, self.cursor = batch.next, batch.cursor
        for user, lines in (*batch.messages, *batch.unpublished):
            self.journal[user] += [int(event[1]) for event in parse(lines)]
        assert not {user for user, _ in batch.unpublished} & self.here, "who is here would miss it"
        assert not {user for user, _ in batch.messages} & self.away.keys(), "nobody listens"
        assert all(self.since[user] == first for user in self.since.keys() - before), "it begins with this batch"
        self._follow(consumed, made_s)

    def _consumed(self, batch: Batch) -> list[Entry]:
        self.entries, last = [], self.entries
        for entry in last:
            if stream_id(entry.id) > stream_id(batch.cursor):
                self.entries.append(entry)
        return last[: len(last) - len(self.entries)]

    def _follow(self, consumed: list[Entry], made_s: float) -> None:
        """The reference: the last word on each user at each node counts."""
        words: dict[tuple[bytes, bytes], str] = {}
        for entry in consumed:
            words |= {(entry.node, user): "forget" if user in entry.forget else "leave" for user in entry.leaves}
            words |= {(entry.node, user): "keep" if user in entry.keep else "join" for user in entry.joins}
            self.asked |= set(entry.keep)
        for (node, user), word in words.items():
            if word == "keep" and user in self.online.get(node, ()):
                self.kept.setdefault(user, (made_s, self.now_s))
        for user in USERS:
            said = {word for (_, about), word in words.items() if about == user}
            if user in self.here:
                self.kept = {other: at for other, at in self.kept.items() if other != user or user in self.since}
                if user in self.kept:
                    self.kept[user] = made_s, self.now_s
            elif said == {"forget"} and not any(entry.node_leaves for entry in consumed):
                self.asked.discard(user)
                assert user not in self.since, "it was given up"
            if user not in self.here and "forget" in said:
                self.kept.pop(user, None)

    # What must hold

    @invariant()
    def everybody_is_online_or_away_or_offline(self) -> None:
        assert not self.away.keys() & self.here
        assert self.away.keys() <= self.since.keys()
        assert self.since.keys() <= self.asked
        if self.unsent is None:
            assert len(self.away) <= self.limit

    @invariant()
    def the_journal_has_each_line_since(self) -> None:
        for user, first in self.since.items():
            lines = [
                at for at, receiver in enumerate(self.receivers, 1) if receiver == user and first <= at < self.next
            ]
            assert [at for at in self.journal[user] if at >= first] == lines

    @invariant()
    def a_place_is_kept_for_its_time(self) -> None:
        if self.limit < len(USERS):
            return
        for user, (earliest_s, _) in self.kept.items():
            assert user in self.since or (user not in self.here and self.now_s >= earliest_s + AWAY_S)

    def teardown(self) -> None:
        """In the end all places are over."""
        if hasattr(self, "assembly"):
            if self.unsent:
                self.send()
            while self.entries:
                self.work()
            self.tick(set(NODES))
            self.now_s += AWAY_S
            self.tick(set())
            assert not self.since
            assert not self.away
            assert not self.assembly.routing.online_users


def answered(making: Any, nodes: set[bytes]) -> Batch:
    """The batch, when nobody follows anybody."""
    answer: Any = None
    while True:
        try:
            question = making.send(answer)
        except StopIteration as end:
            batch: Batch = end.value
            return batch
        match question:
            case KnownNodes(asked):
                answer = [node for node in asked if node in nodes]
            case FollowingCounts(names) | FollowerCounts(names):
                answer = [0 for _ in names]
            case Following(names):
                answer = [[] for _ in names]
            case FollowersAmong(pairs):
                answer = [[] for _ in pairs]


Model.TestCase.settings = hypothesis_settings(max_examples=200, stateful_step_count=30, deadline=None)
TestModel = pytest.mark.slow(Model.TestCase)


# Orders that are rare.


def model(limit: int = 100) -> Model:
    subject = Model()
    subject.start(limit)
    return subject


def test_a_tick_that_overtakes_a_batch_does_not_say_what_the_batch_will() -> None:
    subject = model()
    for node in NODES:
        subject.presence(node, {b"1"}, {b"1"}, set(), set())
    subject.work()
    subject.presence(NODES[0], set(), set(), {b"1"}, set())
    subject.make(5)
    subject.tick({NODES[1]})
    subject.everybody_is_online_or_away_or_offline()
    assert (subject.here, subject.away) == ({b"1"}, {})
    subject.send()
    assert (subject.here, set(subject.away)) == (set(), {b"1"})


def test_who_was_about_to_go_when_the_leader_died_is_away() -> None:
    subject = model()
    subject.presence(NODES[0], {b"1"}, {b"1"}, set(), set())
    subject.work()
    subject.presence(NODES[0], set(), set(), {b"1"}, set())
    subject.make(5)
    subject.tick({NODES[0]})
    assert (subject.here, subject.away, subject.since) == (set(), {}, {b"1": 1})
    subject.load()
    subject.event(b"1")
    subject.work()
    subject.tick(set())
    subject.the_journal_has_each_line_since()
    assert (set(subject.away), subject.since, subject.journal[b"1"]) == ({b"1"}, {b"1": 1}, [1])


def test_a_take_over_changes_no_deadline() -> None:
    subject = model()
    subject.presence(NODES[0], {b"1"}, {b"1"}, set(), set())
    subject.presence(NODES[0], set(), set(), {b"1"}, set())
    subject.make(1)
    subject.send()
    subject.work()
    subject.wait(AWAY_S - 1)
    subject.load()
    subject.tick(set())
    assert subject.since == {b"1": 1}
    subject.wait(1.0)
    subject.tick(set())
    assert subject.since == {}


def test_a_place_that_only_redis_has_half_of_goes_with_the_first_batch() -> None:
    subject = model()
    subject.away = {b"1": AWAY_S, b"2": AWAY_S}
    subject.since, subject.asked = {b"2": 1}, {b"2"}
    subject.online = {NODES[0]: {b"2"}}
    subject.load()
    subject.tick(set())
    assert (subject.away, subject.since) == ({}, {b"2": 1})


def test_the_oldest_go_first() -> None:
    subject = model(limit=2)
    subject.presence(NODES[0], set(USERS), set(USERS), set(), set())
    subject.work()
    for user in (b"2", b"1", b"3"):
        subject.presence(NODES[0], set(), set(), {user}, set())
        subject.work()
    assert list(subject.away) == [b"1", b"3"]
    assert set(subject.since) == {b"1", b"3"}


def test_many_whose_time_is_over_go_in_steps() -> None:
    routing = Routing()
    places = Places(routing, AWAY_S, 1_000_000)
    everybody = [b"%d" % user for user in range(EXPIRED_A_STEP + 1)]
    for user in everybody:
        places.join(b"n", user)
        places.keep(user, 1)
    places.drop_node(b"n")
    assert (len(places.away), places.online_users) == (len(everybody), 0)
    places.expire(AWAY_S - 1)
    assert len(places.away) == len(everybody)
    places.expire(AWAY_S)
    assert list(places.away) == [max(everybody)]
    places.expire(AWAY_S)
    assert (list(places.away), places.since, routing.online_users) == ([], {}, 0)


def test_who_never_asked_is_not_known_here() -> None:
    places = Places(Routing(), AWAY_S, 10)
    places.join(b"n", b"1")
    places.leave(b"n", [b"1"], [b"1"])
    places.join(b"n", b"2")
    places.drop_node(b"n")
    assert (places.take_changed(), places.since, list(places.away)) == (set(), {}, [])
