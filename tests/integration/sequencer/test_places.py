"""Away users and what `since` says, as commits leave them in Redis; and when a term begins a new history."""

from collections import deque
from collections.abc import Iterable

import pytest
import structlog

from contract.entries import Entry
from contract.frames import Frame
from fanout.upstream.catch_up import missed_batches
from runtime.redis.link import RedisLink, RedisRefusedError, Reply
from runtime.settings import MIB, Settings, load
from sequencer.assembly import Assembly
from sequencer.batch import Batch
from sequencer.graph import Graph
from sequencer.history import BATCHES_LOST, SERVER_UNKNOWN, Sent
from sequencer.store import Store
from tests.integration.conftest import Calls
from tests.integration.sequencer.test_commit import everything

AWAY_S = 120.0


class Sequencer:
    """One process: makes batches of entries and commits them, term after term."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.calls, self.settings = calls, settings
        self.sent: Sent | None = None
        self.now_s = 0.0

    async def begin(self) -> None:
        self.store = Store(self.calls, self.settings, "me", sent=self.sent)
        await self.store.prepare()
        assert await self.store.acquire()
        self.state = await self.store.load()
        self.number = self.state.batch
        self.assembly = Assembly(self.state, self.settings, structlog.get_logger(), self.now_s)
        self.graph = Graph(self.calls, self.settings.keys)

    async def make(self, *entries: Entry) -> Batch:
        self.assembly.places.expire(self.now_s)
        return await self.graph.answered(self.assembly.make(deque(entries), MIB))

    async def batch(self, *entries: Entry) -> None:
        await self.send(await self.make(*entries))

    async def expel(self, *nodes: bytes) -> None:
        self.assembly.places.expire(self.now_s)
        batch = Batch(self.assembly.ordering.next, self.assembly.cursor, gone=nodes)
        self.assembly.expel(batch)
        await self.send(batch)

    async def send(self, batch: Batch) -> None:
        self.assembly.prepare(batch)
        self.number += 1
        try:
            await self.store.commit(self.number, batch)
        finally:
            self.sent = self.store.sent


async def sequencer(calls: Calls, settings: Settings) -> Sequencer:
    for node in ("n", "m"):
        await calls.call("HSET", settings.keys.nodes, node, "0 1 0 1")
    subject = Sequencer(calls, settings)
    await subject.begin()
    return subject


def comes(number: int, *users: bytes, node: bytes = b"n", keep: Iterable[bytes] = ()) -> Entry:
    return Entry(b"%d-0" % number, node=node, joins=list(users), keep=list(keep))


def goes(number: int, *users: bytes, node: bytes = b"n", forget: Iterable[bytes] = ()) -> Entry:
    return Entry(b"%d-0" % number, node=node, leaves=list(users), forget=list(forget))


def told(number: int, *lines: bytes) -> Entry:
    return Entry(b"%d-0" % number, raw=b"".join(lines))


async def since(calls: Calls, settings: Settings) -> dict[bytes, bytes]:
    flat = await calls.call("HGETALL", settings.keys.since)
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def away_s(calls: Calls, settings: Settings) -> dict[bytes, float]:
    """For how many seconds yet each user stays away, by Redis's clock."""
    flat = await calls.call("ZRANGE", settings.keys.away, 0, -1, "WITHSCORES")
    seconds, _ = await calls.call("TIME")
    return {user: float(score) / 1000 - int(seconds) for user, score in zip(flat[::2], flat[1::2], strict=True)}


