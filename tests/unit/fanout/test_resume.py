"""A client that comes back gets every line once and in order, or is told why not; whatever happens meanwhile."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

import pytest

from fanout import resume, sweep
from fanout.clients.connection import HIGH_WATER_BYTES
from fanout.clients.tcp import Client
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisRefusedError, Reply
from tests.schedules.redis_double import Redis, RefusedError
from tests.support.returning import USERS, Command, Miniature, received, transport_of


class Calls:
    """Commands on a double of Redis; before each of them something else may happen."""

    def __init__(self) -> None:
        self.redis = Redis(time.monotonic, lambda *_: None)
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.commands: list[str] = []
        self.lost = False

    async def at_once(self, commands: list[Command]) -> None:
        """What the sequencer's script does, in one step."""
        for command in commands:
            self.redis.run([part if isinstance(part, bytes) else str(part).encode() for part in command])

    async def _run(self, command: tuple[Any, ...]) -> Reply:
        name = str(command[0])
        if self.before is not None:
            happens, self.before = self.before, None
            try:
                await happens(name)
            finally:
                self.before = happens
        if self.lost:
            raise RedisUnavailableError("lost")
        self.commands.append(name)
        packed = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        try:
            return self.redis.run(packed)
        except RefusedError as problem:
            raise RedisRefusedError(str(problem)) from None

    def call(self, *command: bytes | str | int | float) -> "asyncio.Future[Reply]":
        return asyncio.ensure_future(self._run(command))

    async def call_all(self, commands: Iterable[tuple[Any, ...]]) -> list[Reply]:
        return [await self._run(command) for command in commands]


async def staged(batches: int = 10, hear: bool = True, **given_settings: object) -> tuple[Calls, Miniature]:
    """A node that has written some batches, each with a line for each user and a broadcast."""
    calls = Calls()
    node = Miniature(calls, calls.at_once, **given_settings)
    await node.begin()
    for _ in range(batches):
        await node.commit([b"1", b"2", b"", b"3"])
    if hear:
        node.hear()
    node.connect()
    return calls, node


async def served(node: Miniature) -> None:
    """The batch that consumes the joins, and all that follows from it."""
    await node.commit([])
    node.hear()
    await node.settled()


async def test_it_gets_what_it_missed_and_then_what_comes() -> None:
    _, node = await staged()
    client = node.come_back(b"1", 7)
    await served(node)
    assert received(client) == b"RESUMED 9f31c2@7\n" + node.owed(b"1", 7)
    await node.commit([b"1", b"", b"2"])
    node.hear()
    assert received(client) == b"RESUMED 9f31c2@7\n" + node.owed(b"1", 7)
    assert (node.stats.resumed, node.stats.replayed_lines) == (1, node.owed(b"1", 7).count(b"\n") - 2)
    await node.disconnect()


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 36, 39, 40])
async def test_it_goes_on_after_any_number(number: int) -> None:
    _, node = await staged()
    client = node.come_back(b"2", number)
    await served(node)
    assert received(client) == b"RESUMED 9f31c2@%d\n" % number + node.owed(b"2", number)
    await node.disconnect()


async def test_now_is_where_the_node_is() -> None:
    _, node = await staged()
    client = node.come(b"1 after=now\n")
    await node.commit([b"1"])
    node.hear()
    await node.settled()
    assert received(client) == b"OK 9f31c2@41\n"
    await node.commit([b"1"])
    node.hear()
    assert received(client) == b"OK 9f31c2@41\n" + node.owed(b"1", 41)
    await node.disconnect()


async def test_nothing_is_told_before_the_batch_with_its_join_is_here() -> None:
    _, node = await staged()
    clients = [node.come(b"1 after=now\n"), node.come_back(b"2", 7), node.come(b"3 after=x@7\n")]
    await node.settled()
    await node.commit([b"1"])
    await node.settled()
    assert [received(client) for client in clients] == [b"", b"", b""]
    node.hear()
    await node.settled()
    assert all(received(client) for client in clients)
    await node.disconnect()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"1 after=other@7\n", b"RESET 9f31c2@41 history\n"),
        (b"1 after=9f31c2@42\n", b"RESET 9f31c2@41 ahead\n"),
        (b"1 after=9f31c2@9007199254740991\n", b"RESET 9f31c2@41 ahead\n"),
        (b"4 after=9f31c2@7\n", b"RESET 9f31c2@41 away\n"),
        (b"4 after=9f31c2@39\n", b"RESET 9f31c2@41 away\n"),
        (b"4 after=9f31c2@40\n", b"RESUMED 9f31c2@40\n"),
    ],
)
async def test_the_reasons_for_which_it_begins_anew(line: bytes, told: bytes) -> None:
    _, node = await staged()
    client = node.come(line)
    user = line.split(b" ")[0]
    node.expected.setdefault(user, [])
    await node.commit([b"2"])
    node.hear()
    await node.settled()
    assert received(client) == told
    await node.commit([user])
    node.hear()
    assert received(client) == told + node.expected[user][-1]
    assert sum(node.stats.resets.values()) == told.startswith(b"RESET")
    await node.disconnect()


