"""Batches are made in bounded steps: no user waits for a large follow set, and nothing is stored twice."""

from collections import Counter, deque
from collections.abc import Iterable

import pytest
import structlog

from contract.entries import Entry
from contract.events import BARE_BYTES
from runtime.settings import MIB, Settings, load
from sequencer.assembly import HEAVY_RUN_EVENTS, LEAST_EVENT_BYTES, Assembly
from sequencer.batch import Batch
from sequencer.graph import Graph
from sequencer.store import Store
from tests.integration.conftest import Calls


class Sequencer:
    """Makes batches of entries and commits them."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.store = Store(calls, settings, "me")
        self.graph = Graph(calls, settings.keys)
        self.settings = settings
        self.assembly: Assembly
        self.stored: Counter[bytes] = Counter()
        self.told: dict[bytes, bytes] = {}
        self.batches: list[Batch] = []

    async def begin(self) -> None:
        await self.store.prepare()
        await self.store.acquire()
        self.assembly = Assembly(await self.store.load(), self.settings, structlog.get_logger(), 0.0)

    async def make(self, entries: deque[Entry], limit_bytes: int) -> Batch:
        return await self.graph.answered(self.assembly.make(entries, limit_bytes))

    async def batch(self, *entries: Entry) -> list[Entry]:
        """Make and commit one batch; returns the entries that did not fit into it."""
        rest = deque(entries)
        batch = await self.make(rest, MIB)
        self.assembly.prepare(batch)
        await self.store.commit(len(self.batches) + 1, batch)
        self.batches.append(batch)
        self.stored.update(line for _, line in batch.waiting)
        for user, lines in batch.messages:
            self.told[user] = self.told.get(user, b"") + lines
        return list(rest)

    async def all(self, entries: Iterable[Entry]) -> None:
        """Batches until everything is released."""
        rest = list(entries)
        while rest or self.assembly.ordering.ready:
            rest = await self.batch(*rest)


async def sequencer(calls: Calls, settings: Settings, **following: Iterable[int]) -> Sequencer:
    """A sequencer; `u1=[7, 8]` says whom user 1 follows."""
    keys = settings.keys
    await calls.call("HSET", keys.nodes, "n", "0 1 0 1")
    for name, authors in following.items():
        user = name.removeprefix("u")
        listed = list(authors)
        await calls.call("SADD", keys.following + user, *listed)
        await calls.call_all([("SADD", keys.followers + str(author), user) for author in listed])
    subject = Sequencer(calls, settings)
    await subject.begin()
    return subject


def joins(number: int, *users: int) -> Entry:
    return Entry(b"%d-0" % number, node=b"n", joins=[b"%d" % user for user in users])


def leaves(number: int, *users: int) -> Entry:
    return Entry(b"%d-0" % number, node=b"n", leaves=[b"%d" % user for user in users])


def posts(number: int, first: int, authors: Iterable[int]) -> Entry:
    return Entry(
        b"%d-0" % number, raw=b"".join(b"%d|S|%d\n" % (at, author) for at, author in enumerate(authors, first))
    )


@pytest.mark.parametrize("batch_edges", [1, 20, 50_000])
async def test_who_follows_many_is_told_everything_while_the_set_is_still_being_read(
    calls: Calls, namespace: str, batch_edges: int
) -> None:
    subject = await sequencer(
        calls, load(namespace=namespace, batch_edges=batch_edges), u1=range(1000, 1500), u2=[1001]
    )
    left = await subject.batch(joins(1, 1, 2), posts(2, 1, [1499, 7, 1001]))
    still_loading = bool(subject.assembly.routing.follows.loading)
    await subject.all(left)
    assert still_loading == (batch_edges < 500)
    assert subject.told == {b"1": b"1|S|1499\n3|S|1001\n", b"2": b"3|S|1001\n"}
    while subject.assembly.routing.follows.loading:
        await subject.batch()
    await subject.all([posts(3, 4, range(1000, 1500))])
    assert subject.told[b"1"].count(b"\n") == 502


async def test_what_changes_while_a_set_is_being_read_counts(calls: Calls, namespace: str) -> None:
    subject = await sequencer(calls, load(namespace=namespace, batch_edges=3), u1=range(1000, 1050))
    changes = b"1|S|1049\n2|U|1|1049\n3|S|1049\n4|F|1|7\n5|S|7\n6|S|1048\n7|F|1|1049\n8|S|1049\n9|U|1|7\n10|S|7\n"
    await subject.all([joins(1, 1), Entry(b"2-0", raw=changes)])
    while subject.assembly.routing.follows.loading:
        await subject.batch()
    await subject.all([posts(3, 11, [7, 1049])])
    assert subject.told[b"1"] == b"1|S|1049\n5|S|7\n6|S|1048\n8|S|1049\n12|S|1049\n"


async def test_a_new_leader_goes_on_at_once_and_reads_follow_sets_on_the_way(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, batch_edges=10)
    first = await sequencer(calls, settings, **{f"u{user}": range(1000, 1100) for user in range(1, 31)})
    await first.batch(joins(1, *range(1, 31)))
    second = Sequencer(calls, settings)
    await second.begin()
    assert len(second.assembly.routing.follows.loading) == 30
    second.batches += first.batches
    await second.all([posts(2, 1, [1000, 5, 1099])])
    assert second.told == {b"%d" % user: b"1|S|1000\n3|S|1099\n" for user in range(1, 31)}


async def test_who_comes_and_goes_within_a_batch_is_read_once_or_never(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings, u1=[7], u2=[7])
    await subject.batch(*(entry for at in range(1, 9, 2) for entry in (joins(at, 1), leaves(at + 1, 1))), joins(9, 2))
    assert (subject.batches[0].moves, subject.batches[0].cursor) == ({(b"n", b"1"): False, (b"n", b"2"): True}, b"9-0")
    assert subject.assembly.routing.follows._entered == 1
    await subject.batch(leaves(10, 2), joins(11, 2), leaves(12, 2), joins(13, 2))
    assert subject.assembly.routing.follows._entered == 1
    assert subject.assembly.routing.is_online(b"2")


async def test_who_changes_nodes_within_a_batch_stays_online(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings, u1=[7])
    await calls.call("HSET", settings.keys.nodes, "m", "0 1 0 1")
    await subject.batch(joins(1, 1))
    await subject.batch(leaves(2, 1), Entry(b"3-0", node=b"m", joins=[b"1"]))
    assert subject.batches[1].moves == {(b"n", b"1"): False, (b"m", b"1"): True}
    assert subject.assembly.routing.follows._entered == 1
    assert await calls.call("SMEMBERS", settings.keys.online + "m") in ([b"1"], {b"1"})


async def test_a_node_that_leaves_takes_its_joins_of_the_same_batch_with_it(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings, u1=[7])
    await subject.batch(joins(1, 1), Entry(b"2-0", node=b"n", leaves=[b"*"]), posts(3, 1, [7]))
    assert (subject.batches[0].moves, subject.batches[0].gone) == ({}, (b"n",))
    assert not subject.assembly.routing.is_online(b"1")
    assert not await calls.call("EXISTS", settings.keys.online + "n")


@pytest.mark.parametrize("behind_a_gap", [True, False])
async def test_an_event_is_stored_at_most_once_however_many_batches_it_waits_for(
    calls: Calls, namespace: str, behind_a_gap: bool
) -> None:
    # Each batch has room for ten of a thousand updates; those that do not fit are put back a hundred times.
    followers = {f"u{user}": [7] for user in range(100, 110)}
    subject = await sequencer(calls, load(namespace=namespace, batch_deliveries=100), **followers)
    await subject.batch(joins(1, *range(100, 110)))
    entries = [posts(2 + at, 1 + 100 * at, [7] * 100) for at in range(10)]
    if behind_a_gap:
        first, later = b"1|S|7\n", entries[0].raw.removeprefix(b"1|S|7\n")
        entries = [Entry(b"2-0", raw=later), *entries[1:], Entry(b"20-0", raw=first)]
    await subject.all(entries)
    assert set(subject.told) == {b"%d" % user for user in range(100, 110)}
    assert {lines.count(b"\n") for lines in subject.told.values()} == {1000}
    assert max(subject.stored.values()) == 1
    assert sum(subject.stored.values()) <= 1000


async def test_entries_that_do_not_fit_are_left_with_the_reader(calls: Calls, namespace: str) -> None:
    subject = await sequencer(calls, load(namespace=namespace, batch_deliveries=10), u1=[7])
    await subject.batch(joins(1, 1))
    left = await subject.batch(posts(2, 1, [7] * 15), posts(3, 16, [7] * 15))
    assert [entry.id for entry in left] == [b"3-0"]
    assert subject.batches[1].cursor == b"2-0"
    assert subject.batches[1].raw_bytes == len(posts(2, 1, [7] * 15).raw)
    assert len(subject.batches[1].waiting) > 0
    await subject.all(left)
    assert subject.told[b"1"].count(b"\n") == 30


async def test_what_a_closed_gap_releases_is_no_larger_than_other_batches(calls: Calls, settings: Settings) -> None:
    subject = await sequencer(calls, settings)
    lines = b"".join(b"%d|P|1|2\n" % number for number in range(2, 5001))
    await subject.batch(Entry(b"1-0", raw=lines))
    await subject.all([Entry(b"2-0", raw=b"1|P|1|2\n")])
    assert sum(batch.counts["released"] for batch in subject.batches) == 5000
    limit = LEAST_EVENT_BYTES * 1000
    rest = deque([Entry(b"3-0", raw=b"".join(b"%d|P|1|2\n" % number for number in range(5002, 9001)))])
    await subject.make(rest, limit)
    batch = await subject.make(deque([Entry(b"4-0", raw=b"5001|P|1|2\n")]), limit)
    assert batch.counts["released"] == 1000


async def test_with_payloads_it_is_no_larger_in_bytes_either(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, window_bytes=MIB)
    subject, line_bytes, limit = await sequencer(calls, settings), 4096, 64 * 1024
    await subject.batch(joins(1, 2))

    def line(number: int) -> bytes:
        return (b"%d|P|1|2|" % number).ljust(line_bytes - 1, b"x") + b"\n"

    for number in range(2, 2002, 8):
        entry = Entry(b"%d-0" % number, raw=b"".join(map(line, range(number, number + 8))))
        await subject.make(deque([entry]), limit)
    released, entries = 0, deque([Entry(b"9999-0", raw=line(1))])
    while entries or subject.assembly.ordering.ready:
        batch = await subject.make(entries, limit)
        assert batch.published_bytes <= LEAST_EVENT_BYTES * limit + HEAVY_RUN_EVENTS * line_bytes
        released += batch.counts["released"]
    assert released == 2001


async def test_a_long_line_counts_as_several_deliveries(calls: Calls, namespace: str) -> None:
    settings = load(namespace=namespace, batch_deliveries=100)
    subject = await sequencer(calls, settings, u1=[9], u2=[9])
    await subject.batch(joins(1, 1, 2))
    payload = b"x" * (BARE_BYTES * 9)
    lines = b"".join(b"%d|S|9|%b\n" % (number, payload) for number in range(1, 101))
    await subject.all([Entry(b"2-0", raw=lines)])
    assert max(len(batch.messages) and batch.published_bytes for batch in subject.batches) <= 100 * 2 * BARE_BYTES
    assert subject.told == {b"1": lines, b"2": lines}


async def test_a_full_batch_of_short_lines_in_order_stores_nothing(calls: Calls, namespace: str) -> None:
    subject = await sequencer(calls, load(namespace=namespace, first_sequence=100_001))
    lines = b"".join(b"%d|B\n" % number for number in range(100_001, 103_001))
    entries = deque([Entry(b"1-0", raw=lines)])
    batch = await subject.make(entries, len(lines))
    assert (batch.counts["released"], batch.waiting, list(entries)) == (3000, [], [])
