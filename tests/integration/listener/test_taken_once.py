"""A producer's lines are taken once each: repeated appends, older connections, a Redis that has lost or never knew."""

from pathlib import Path
from typing import Any

import pytest

from listener.acks import Acks, Producer
from listener.groups import DONE, FENCED, WENT_BACK, Entry, Group
from listener.writer import StreamWriter
from runtime.context import Context
from runtime.errors import RedisDataError
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from runtime.redis.refusals import explained
from runtime.settings import Settings, load
from tests.integration.conftest import Calls, DoubleCalls, FakeCalls
from tests.support.programs import Program
from tests.support.servers import free_port, server_of


def entry(*parts: tuple[Producer | None, bytes, int]) -> Entry:
    """An entry: for each part its producer, its events, and how many lines are refused behind them."""
    groups = [
        Group(Acks(producer, 1, lambda: None) if producer else None, len(lines), lines.count(b"\n") + refused)
        for producer, lines, refused in parts
    ]
    return Entry(b"".join(lines for _, lines, _ in parts), groups)


class Listener:
    """One listener's writer."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.calls = calls
        self.keys = settings.keys
        self.writer = StreamWriter(Context(settings))

    async def hello(self, name: str = "orders", generation: int = 0) -> Producer:
        return await self.writer.register(self.calls, name, generation)

    async def append(self, what: Entry, *, is_answered: bool = True) -> tuple[int, list[int]]:
        """Append; without an answer the listener learns nothing."""
        backlog, verdicts = await self.writer.write(self.calls, what)
        if is_answered:
            self.writer.settle(what, verdicts)
        return backlog, verdicts

    async def stream(self) -> bytes:
        return b"".join(fields[1] for _, fields in await self.calls.call("XRANGE", self.keys.events, "-", "+"))

    async def count(self, name: str = "orders") -> int:
        return int(await self.calls.call("HGET", self.keys.producer + name, "received") or -1)

    async def backlog(self) -> int:
        return int(await self.calls.call("HGET", self.keys.state, "backlog") or 0)


@pytest.fixture
async def listener(calls: Calls, settings: Settings) -> Listener:
    found = Listener(calls, settings)
    await found.writer.prepare(calls)
    return found


async def test_a_new_producer_begins_with_nothing_and_its_lines_are_counted(listener: Listener) -> None:
    orders = await listener.hello()
    assert (orders.key, orders.received) == (listener.keys.producer + "orders", 0)
    assert await listener.append(entry((orders, b"1|B\n2|B\n", 1))) == (8, [DONE])
    assert await listener.append(entry((orders, b"3|B\n", 0))) == (12, [DONE])
    assert (await listener.stream(), await listener.count(), orders.received) == (b"1|B\n2|B\n3|B\n", 4, 4)
    assert (await listener.hello()).received == 4


async def test_an_append_that_is_repeated_changes_nothing(listener: Listener) -> None:
    orders, invoices = await listener.hello(), await listener.hello("invoices")
    one = entry((orders, b"1|B\n", 0), (invoices, b"2|B\n", 2), (orders, b"3|B\n", 0))
    assert await listener.append(one, is_answered=False) == (12, [DONE] * 3)
    for _ in range(2):
        assert await listener.append(one, is_answered=False) == (12, [DONE] * 3)
    await listener.append(one)
    assert await listener.stream() == b"1|B\n2|B\n3|B\n"
    assert (await listener.count(), await listener.count("invoices"), await listener.backlog()) == (2, 3, 12)
    assert (orders.received, invoices.received) == (2, 3)


async def test_the_part_that_is_in_the_stream_is_passed_over(listener: Listener) -> None:
    """Two listeners' entries meet: of one producer the lines are there, of the other they are not."""
    orders, invoices = await listener.hello(), await listener.hello("invoices")
    await listener.append(entry((orders, b"1|B\n", 0)), is_answered=False)
    both = entry((orders, b"1|B\n", 0), (invoices, b"2|B\n", 0))
    assert (await listener.append(both))[1] == [DONE, DONE]
    assert await listener.stream() == b"1|B\n2|B\n"


async def test_refused_lines_alone_are_counted_and_no_entry_is_written(listener: Listener) -> None:
    orders = await listener.hello()
    assert await listener.append(entry((orders, b"", 3))) == (0, [DONE])
    assert (await listener.count(), await listener.calls.call("XLEN", listener.keys.events)) == (3, 0)