@pytest.mark.parametrize(("first", "covered"), [(1, 0), (2, 8), (5, 20), (10, 40), (11, 40), (12, 40)])
async def test_what_the_journal_has_lost_is_not_sent_in_part(first: int, covered: int) -> None:
    """What its first batch began with nobody can tell, so that batch does not count."""
    for number, told in ((covered - 1, b"RESET 9f31c2@40 trimmed\n"), (covered, b"RESUMED 9f31c2@%d\n" % covered)):
        if number < 0:
            continue
        _, node = await staged()
        client = node.come_back(b"1", number)
        await node.commit([])
        await node.trim(first)
        node.hear()
        await node.settled()
        lines = node.owed(b"1", number) if told.startswith(b"RESUMED") else b""
        assert received(client) == told + lines
        await node.disconnect()


async def test_a_number_that_this_node_has_not_written_waits_until_it_has() -> None:
    _, node = await staged(batches=5)
    early = node.come_back(b"1", 7)
    await served(node)
    for _ in range(5):
        await node.commit([b"1", b"2", b"", b"3"])
    late = node.come_back(b"1", 33)
    await node.settled()
    assert received(late) == b""
    node.hear(3)
    await node.settled()
    assert received(late) == b""
    node.hear()
    await node.settled()
    assert received(late) == b"RESUMED 9f31c2@33\n" + node.owed(b"1", 33)
    assert received(early) == b"RESUMED 9f31c2@7\n" + node.owed(b"1", 7)
    await node.disconnect()


async def test_a_large_replay_is_refused_before_a_line_is_sent() -> None:
    size = len(b"".join(b"%d|P|9|1\n%d|B\n" % (number, number) for number in range(5, 41, 4)))
    for most, told in ((size - 20, b"RESET 9f31c2@40 large\n"), (size + 200, b"RESUMED 9f31c2@4\n")):
        _, node = await staged(resume_bytes=1024)
        node.settings.__dict__["resume_bytes"] = most
        client, near = node.come_back(b"1", 4), node.come_back(b"2", 39)
        await served(node)
        assert received(client) == told + (node.owed(b"1", 4) if told.startswith(b"RESUMED") else b"")
        assert received(near) == b"RESUMED 9f31c2@39\n" + node.owed(b"2", 39)
        await node.disconnect()


async def test_many_cost_one_reading_of_the_journal() -> None:
    calls, node = await staged(batches=40)
    clients = [node.come_back(USERS[at % 3], at % 150) for at in range(600)]
    await node.commit([])
    calls.commands.clear()
    node.hear()
    await node.settled()
    for at, client in enumerate(clients):
        assert received(client) == b"RESUMED 9f31c2@%d\n" % (at % 150) + node.owed(USERS[at % 3], at % 150)
    assert calls.commands.count("HMGET") == 4, "the number released, and `since` of up to 500, in one go"
    assert calls.commands.count("XRANGE") <= 1 + 41 // 16 + 1
    assert calls.commands.count("XREVRANGE") <= 7
    await node.disconnect()


async def test_who_is_up_to_date_costs_no_reading() -> None:
    calls, node = await staged()
    client = node.come_back(b"1", 40)
    await node.commit([])
    calls.commands.clear()
    node.hear()
    await node.settled()
    assert received(client) == b"RESUMED 9f31c2@40\n"
    assert set(calls.commands) == {"HMGET", "GET"}
    await node.disconnect()


async def test_who_does_not_read_is_left_out_and_goes_on_later_from_where_it_was() -> None:
    _, node = await staged(batches=0)
    for _ in range(64):
        await node.commit([b""] * 200)
    node.hear()
    slow, quick = node.come_back(b"1", 0), node.come_back(b"1", 0)
    transport_of(slow).takes = False
    await served(node)
    assert received(quick) == b"RESUMED 9f31c2@0\n" + node.owed(b"1", 0)
    held = transport_of(slow).get_write_buffer_size()
    assert HIGH_WATER_BYTES < held < len(node.owed(b"1", 0)) // 2
    for _ in range(6):
        transport_of(slow).take()
        await node.commit([b"1"])
        node.hear()
        await node.settled()
    transport_of(slow).takes = True
    transport_of(slow).take()
    await node.settled()
    assert received(slow) == b"RESUMED 9f31c2@0\n" + node.owed(b"1", 0)
    assert received(quick) == received(slow)
    await node.disconnect()


