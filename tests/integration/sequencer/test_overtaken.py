"""A leader that ends at the wrong moment: its successor gives up nothing that is there, and renews what has to be."""

import asyncio
import copy
from collections import deque
from typing import Any, cast

import pytest

from contract.entries import Entry
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.settings import Settings, load
from sequencer.graph import Graph
from sequencer.history import ANOTHER_LED, KEPT
from sequencer.stats import SequencerStats
from sequencer.store import Store
from sequencer.term import Term
from tests.integration.conftest import DoubleCalls
from tests.integration.sequencer.test_places import Sequencer, told


async def term_of(calls: Any, settings: Settings) -> Term:
    store = Store(calls, settings, "me")
    await store.prepare()
    assert await store.acquire()
    term = Term(Context(settings), store, Graph(calls, settings.keys), calls, SequencerStats())
    await term.begin()
    return term


async def test_a_tick_that_overtakes_a_batch_gives_up_nothing_that_the_batch_releases() -> None:
    calls, settings = DoubleCalls(), load(namespace="h")
    term = await term_of(calls, settings)
    entries = [Entry(b"1-0", raw=b"1|B\n2|B\n4|B\n"), Entry(b"2-0", skip_to=4)]
    await term._make(deque(entries))  # it waits for room; a tick goes first, and then the leader dies
    await term._tick()
    successor = await term_of(calls, settings)
    batches, left = [], deque(entries)
    while left or successor._assembly.ordering.ready:
        batch = await successor._make(deque() if successor._assembly.ordering.ready else left)
        await successor._send(batch)
        await successor.commits.settle()
        batches.append(batch)
    assert b"".join(batch.broadcasts for batch in batches) == b"1|B\n2|B\n4|B\n"
    assert [line for batch in batches for _, line in batch.rejected] == [b"3-3"]


class Lost:
    """A connection that is lost with each command."""

    def call(self, *_: object) -> "asyncio.Future[object]":
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answer.set_exception(RedisUnavailableError("lost"))
        return answer


async def test_a_history_that_has_to_be_renewed_is_although_the_first_commit_fails() -> None:
    calls, settings = DoubleCalls(), load(namespace="h")
    redis = calls._redis
    leader = Sequencer(calls, settings)
    await leader.begin()
    await leader.batch(told(1, b"1|B\n"))
    older = copy.deepcopy(redis.data)
    await leader.batch(told(2, b"2|B\n3|B\n"))
    redis.data, redis.run_id = older, b"0ther"
    await calls.call("XADD", settings.keys.events, "2-0", "raw", "2|B|another one\n")
    standby = Sequencer(calls, settings)
    await standby.begin()
    assert standby.state.renewed == ANOTHER_LED
    batch, whole = await standby.make(told(2, b"2|B|another one\n")), standby.store.calls
    standby.store.calls = cast(Any, Lost())
    with pytest.raises(RedisUnavailableError):
        await standby.send(batch)
    standby.store.calls = whole
    await standby.begin()
    assert standby.state.renewed != KEPT


async def test_a_flood_of_refused_lines_hides_no_number_that_was_given_up() -> None:
    calls, settings = DoubleCalls(), load(namespace="h")
    subject = Sequencer(calls, settings)
    await subject.begin()
    await subject.batch(told(1, b"x\n" * 100 + b"3|B\n"), Entry(b"2-0", skip_to=3))
    entries = await calls.call("XRANGE", settings.keys.rejected, "-", "+")
    assert b"skipped" in [fields[1] for _, fields in entries]