async def test_a_newer_hello_fences_the_older_one_and_nobody_else(listener: Listener) -> None:
    older = await listener.hello()
    await listener.append(entry((older, b"1|B\n", 0)))
    newer, invoices = await listener.hello(), await listener.hello("invoices")
    assert newer.generation > older.generation
    mixed = entry((older, b"old|\n", 0), (None, b"2|B\n", 0), (newer, b"3|B\n", 0), (invoices, b"4|B\n", 0))
    assert (await listener.append(mixed))[1] == [FENCED, DONE, DONE, DONE]
    assert await listener.stream() == b"1|B\n2|B\n3|B\n4|B\n"
    assert [group.acks.is_fenced for group in mixed.groups if group.acks] == [True, False, False]
    assert (await listener.append(entry((older, b"again\n", 0))))[1] == [FENCED]


async def test_redis_knows_fewer_lines_than_it_had_confirmed(listener: Listener) -> None:
    orders = await listener.hello()
    await listener.append(entry((orders, b"1|B\n2|B\n3|B\n", 0)))
    await listener.calls.call("HSET", orders.key, "received", 1)
    lost = entry((orders, b"4|B\n", 0), (orders, b"5|B\n", 0))
    assert (await listener.append(lost))[1] == [WENT_BACK, WENT_BACK]
    assert (await listener.stream(), await listener.count()) == (b"1|B\n2|B\n3|B\n", 1)
    assert lost.groups[0].acks is not None
    assert lost.groups[0].acks.went_back


async def test_lines_behind_refused_ones_are_not_taken_when_redis_comes_to_their_count(listener: Listener) -> None:
    orders = await listener.hello()
    await listener.append(entry((orders, b"1|B\n2|B\n", 0)))
    await listener.calls.call("HSET", orders.key, "received", 1)  # a replica that was behind takes over
    first, second = entry((orders, b"3|B\n", 0)), entry((orders, b"4|B\n", 0))
    second.groups[0].acks = first.groups[0].acks
    assert (await listener.append(first))[1] == [WENT_BACK]
    await listener.calls.call("HSET", orders.key, "received", 2)  # and one that was not
    assert (await listener.append(second))[1] == [WENT_BACK]
    assert (await listener.stream(), await listener.count()) == (b"1|B\n2|B\n", 2)


async def test_a_copy_of_the_data_from_before_the_hello_takes_nothing_of_it(listener: Listener) -> None:
    orders = await listener.hello()
    for generation, received in ((1, 0), (orders.generation - 1, 7)):
        await listener.calls.call("HSET", orders.key, "generation", generation, "received", received)
        assert (await listener.append(entry((orders, b"1|B\n", 0))))[1] == [WENT_BACK]
    await listener.calls.call("DEL", orders.key)
    assert (await listener.append(entry((orders, b"1|B\n", 0))))[1] == [WENT_BACK]
    again = await listener.hello()
    assert again.generation > orders.generation
    assert again.received == 0


async def test_a_count_within_the_lines_of_a_group_is_nothing_that_we_have_written(listener: Listener) -> None:
    orders = await listener.hello()
    await listener.calls.call("HSET", orders.key, "received", 1)
    assert (await listener.append(entry((orders, b"1|B\n2|B\n", 0))))[1] == [WENT_BACK]
    assert await listener.stream() == b""


async def test_the_count_of_an_idle_producer_expires_and_that_of_one_that_is_here_does_not(
    listener: Listener,
) -> None:
    orders = await listener.hello()
    keep_ms = load().producer_s * 1000
    for renew in (listener.append, listener.writer.refresh):
        given: Any = (entry((orders, b"1|B\n", 0)),) if renew == listener.append else (listener.calls, [orders])
        await listener.calls.call("PEXPIRE", orders.key, 60_000)
        await renew(*given)
        assert keep_ms - 60_000 < await listener.calls.call("PTTL", orders.key) <= keep_ms


# Where Parade numbers the events


@pytest.fixture
async def numbering(calls: Calls, namespace: str) -> Listener:
    found = Listener(calls, load(namespace=namespace, numbering="parade"))
    await found.writer.prepare(calls)
    return found


async def test_lines_without_a_producer_are_taken_once_too(numbering: Listener) -> None:
    one = entry((None, b"*|B\n", 0))
    for _ in range(3):
        assert await numbering.append(one, is_answered=False) == (4, [DONE])
    await numbering.append(one)
    await numbering.append(entry((None, b"*|S|1\n", 0)))
    assert await numbering.stream() == b"*|B\n*|S|1\n"


