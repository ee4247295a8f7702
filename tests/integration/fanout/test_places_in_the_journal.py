"""Where in the journal a client goes on, and what it gets, on each real server."""

from collections.abc import Awaitable, Callable

import pytest

from fanout.upstream.catch_up import JournalGoneError
from fanout.upstream.search import BEGINNING, Place, beginning, place_before
from runtime.settings import Settings
from tests.integration.conftest import Calls
from tests.support.returning import USERS, Command, Miniature, received


def at_once(calls: Calls) -> Callable[[list[Command]], Awaitable[None]]:
    """Runs commands one after the other; nobody else uses the keys."""

    async def run(commands: list[Command]) -> None:
        await calls.call_all(commands)

    return run


async def journal(calls: Calls, settings: Settings, batches: int = 50) -> Miniature:
    """Batches with four numbers each; every third one is a tick."""
    node = Miniature(calls, at_once(calls), namespace=settings.namespace)
    await node.begin()
    for number in range(batches):
        await node.commit([] if number % 3 == 2 else [b"1", b"2", b"", b"3"], part_users=number % 3 + 1)
    return node


async def test_each_place_is_found(calls: Calls, settings: Settings) -> None:
    node = await journal(calls, settings)
    keys, end = settings.keys, Place(node.batch, node.next - 1)
    # The last batch that ends at or before a number, worked out batch by batch.
    ends = [(0, 0)]
    for number in range(50):
        ends.append((number + 1, ends[-1][1] + (0 if number % 3 == 2 else 4)))
    for number in range(node.next):
        found = await place_before(calls, keys, BEGINNING, end, number)
        assert (found.batch, found.number) == max(each for each in ends if each[1] <= number)


@pytest.mark.parametrize("first", [1, 2, 17, 50, 51])
async def test_where_the_journal_begins(calls: Calls, settings: Settings, first: int) -> None:
    node = await journal(calls, settings)
    keys, end = settings.keys, Place(node.batch, node.next - 1)
    await node.trim(first)
    found = await beginning(calls, keys, 0, end)
    if first == 1:
        assert found == BEGINNING
        assert await beginning(calls, keys, 30, end) == Place(31, await _number_behind(calls, settings, 31))
    elif first < 50:
        assert found == Place(first, await _number_behind(calls, settings, first))
        assert await beginning(calls, keys, first, end) == Place(
            first + 1, await _number_behind(calls, settings, first + 1)
        )
    else:
        assert found == end


async def test_a_damaged_frame_is_no_beginning(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("XADD", keys.deliveries, "7-1", "frame", "no frame")
    await calls.call("XADD", keys.deliveries, "8-1", "50", "8|P|9|50\n")
    assert await beginning(calls, keys, 0, Place(9, 40)) == Place(9, 40)
    with pytest.raises(JournalGoneError, match="batch 7"):
        await place_before(calls, keys, Place(5, 0), Place(9, 40), 20)


async def test_those_who_come_back_are_served(calls: Calls, settings: Settings) -> None:
    node = await journal(calls, settings)
    node.hear()
    node.connect(calls)
    clients = [(user, number, node.come_back(user, number)) for user in USERS for number in (0, 57, node.next - 1)]
    await node.commit([b"1", b""])
    node.hear()
    for user, number, client in clients:
        wanted = b"RESUMED 9f31c2@%d\n" % number + node.owed(user, number)
        while received(client) != wanted:
            assert wanted.startswith(received(client))
            await node.settled()
    await node.disconnect()


async def _number_behind(calls: Calls, settings: Settings, batch: int) -> int:
    return (await place_before(calls, settings.keys, Place(batch - 1, 0), Place(batch + 1, 10**9), 10**8)).number
