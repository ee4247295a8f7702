"""Heartbeats: a node enters owing nothing, reports, and learns that it was expelled."""

from contract.settings import Settings
from fanout.membership import BEAT
from tests.integration.conftest import Calls


async def test_heartbeats(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("SCRIPT", "LOAD", BEAT.text)
    await calls.call("HSET", keys.state, "batch", 41, "epoch", "e1")

    async def beat(batch: int | str) -> int:
        committed, epoch = await calls.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, "n1", batch, 7)
        assert epoch == b"e1"
        return int(committed)

    assert await beat(40) == -1
    assert await beat("new") == 41
    batch, time_ms, connections = (await calls.call("HGET", keys.nodes, "n1")).split()
    assert (batch, connections) == (b"41", b"7")
    now_s = int((await calls.call("TIME"))[0])
    assert abs(int(time_ms) / 1000 - now_s) < 60
    await calls.call("HSET", keys.state, "batch", 45)
    assert await beat(42) == 45
    assert (await calls.call("HGET", keys.nodes, "n1")).startswith(b"42 ")
    await calls.call("HDEL", keys.nodes, "n1")
    assert await beat(43) == -1
    assert await calls.call("HEXISTS", keys.nodes, "n1") == 0