async def test_a_replay_that_the_journal_has_lost_meanwhile_ends_the_connection() -> None:
    _, node = await staged(batches=0)
    for _ in range(64):
        await node.commit([b""] * 200)
    node.hear()
    client = node.come_back(b"1", 0)
    transport_of(client).takes = False
    await served(node)
    await node.trim(60)
    transport_of(client).take()
    await node.settled()
    whole, got = b"RESUMED 9f31c2@0\n" + node.owed(b"1", 0), received(client)
    assert got.endswith(b"\nBYE slow 0\n")
    assert whole.startswith(got.removesuffix(b"BYE slow 0\n"))
    assert transport_of(client).closed
    assert node.stats.replays_lost == 1
    await node.disconnect()


async def test_a_replay_that_is_never_taken_ends_the_connection() -> None:
    _, node = await staged(batches=0, client_stall_s=0.05)
    for _ in range(64):
        await node.commit([b""] * 200)
    node.hear()
    client = node.come_back(b"1", 0)
    transport_of(client).takes = False
    await served(node)
    assert not transport_of(client).closed
    async with asyncio.timeout(30):
        while not transport_of(client).closed:
            await served(node)
            await asyncio.sleep(0.01)
    assert node.stats.slow_clients_closed["accepts nothing"] == 1
    await node.disconnect()


async def test_what_newcomers_have_not_taken_is_bounded_together() -> None:
    _, node = await staged(batches=0, node_buffer_bytes=400_000)
    for _ in range(16):
        await node.commit([b""] * 200)
    node.hear()
    clients = [node.come_back(b"1", 0) for _ in range(40)]
    for client in clients:
        transport_of(client).takes = False
    await served(node)
    one = len(node.owed(b"1", 0))
    assert sum(transport_of(client).get_write_buffer_size() for client in clients) < 100_000 + 2 * one
    for client in clients:
        transport_of(client).takes = True
        transport_of(client).take()
    async with asyncio.timeout(30):
        while any(received(client) != b"RESUMED 9f31c2@0\n" + node.owed(b"1", 0) for client in clients):
            await served(node)
    await node.disconnect()


async def test_a_lost_connection_to_redis_in_the_middle_of_it_costs_nothing() -> None:
    calls, node = await staged(batches=200)
    clients = [node.come_back(b"1", 5), node.come_back(b"2", 300)]
    await node.commit([])
    reads = 0

    async def happens(name: str) -> None:
        nonlocal reads
        reads += name == "XRANGE"
        calls.lost = reads > 4

    calls.before = happens
    node.hear()
    with pytest.raises(RedisUnavailableError):
        await node.settled()
    assert received(clients[0]).startswith(b"RESUMED")
    assert not received(clients[0]).endswith(node.expected[b"1"][-1])
    calls.lost, calls.before = False, None
    node.connect()
    await node.settled()
    assert received(clients[0]) == b"RESUMED 9f31c2@5\n" + node.owed(b"1", 5)
    assert received(clients[1]) == b"RESUMED 9f31c2@300\n" + node.owed(b"2", 300)
    await node.disconnect()


async def test_more_is_written_meanwhile_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, node = await staged(batches=40)
    node.writer.limit_bytes = 2_000
    monkeypatch.setattr(sweep, "A_TURN", 1)
    clients = [node.come_back(USERS[at % 3], at) for at in range(9)]
    await node.commit([])
    left = 12

    async def happens(name: str) -> None:
        nonlocal left
        if name == "XRANGE" and left:
            left -= 1
            await node.commit([b"1", b"", b"3"])
            node.hear()

    calls.before = happens
    node.hear()
    await node.settled()
    for at, client in enumerate(clients):
        assert received(client) == b"RESUMED 9f31c2@%d\n" % at + node.owed(USERS[at % 3], at)
    await node.disconnect()


# Anything at any time


STEPS = ["commit", "commit", "commit", "hear", "hear", "hear", "come", "come", "come"]
STEPS += ["now", "bare", "stop", "take", "take", "end", "leave", "trim", "lose"]
judged = re.compile(rb"(?:(OK|RESUMED|RESET) 9f31c2@([0-9]+)(?: (trimmed|away|ahead|large))?\n)").match