async def test_who_asked_goes_away_and_comes_back(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.batch(told(1, b"1|B\n"))
    await subject.batch(comes(2, b"1", b"2", keep=[b"1"]), told(3, b"2|P|9|1\n"))
    assert (await since(calls, settings), await away_s(calls, settings)) == ({b"1": b"2"}, {})

    await subject.batch(goes(4, b"1", b"2"), told(5, b"3|P|9|1\n", b"4|P|9|2\n"))
    assert await since(calls, settings) == {b"1": b"2"}
    (left_s,) = (await away_s(calls, settings)).values()
    assert AWAY_S - 5 < left_s <= AWAY_S + 1
    read = [messages async for _, messages in missed_batches(calls, settings.keys, 2, 3)]
    assert read == [{b"1": b"3|P|9|1\n"}]

    await subject.batch(comes(6, b"1", node=b"m"), told(7, b"5|P|9|1\n"))
    assert (await since(calls, settings), await away_s(calls, settings)) == ({b"1": b"2"}, {})


async def test_who_says_bye_leaves_nothing(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.batch(comes(1, b"1", b"2", keep=[b"1", b"2"]))
    await subject.batch(goes(2, b"1", b"2", forget=[b"1"]))
    assert (list(await since(calls, settings)), list(await away_s(calls, settings))) == ([b"2"], [b"2"])
    await subject.batch(goes(3, b"2", forget=[b"2"]))
    assert not await calls.call("EXISTS", settings.keys.since)
    assert not await calls.call("EXISTS", settings.keys.away)


async def test_lines_of_away_users_are_not_published(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.batch(comes(1, b"1", b"2", keep=[b"1"]))
    batch = await subject.make(goes(2, b"1"), told(3, b"1|P|9|1\n", b"2|P|9|2\n"))
    await subject.send(batch)
    assert (batch.messages, batch.unpublished) == ([(b"2", b"2|P|9|2\n")], [(b"1", b"1|P|9|1\n")])
    assert (batch.published_bytes, batch.journal_bytes) == (8, 16)


async def test_another_term_goes_on_with_those_who_are_away(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await calls.call("SADD", settings.keys.following + "1", "7")
    await calls.call("SADD", settings.keys.followers + "7", "1")
    await subject.batch(comes(1, b"1", keep=[b"1"]))
    await subject.batch(goes(2, b"1"))
    seconds, _ = await calls.call("TIME")
    await calls.call("ZADD", settings.keys.away, (int(seconds) + 60) * 1000, "1")
    other = Sequencer(calls, settings)
    other.now_s = 1000.0
    await other.begin()
    assert (other.state.since, list(other.state.away_s)) == ({b"1": 1}, [b"1"])
    assert 0 < other.state.away_s[b"1"] <= 60
    await other.batch(told(3, b"1|S|7\n"))
    read = [messages async for _, messages in missed_batches(calls, settings.keys, 2, 3)]
    assert read == [{b"1": b"1|S|7\n"}]
    other.now_s += 60
    await other.expel()
    assert (await since(calls, settings), await away_s(calls, settings)) == ({}, {})


async def test_all_users_of_a_large_node_go_away_at_once(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace)
    count = 18_000 if isinstance(calls, RedisLink) else 2_001  # the others take half a minute
    users = [b"%d" % user for user in range(count)]
    subject = await sequencer(calls, settings)
    await subject.batch(comes(1, *users, keep=users))
    assert await calls.call("HGET", settings.keys.since, "2000") == b"1"
    await subject.expel(b"n")
    assert await calls.call("ZCARD", settings.keys.away) == count
    other = Sequencer(calls, settings)
    await other.begin()
    assert len(other.state.since) == len(other.state.away_s) == count
    await other.batch(comes(2, *users, node=b"m", keep=users))
    assert await calls.call("ZCARD", settings.keys.away) == 0
    assert set((await since(calls, settings)).values()) == {b"1"}


async def test_a_lower_limit_lets_the_oldest_go(calls: Calls, settings: Settings, namespace: str) -> None:
    subject = await sequencer(calls, settings)
    for number, user in enumerate((b"3", b"1", b"2")):
        await subject.batch(comes(10 + 2 * number, user, keep=[user]))
        await subject.batch(goes(11 + 2 * number, user))
        await calls.call("ZADD", settings.keys.away, 10**13 + number, user)
    other = Sequencer(calls, load(namespace=namespace, away_users=1))
    await other.begin()
    await other.expel()
    assert (list(await since(calls, settings)), list(await away_s(calls, settings))) == ([b"2"], [b"2"])


async def test_places_that_an_older_version_has_left_alone_are_over(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.batch(comes(1, b"1", b"2", keep=[b"1", b"2"]))
    await subject.batch(goes(2, b"1"))
    await calls.call("HSET", settings.keys.state, "epoch", "0lder")
    other = Sequencer(calls, settings)
    await other.begin()
    await other.expel()
    assert (await since(calls, settings), await away_s(calls, settings)) == ({}, {})


@pytest.mark.parametrize("key", ["away", "since"])
async def test_a_key_of_another_type_changes_nothing(calls: Calls, settings: Settings, key: str) -> None:
    subject = await sequencer(calls, settings)
    name = settings.keys.prefix + key
    batch = await subject.make(comes(1, b"1", keep=[b"1"]), told(2, b"1|P|9|1\n"))
    await calls.call("SET", name, "not ours")
    before = await everything(calls, settings)
    with pytest.raises(RedisRefusedError, match=r"KEYTYPE .*delete it"):
        await subject.send(batch)
    assert await everything(calls, settings) == before
    await calls.call("DEL", name)
    await subject.store.commit(subject.number, batch)
    assert await since(calls, settings) == {b"1": b"1"}


async def test_who_never_asks_writes_no_place(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.batch(comes(1, b"1", b"2"), told(2, b"1|P|9|1\n"))
    batch = await subject.make(goes(3, b"1"), comes(4, b"1", node=b"m"))
    await subject.send(batch)
    await subject.expel(b"n", b"m")
    assert batch.places == set()
    assert not await calls.call("EXISTS", settings.keys.since, settings.keys.away)


# The history


async def history(calls: Calls, settings: Settings) -> bytes:
    """The one in the state, which is that of the last frame."""
    (_, fields), *_ = await calls.call("XREVRANGE", settings.keys.deliveries, "+", "-")
    found: bytes = await calls.call("HGET", settings.keys.state, "history")
    assert Frame.decode(fields[-1]).lineage.history == found
    return found


async def test_a_history_outlives_terms_on_one_server(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.expel()
    first = await history(calls, settings)
    other = Sequencer(calls, settings)
    await other.begin()
    await other.expel()
    assert (other.state.renewed, await history(calls, settings)) == ("", first)
    assert (await calls.call("GET", settings.keys.server)).split()[1] == await calls.call(
        "HGET", settings.keys.state, "epoch"
    )


async def test_what_a_restart_has_lost_ends_the_history_with_the_first_commit(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    subject = await sequencer(calls, settings)
    await subject.expel()
    first = await history(calls, settings)
    await calls.call("SET", keys.server, "another " + (await calls.call("HGET", keys.state, "epoch")).decode())
    await subject.begin()
    assert subject.state.renewed == "", "all that was sent is there"
    await subject.expel()
    await calls.call("SET", keys.server, "another " + (await calls.call("HGET", keys.state, "epoch")).decode())
    await subject.expel()
    await calls.call("HSET", keys.state, "batch", subject.number - 2)
    await calls.call("DEL", keys.deliveries)
    await subject.begin()
    assert subject.state.renewed == BATCHES_LOST
    assert await calls.call("HGET", keys.state, "history") == first, "loading changes nothing"
    await subject.expel()
    assert await history(calls, settings) != first


async def test_a_deployment_that_begins_again_has_one_history(calls: Calls, settings: Settings) -> None:
    """An empty server in place of the last one: what was sent to that says nothing of this one."""
    keys = settings.keys
    subject = await sequencer(calls, settings)
    await subject.expel()
    await subject.expel()
    await calls.call("DEL", keys.state, keys.deliveries, keys.server, keys.nodes)
    await subject.begin()
    found = await calls.call("HGET", keys.state, "history")
    await subject.expel()
    assert (subject.state.renewed, await history(calls, settings)) == ("", found)


class Watched:
    """Calls, after each of which it is looked at what a new node would find."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.found: list[tuple[bool, bool]] = []
        self._calls, self._settings = calls, settings
        self.call_all = calls.call_all

    async def call(self, *command: bytes | str | int | float) -> Reply:
        answer = await self._calls.call(*command)
        history, number = await self._calls.call("HMGET", self._settings.keys.state, "history", "next")
        self.found.append((history is not None, number is not None))
        return answer


async def test_who_finds_the_history_of_a_new_deployment_finds_the_next_number(
    calls: Calls, settings: Settings
) -> None:
    watched = Watched(calls, settings)
    await Store(watched, settings, "me").load()
    assert set(watched.found) == {(False, False), (False, True), (True, True)}


async def test_a_batch_that_never_arrived_and_comes_again_ends_no_history(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    subject = await sequencer(calls, settings)
    await subject.expel()
    entry = await calls.call("XADD", keys.events, "*", "raw", "1|B\n")
    batch = await subject.make(Entry(entry, raw=b"1|B\n"))
    await calls.call("SET", keys.nodes + "aside", "")
    await calls.call("RENAME", keys.nodes, keys.nodes + "aside")
    await calls.call("SET", keys.nodes, "not ours")
    with pytest.raises(RedisRefusedError):
        await subject.send(batch)
    await calls.call("RENAME", keys.nodes + "aside", keys.nodes)
    await calls.call("SET", keys.server, "another " + (await calls.call("HGET", keys.state, "epoch")).decode())
    await subject.begin()
    assert subject.state.renewed == ""
    await calls.call("XTRIM", keys.events, "MINID", "9999999999999")
    await subject.begin()
    assert subject.state.renewed == BATCHES_LOST


async def test_a_deployment_that_an_older_version_began_gets_a_history(calls: Calls, settings: Settings) -> None:
    await calls.call("HSET", settings.keys.state, "next", 7, "batch", 3, "epoch", "e1")
    subject = await sequencer(calls, settings)
    assert await calls.call("HGET", settings.keys.state, "history") is None
    await subject.expel()
    assert len(await history(calls, settings)) == 6


async def test_of_a_deployment_with_a_history_it_is_not_known_where_an_older_version_led(
    calls: Calls, settings: Settings
) -> None:
    await calls.call("HSET", settings.keys.state, "next", 7, "batch", 3, "epoch", "e1", "history", "a1")
    subject = await sequencer(calls, settings)
    assert subject.state.renewed == SERVER_UNKNOWN


async def test_who_sees_another_lead_remembers_nothing(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    await subject.expel()
    assert subject.sent is not None
    await calls.call("SET", settings.keys.lease, "another", "PX", 5000)
    assert not await subject.store.acquire()
    assert subject.store.sent is None
