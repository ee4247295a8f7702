"""The commit script: all of a batch or nothing, once, and only by the holder of the lease."""

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from contract.events import parse
from contract.frames import Frame
from fanout.upstream.catch_up import JournalGoneError, missed_batches
from runtime.redis.link import RedisRefusedError, Reply
from runtime.settings import Settings, load
from sequencer.batch import Batch
from sequencer.graph import Graph
from sequencer.questions import (
    FollowerCounts,
    FollowersAmong,
    Following,
    FollowingCounts,
    KnownNodes,
    ScanFollowing,
)
from sequencer.store import LeaseLostError, Store
from tests.integration.conftest import Calls


@pytest.fixture
async def store(calls: Calls, settings: Settings) -> Store:
    subject = Store(calls, settings, "me")
    await subject.prepare()
    assert await subject.acquire()
    return subject


def full_batch(cursor: bytes) -> Batch:
    """A batch that changes everything that a batch can change."""
    return Batch(
        next=5,
        cursor=cursor,
        raw_bytes=30,
        counts=Counter(received=6, released=4, late=0),
        changes={(b"1", b"2"): b"F", (b"3", b"2"): b"F", (b"1", b"9"): b"U"},
        waiting=[(7, b"7|B\n"), (6, b"6|S|1\r\n")],
        moves={(b"n1", b"1"): True, (b"n1", b"8"): False, (b"n1", b"2"): True, (b"n2", b"1"): True},
        rejected=[("not an event", b"rubbish\n")],
        messages=[(b"2", b"1|F|1|2\n3|F|3|2\n")],
        unpublished=[(b"3", b"2|P|1|3\n")],
        broadcasts=b"4|B\n",
        places={b"1", b"3"},
        away=[b"3"],
        not_away=[b"1"],
        since=[(b"3", 2)],
        not_kept=[b"1"],
    )


async def everything(calls: Calls, settings: Settings) -> dict[str, Reply]:
    """All keys of the deployment with their values, but for what changes by itself."""
    found: dict[str, Reply] = {}
    for key in sorted(await calls.call("KEYS", settings.keys.prefix + "*")):
        kind = await calls.call("TYPE", key)
        name = key.decode().removeprefix(settings.keys.prefix)
        if kind in (b"hash", "hash"):
            flat = await calls.call("HGETALL", key)
            found[name] = dict(zip(flat[::2], flat[1::2], strict=True))
        elif kind in (b"set", "set"):
            found[name] = set(await calls.call("SMEMBERS", key))
        elif kind in (b"zset", "zset"):
            scores = ["WITHSCORES"] * (name != "away")  # whose scores are times
            found[name] = await calls.call("ZRANGE", key, 0, -1, *scores)
        elif kind in (b"stream", "stream"):
            found[name] = [fields for _, fields in await calls.call("XRANGE", key, "-", "+")]
        else:
            found[name] = await calls.call("GET", key)
    return found


async def test_one_commit_makes_everything_true(calls: Calls, settings: Settings, store: Store) -> None:
    keys = settings.keys
    await calls.call("SADD", keys.following + "1", "9")
    await calls.call("SADD", keys.followers + "9", "1")
    await calls.call("SADD", keys.online + "n1", "8")
    await calls.call("ZADD", keys.waiting, 3, b"3|F|3|2\n")
    await calls.call("HSET", keys.state, "backlog", 36)
    await calls.call("ZADD", keys.away, 1, "1")
    await calls.call("HSET", keys.since, "1", 1)
    consumed = await calls.call("XADD", keys.events, "*", "raw", b"x" * 30)
    await calls.call("XADD", keys.events, "*", "raw", b"later\n")
    await calls.call("HSET", keys.nodes, "n1", "0 1 2")

    assert await store.commit(1, full_batch(consumed)) == {b"n1": b"0 1 2"}

    assert await everything(calls, settings) == {
        "events": [[b"raw", b"later\n"]],
        "state": {
            b"next": b"5", b"batch": b"1", b"cursor": consumed, b"epoch": b"", b"skip_to": b"0",
            b"backlog": b"6", b"received": b"6", b"released": b"4",
        },
        "waiting": [b"6|S|1\r\n", b"6", b"7|B\n", b"7"],
        "followers:2": {b"1", b"3"},
        "following:1": {b"2"},
        "following:3": {b"2"},
        "online:n1": {b"1", b"2"},
        "online:n2": {b"1"},
        "nodes": {b"n1": b"0 1 2"},
        "away": [b"3"],
        "since": {b"3": b"2"},
        "lease": b"me",
        "deliveries": [
            [
                b"2", b"1|F|1|2\n3|F|3|2\n", b"3", b"2|P|1|3\n",
                b"frame", b"batch=1 cursor=%b since=0 next=5 epoch= after= safe=1 gone= history=\n4|B\n" % consumed,
            ]
        ],
        "rejected": [[b"reason", b"not an event", b"line", b"rubbish\n"]],
    }  # fmt: skip


