"""How a term gives way to a node that catches up."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runtime.context import Context
from runtime.settings import load
from sequencer.stats import SequencerStats
from sequencer.term import GIVE_WAY_MOST_S, GIVE_WAY_SHARE, Term


async def given_way_s(is_catching_up: bool, since_sent_s: float) -> float:
    """How long the next batch is held back."""
    nothing = cast(Any, None)
    term = Term(Context(load()), nothing, nothing, nothing, SequencerStats())
    term.commits = cast(Any, SimpleNamespace(standings=SimpleNamespace(is_catching_up=is_catching_up)))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await term._give_way(since_sent_s)
    return loop.time() - began_s


@pytest.mark.parametrize("since_sent_s", [0.02, 10.0])
async def test_a_batch_is_held_back_while_a_node_catches_up(since_sent_s: float) -> None:
    least_s = min(GIVE_WAY_SHARE * since_sent_s, GIVE_WAY_MOST_S)
    assert await given_way_s(True, since_sent_s) >= 0.9 * least_s  # timers go by milliseconds


async def test_no_batch_is_held_back_when_none_does() -> None:
    nothing = cast(Any, None)
    term = Term(Context(load()), nothing, nothing, nothing, SequencerStats())
    term.commits = cast(Any, SimpleNamespace(standings=SimpleNamespace(is_catching_up=False)))
    with pytest.raises(StopIteration):
        term._give_way(10.0).send(None)