async def test_lines_without_a_producer_are_appended_when_redis_has_lost_the_listeners_name(
    numbering: Listener,
) -> None:
    orders = await numbering.hello()
    await numbering.append(entry((None, b"*|B\n", 0)))
    assert numbering.writer.own is not None
    own = numbering.writer.own.key
    for lose in (["DEL", own], ["HSET", own, "received", 0], ["HINCRBY", own, "generation", 1]):
        await numbering.calls.call("DEL", numbering.keys.events)
        await numbering.calls.call(*lose)
        mixed = entry((None, b"*|S|1\n", 0), (orders, b"*|S|2\n", 0), (None, b"*|S|3\n", 0))
        _, verdicts = await numbering.writer.write(numbering.calls, mixed)
        rest = numbering.writer.settle(mixed, verdicts)
        assert rest.lines == b"*|S|1\n*|S|3\n"
        assert not numbering.writer.settle(rest, (await numbering.writer.write(numbering.calls, rest))[1])
        assert await numbering.stream() == b"*|S|2\n*|S|1\n*|S|3\n"
    assert orders.received == 3


# What fails leaves nothing half done


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (["SET", "{producer}", "x"], "{producer} is a string, not a hash"),
        (["HSET", "{producer}", "received", "x"], "{producer} has 'x' in its field received"),
        (["HDEL", "{producer}", "generation"], "{producer} has 'nothing' in its field generation"),
        (["SET", "{events}", "x"], "{events} is a string and not a stream"),
        (["HSET", "{state}", "backlog", "x"], "{state} has 'x' in its field backlog"),
    ],
)
async def test_a_key_that_is_not_as_it_should_be_is_named_and_nothing_is_written(
    listener: Listener, settings: Settings, spoil: list[str], problem: str
) -> None:
    if isinstance(listener.calls, FakeCalls | DoubleCalls) and spoil[1] == "{state}":
        pytest.skip("a server's own words about what is no number")
    orders, invoices = await listener.hello(), await listener.hello("invoices")
    keys = {"producer": orders.key, "events": listener.keys.events, "state": listener.keys.state}
    spoilt = [word.format(**keys) if word.startswith("{") else word for word in spoil]
    if spoilt[0] == "SET":
        await listener.calls.call("DEL", spoilt[1])
    await listener.calls.call(*spoilt)
    with pytest.raises(RedisRefusedError) as refusal:
        await listener.append(entry((invoices, b"1|B\n", 0), (orders, b"2|B\n", 0)))
    if isinstance(listener.calls, RedisLink):  # the others do not say what the command was
        found = await explained(refusal.value, listener.calls, settings)
        assert isinstance(found, RedisDataError)
        assert problem.format(**keys) in str(found)
    assert await listener.count("invoices") == 0
    if "backlog" not in spoil:
        assert await listener.backlog() == 0
    await listener.calls.call("DEL", spoilt[1])
    if spoilt[1] == orders.key:
        orders = await listener.hello()
    assert (await listener.append(entry((invoices, b"1|B\n", 0), (orders, b"2|B\n", 0))))[1] == [DONE, DONE]
    assert await listener.stream() == b"1|B\n2|B\n"


async def test_a_full_memory_refuses_the_append_and_the_hello_and_nothing_is_half_done(
    program: Program, settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    with server_of(program, port, "--dir", str(tmp_path)):
        link = await connect(f"redis://127.0.0.1:{port}/0", 5.0, "test")
        listener = Listener(link, settings)
        await listener.writer.prepare(link)
        orders = await listener.hello()
        one = entry((orders, b"1|B\n", 0))
        await link.call("CONFIG", "SET", "maxmemory", 1)
        for refused in (listener.append(one), listener.append(entry((orders, b"", 2))), listener.hello()):
            with pytest.raises(RedisRefusedError, match=r"^OOM"):
                await refused
        await link.call("CONFIG", "SET", "maxmemory", 0)
        assert (await listener.count(), await listener.backlog(), await listener.stream()) == (0, 0, b"")
        assert (await listener.append(one))[1] == [DONE]
        link.close()
        await link.closed


async def test_who_has_the_newest_generation_goes_on_and_fences_nobody(listener: Listener) -> None:
    first = await listener.hello()
    assert (await listener.append(entry((first, b"1|B\n", 0))))[1] == [DONE]
    again = await listener.hello(generation=first.generation)
    assert (again.generation, again.received) == (first.generation, 1)
    assert (await listener.append(entry((first, b"2|B\n", 0))))[1] == [DONE]
    newer = await listener.hello()
    assert newer.generation > first.generation
    newest = await listener.hello(generation=first.generation)
    assert newest.generation > newer.generation, "an old generation is no longer good"
    assert (await listener.append(entry((newer, b"3|B\n", 0))))[1] == [FENCED]
    await listener.calls.call("DEL", newest.key)
    assert (await listener.hello(generation=newest.generation)).received == 0
    assert await listener.stream() == b"1|B\n2|B\n"