async def test_the_next_term_loads_what_the_last_commit_left(store: Store, calls: Calls, settings: Settings) -> None:
    await calls.call("HSET", settings.keys.nodes, "n1", "0 1 2", "n2", "0 1 1")
    await store.commit(1, full_batch(b"5-0"))
    state = await store.load()
    assert (state.next, state.batch, state.cursor) == (5, 1, b"5-0")
    assert state.waiting == parse(b"6|S|1\r\n7|B\n")
    assert {node: set(users) for node, users in state.online.items()} == {b"n1": {b"1", b"2"}, b"n2": {b"1"}}
    answer = Graph(calls, settings.keys).answer
    assert await answer(Following([b"1", b"3", b"4"])) == [[b"2"], [b"2"], []]
    assert await answer(FollowingCounts([b"1", b"3", b"4"])) == [1, 1, 0]
    assert await answer(ScanFollowing(b"1", b"0", 10)) == (b"0", [b"2"])
    assert await answer(FollowerCounts([b"2", b"1"])) == [2, 0]
    among = await answer(FollowersAmong([(b"2", [b"3", b"4"]), (b"2", None), (b"9", [b"1"]), (b"9", None)]))
    assert [sorted(followers) for followers in among] == [[b"3"], [b"1", b"3"], [], []]
    assert await answer(KnownNodes([b"n1", b"n3", b"n2"])) == [b"n1", b"n2"]


async def test_a_new_deployment_starts_where_it_is_told(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, first_sequence=77)
    state = await Store(calls, settings, "me").load()
    assert (state.next, state.batch, state.cursor, state.waiting, state.online) == (77, 0, b"0-0", [], {})


async def test_a_deployment_has_one_history_until_its_reset(calls: Calls, settings: Settings) -> None:
    names = iter(["a1", "e1", "e2", "c3", "e3"])

    async def begin() -> bytes:
        store = Store(calls, settings, "me", random_hex=lambda _: next(names))
        await store.prepare()
        await store.load()
        await store.acquire()
        number = int(await calls.call("HGET", settings.keys.state, "batch") or 0) + 1
        await store.commit(number, Batch(1, b"0-0"))
        _, fields = (await calls.call("XREVRANGE", settings.keys.deliveries, "+", "-"))[0]
        return Frame.decode(fields[1]).lineage.history

    assert await begin() == b"a1"
    assert await begin() == b"a1"
    await calls.call("DEL", settings.keys.state, settings.keys.deliveries)
    assert await begin() == b"c3"


async def test_two_that_begin_a_deployment_agree_on_its_history(calls: Calls, settings: Settings) -> None:
    async def other_begins() -> None:
        await Store(calls, settings, "other", random_hex=lambda _: "first").load()

    slow = Store(Paused(calls, "HGETALL", other_begins), settings, "me", random_hex=lambda _: "second")
    await slow.prepare()
    await slow.load()
    await slow.acquire()
    await slow.commit(1, Batch(1, b"0-0"))
    assert await calls.call("HGET", settings.keys.state, "history") == b"first"
    ((_, fields),) = await calls.call("XRANGE", settings.keys.deliveries, "-", "+")
    assert Frame.decode(fields[1]).lineage.history == b"first"


async def test_loading_gives_no_history_to_a_deployment_that_an_older_version_began(
    calls: Calls, settings: Settings
) -> None:
    await calls.call("HSET", settings.keys.state, "next", 7, "batch", 3)
    assert (await Store(calls, settings, "me").load()).next == 7
    assert await calls.call("HGET", settings.keys.state, "history") is None