def judge(node: Miniature, client: Client, asked: int | None) -> None:
    """What a client has taken is its lines from a place on, whole and once; all of them if it is still there."""
    got = received(client)
    transport = transport_of(client)
    if asked is None:
        return
    if not got:
        assert transport.closed, "everyone is answered in the end"
        return
    head = judged(got)
    assert head, got[:80]
    word, number = head[1], int(head[2])
    if asked >= 0:
        assert word in (b"RESUMED", b"RESET")
        assert number == asked or word == b"RESET"
        assert number + 1 >= node.since[client.user_id] or word == b"RESET"
        assert head[3] != b"away" or asked + 1 < node.since[client.user_id]
    else:
        assert word == b"OK"
    lines = got[head.end() :]
    if transport.closed:
        lines = lines.removesuffix(b"BYE slow 0\n")
        assert node.owed(client.user_id, number).startswith(lines)
    else:
        assert lines == node.owed(client.user_id, number)


async def anything(chance: Random) -> None:
    calls = Calls()
    node = Miniature(calls, calls.at_once, journal_bytes=2048, resume_bytes=chance.choice([1024, 2048]))
    node.writer.limit_bytes = chance.choice([1, 1_500, 1 << 20])
    if chance.random() < 0.5:
        del node.since[b"2"]
    await node.begin()
    node.connect()
    clients: list[tuple[Client, int | None]] = []
    busy = over = False

    async def step(name: str) -> None:
        if name == "commit":
            events = chance.choices([b"", *USERS], k=chance.randrange(7))
            await node.commit(events, chance.choice([1, 2, 1000]))
        elif name == "hear":
            node.hear(chance.randint(1, 4))
        elif name == "come":
            asked = chance.randint(0, node.next + 1)
            clients.append((node.come_back(chance.choice(USERS), asked), asked))
        elif name == "now":
            clients.append((node.come(chance.choice(USERS) + b" after=now\n"), -1))
        elif name == "bare":
            clients.append((node.come(chance.choice(USERS) + b"\n"), None))
        elif name == "trim":
            await node.trim(chance.randint(max(1, node.batch - 6), node.batch + 1))
        elif name == "lose" and not busy:
            await node.disconnect()
            node.connect()
        elif clients:
            client = chance.choice(clients)[0]
            transport = transport_of(client)
            if name == "stop":
                transport.takes = False
            elif name == "take":
                transport.take()
            elif not transport.closed:
                (client.close if name == "leave" else client.abort)()
        await asyncio.sleep(0)

    async def happens(_: str) -> None:
        nonlocal busy
        if not over and chance.random() < 0.5:
            busy = True
            try:
                await step(chance.choice(STEPS))
            finally:
                busy = False

    calls.before = happens
    for name in chance.choices(STEPS, k=chance.randrange(60)):
        await step(name)
    over = True
    await node.settled()
    for client, _ in clients:
        if not transport_of(client).closed:
            transport_of(client).takes = True
            transport_of(client).take()
    for _ in range(4):
        await served(node)
    for client, asked in clients:
        judge(node, client, asked)
    await node.disconnect()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_everyone_has_its_lines_once_and_in_order(part: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep, "A_TURN", 1)
        patched.setattr(resume, "A_TURN", 1)
        patched.setattr("tests.support.returning.HIGH_WATER_BYTES", 40)
        patched.setattr("fanout.upstream.catch_up.PARTS", 2)
        for seed in range(100 * part, 100 * (part + 1)):
            asyncio.run(anything(Random(seed)))


async def test_slow_newcomers_keep_nobody_else_from_going_on() -> None:
    _, node = await staged(batches=0, node_buffer_bytes=400_000, client_stall_s=0.1)
    for _ in range(16):
        await node.commit([b""] * 1000)
    node.hear()
    slow = [node.come_back(b"1", 0) for _ in range(3)]
    for client in slow:
        transport_of(client).takes = False
    await served(node)
    up_to_date, missed_one = node.come_back(b"2", node.next - 1), node.come_back(b"3", node.next - 2)
    for _ in range(50):  # ten times client_stall_s: each of the slow ones takes a little now and then
        for client in slow:
            transport = transport_of(client)
            transport.taken, transport._unsent = transport.taken + transport._unsent[:100], transport._unsent[100:]
        await served(node)
        await asyncio.sleep(0.02)
    assert received(up_to_date).startswith(b"RESUMED")
    assert received(missed_one).startswith(b"RESUMED")
    await node.disconnect()


async def test_junk_in_the_state_while_a_client_comes_back_is_named() -> None:
    calls, node = await staged()
    node.come_back(b"1", 7)
    await node.commit([])
    await calls.at_once([("HSET", node.settings.keys.state, "next", "junk")])
    node.hear()
    with pytest.raises(RedisUnavailableError, match="HDEL"):
        await node.settled()
