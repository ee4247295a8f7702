"""Heartbeats: a node enters owing nothing, reports, learns that it was expelled; only its last generation counts."""

import pytest

from fanout.upstream.heartbeat import BEAT
from fanout.upstream.presence import ANNOUNCE
from runtime.redis.link import RedisRefusedError
from runtime.settings import Settings
from tests.integration.conftest import Calls


async def test_heartbeats(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("SCRIPT", "LOAD", BEAT.text)
    await calls.call("HSET", keys.state, "batch", 41, "epoch", "e1", "history", "9f31c2")

    async def beat(batch: int | str) -> int:
        committed, epoch, _, history, _ = await calls.call(
            "EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", batch, 7, 1
        )
        assert (epoch, history) == (b"e1", b"9f31c2")
        return int(committed)

    assert await beat(40) == -1
    assert await beat("new") == 41
    batch, time_ms, connections, generation, has_channel = (await calls.call("HGET", keys.nodes, "n1")).split()
    assert (batch, connections, generation, has_channel) == (b"41", b"7", b"1", b"1")
    now_s = int((await calls.call("TIME"))[0])
    assert abs(int(time_ms) / 1000 - now_s) < 60
    await calls.call("HSET", keys.state, "batch", 45)
    assert await beat(42) == 45
    assert (await calls.call("HGET", keys.nodes, "n1")).startswith(b"42 ")
    await calls.call("HDEL", keys.nodes, "n1")
    assert await beat(43) == -1
    assert await calls.call("HEXISTS", keys.nodes, "n1") == 0


async def test_what_comes_late_from_an_older_generation_is_refused(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    for script in (BEAT, ANNOUNCE):
        await calls.call("SCRIPT", "LOAD", script.text)
    for generation in (9, 10):
        batch = "new" if generation == 9 else 0
        await calls.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", batch, 3, generation)
        await calls.call(
            "EVALSHA", ANNOUNCE.sha, 2, keys.events, keys.nodes, generation, "node", "n1", "join", f"1 {generation}"
        )
    for batch in (7, "new"):
        with pytest.raises(RedisRefusedError, match="GENERATION 9 of n1 is over"):
            await calls.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", batch, 3, 9)
    with pytest.raises(RedisRefusedError, match="GENERATION 9 of n1 is over"):
        await calls.call("EVALSHA", ANNOUNCE.sha, 2, keys.events, keys.nodes, 9, "node", "n1", "leave", "1")
    assert (await calls.call("HGET", keys.nodes, "n1")).split()[::3] == [b"0", b"10"]
    entries = await calls.call("XRANGE", keys.events, "-", "+")
    assert [fields for _, fields in entries] == [
        [b"node", b"n1", b"join", b"1 9"], [b"node", b"n1", b"join", b"1 10"],
    ]  # fmt: skip


async def test_scripts_understand_a_heartbeat_with_more_fields(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    for script in (BEAT, ANNOUNCE):
        await calls.call("SCRIPT", "LOAD", script.text)
    await calls.call("HSET", keys.state, "batch", 41)
    await calls.call("HSET", keys.nodes, "n1", "40 1700000000000 3 7 zone=west 9")

    async def beat(generation: int) -> int:
        arguments = (keys.nodes, keys.state, "n1", 41, 3, generation)
        return int((await calls.call("EVALSHA", BEAT.sha, 2, *arguments))[0])

    with pytest.raises(RedisRefusedError, match="GENERATION 6 of n1 is over"):
        await beat(6)
    with pytest.raises(RedisRefusedError, match="GENERATION 9 of n1 is over"):
        await calls.call("EVALSHA", ANNOUNCE.sha, 2, keys.events, keys.nodes, 9, "node", "n1", "join", "1")
    assert await calls.call("EVALSHA", ANNOUNCE.sha, 2, keys.events, keys.nodes, 7, "node", "n1", "join", "1")
    assert await beat(7) == 41


async def test_a_node_whose_heartbeat_lacks_its_generation_begins_anew(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("SCRIPT", "LOAD", BEAT.text)
    await calls.call("HSET", keys.nodes, "n1", "40 1700000000000 3")
    assert (await calls.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", 41, 3, 7))[0] == -1


@pytest.mark.parametrize("junk", [None, "a b", "a|b", "\n"])
async def test_a_history_that_is_none(junk: str | None, calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("SCRIPT", "LOAD", BEAT.text)
    if junk is not None:
        await calls.call("HSET", keys.state, "history", junk)
    assert (await calls.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", "new", 0, 1))[3] == b""