class Paused:
    """Calls of a process that is paused after one of its commands, while another process is at work."""

    def __init__(self, calls: Calls, after: str, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._calls = calls
        self._after = after
        self._meanwhile = meanwhile
        self.call_all = calls.call_all

    async def call(self, *command: bytes | str | int | float) -> Reply:
        answer = await self._calls.call(*command)
        if command[0] == self._after:
            await self._meanwhile()
        return answer


@pytest.mark.parametrize("after", ["XREVRANGE", "HGETALL"])
async def test_who_is_paused_while_loading_changes_nothing(
    after: str, calls: Calls, settings: Settings, store: Store
) -> None:
    async def commit() -> None:
        await store.commit(1, full_batch(b"5-0"))

    await Store(Paused(calls, after, commit), settings, "paused").load()
    state = await store.load()
    assert (state.next, state.batch) == (5, 1)
    assert await calls.call("XLEN", settings.keys.deliveries) == 1


async def test_a_repeated_commit_changes_nothing(calls: Calls, settings: Settings, store: Store) -> None:
    await store.commit(1, full_batch(b"5-0"))
    before = await everything(calls, settings)
    with pytest.raises(RedisRefusedError, match="BATCH 1 does not follow 1"):
        await store.commit(1, full_batch(b"5-0"))
    with pytest.raises(RedisRefusedError, match="BATCH 3 does not follow 1"):
        await store.commit(3, full_batch(b"6-0"))
    assert await everything(calls, settings) == before


async def test_without_the_lease_nothing_is_committed(calls: Calls, settings: Settings, store: Store) -> None:
    other = Store(calls, settings, "other")
    assert not await other.acquire()
    before = await everything(calls, settings)
    with pytest.raises(LeaseLostError):
        await other.commit(1, full_batch(b"5-0"))
    await calls.call("DEL", settings.keys.lease)
    with pytest.raises(LeaseLostError):
        await store.commit(1, full_batch(b"5-0"))
    del before["lease"]
    assert await everything(calls, settings) == before


async def test_the_lease_is_kept_by_committing_and_given_back_by_the_last(
    calls: Calls, settings: Settings, store: Store
) -> None:
    assert await store.acquire()
    await calls.call("PEXPIRE", settings.keys.lease, 500)
    await store.commit(1, Batch(1, b"0-0"))
    assert await calls.call("PTTL", settings.keys.lease) > 500
    await store.commit(2, Batch(1, b"0-0"), last=True)
    assert await calls.call("EXISTS", settings.keys.lease) == 0
    assert await Store(calls, settings, "other").acquire()


async def test_a_node_that_is_gone_leaves_nothing(calls: Calls, settings: Settings, store: Store) -> None:
    await calls.call("HSET", settings.keys.nodes, "n1", "0 1 2", "n2", "0 1 1")
    await store.commit(1, full_batch(b"5-0"))
    assert await store.commit(2, Batch(5, b"5-0", gone=(b"n1",))) == {b"n2": b"0 1 1"}
    found = await everything(calls, settings)
    assert "online:n1" not in found
    assert found["online:n2"] == {b"1"}


async def test_an_empty_stream_has_no_backlog(calls: Calls, settings: Settings, store: Store) -> None:
    entry = await calls.call("XADD", settings.keys.events, "*", "raw", b"appended by hand\n")
    await store.commit(1, Batch(1, entry, raw_bytes=17))
    assert await calls.call("HGET", settings.keys.state, "backlog") == b"0"
    assert await calls.call("XLEN", settings.keys.events) == 0


async def test_the_journal_has_what_was_published(calls: Calls, settings: Settings, store: Store) -> None:
    messages = [(b"%d" % user, b"1|P|1|%d\n" % user) for user in range(1, 2501)]
    await store.commit(1, Batch(2, b"1-0", messages=messages))
    await store.commit(2, Batch(3, b"2-0", broadcasts=b"2|B\n"))
    await store.commit(3, Batch(3, b"2-0"))
    parts = await calls.call("XRANGE", settings.keys.deliveries, "-", "+")
    assert [part for part, _ in parts] == [b"1-1", b"1-2", b"1-3", b"2-1", b"3-1"]
    read = [batch async for batch in missed_batches(calls, settings.keys, 0, 3)]
    assert [(frame.batch, frame.lines) for frame, _ in read] == [(1, b""), (2, b"2|B\n"), (3, b"")]
    assert read[0][1] == dict(messages)
    assert read[1][1] == read[2][1] == {}
    assert [frame.batch async for frame, _ in missed_batches(calls, settings.keys, 1, 2)] == [2]
    assert [frame async for frame, _ in missed_batches(calls, settings.keys, 3, 3)] == []


async def test_the_journal_is_bounded_and_says_when_it_is_too_short(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, journal_bytes=10_000)
    store = Store(calls, settings, "me")
    await store.prepare()
    await store.acquire()
    for number in range(1, 41):
        await store.commit(number, Batch(number, b"1-0", messages=[(b"1", b"x" * 1000)]))
    parts = await calls.call("XRANGE", settings.keys.deliveries, "-", "+")
    assert 5 <= len(parts) <= 9
    first = int(parts[0][0].split(b"-")[0])
    assert [f.batch async for f, _ in missed_batches(calls, settings.keys, first - 1, 40)] == list(range(first, 41))
    with pytest.raises(JournalGoneError):
        [f async for f, _ in missed_batches(calls, settings.keys, first - 2, 40)]
    with pytest.raises(JournalGoneError):
        [f async for f, _ in missed_batches(calls, settings.keys, 40, 41)]


async def test_a_journal_of_another_past_is_dropped(calls: Calls, settings: Settings, store: Store) -> None:
    await store.commit(1, Batch(1, b"0-0"))
    await calls.call("DEL", settings.keys.state)
    assert (await store.load()).batch == 0
    await store.commit(1, Batch(1, b"0-0"))
    assert await calls.call("XLEN", settings.keys.deliveries) == 1


async def test_rubbish_is_recorded_in_part_and_capped(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, rejected_entries=200)
    store = Store(calls, settings, "me")
    await store.prepare()
    await store.acquire()
    rubbish = [("not an event", b"x" * 900)] * (settings.rejected_per_batch + 50)
    for number in range(1, 7):
        await store.commit(number, Batch(1, b"0-0", rejected=rubbish))
    entries = await calls.call("XRANGE", settings.keys.rejected, "-", "+")
    assert 200 <= len(entries) < 6 * settings.rejected_per_batch
    assert max(len(fields[3]) for _, fields in entries) <= 64
