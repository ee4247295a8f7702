"""A session on real servers."""

import asyncio
from typing import cast

import pytest

from contract.control import Position
from contract.frames import FRAME, Frame, Lineage
from contract.reports import parse_heartbeat
from fanout.clients.newcomer import Newcomer
from fanout.clients.served import ServedClient
from fanout.clients.server import ClientServer
from fanout.session import NodeSession
from fanout.stats import FanoutStats
from fanout.upstream.feed import FrameLostError
from fanout.upstream.heartbeat import IDLE_BEAT_S, StateWentBackError
from runtime.context import Context
from runtime.redis.link import RedisLink, connect
from runtime.settings import load


async def _links(url: str) -> tuple[RedisLink, RedisLink]:
    return await connect(url, 5.0, "test-subscribe"), await connect(url, 5.0, "test-command")


async def test_a_node_that_waits_for_its_clients_while_it_catches_up_is_not_silent(
    server_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off by Redis, it has up to the whole journal to read, and reads on only as fast as its clients do."""
    settings = load(redis_url=server_url, namespace=namespace, window_bytes=1024)
    context, stats = Context(settings), FanoutStats()
    session = NodeSession(context, ClientServer(context, stats), stats)
    admin, _ = links = await _links(server_url)
    keys, lineage = settings.keys, Lineage(b"e1", b"e0@0")
    await admin.call("HSET", keys.state, "batch", 0, "epoch", "e1")
    first = await _links(server_url)
    await session.connect(*first)
    for number in range(1, 9):
        frame = Frame(number, b"1-0", 0, 1, lineage, number, lines=b"1|B\n" * 200)
        await admin.call("XADD", keys.deliveries, f"{number}-1", FRAME, frame.encode())
    await admin.call("HSET", keys.state, "batch", 8)
    monkeypatch.setattr(session._writer, "_must_wait", lambda: True)
    second = await _links(server_url)
    connecting = asyncio.create_task(session.connect(*second))
    await asyncio.sleep(0.2)
    assert not connecting.done()
    before = parse_heartbeat(await admin.call("HGET", keys.nodes, session.node)).time_ms
    await asyncio.sleep(2 * IDLE_BEAT_S)
    after = parse_heartbeat(await admin.call("HGET", keys.nodes, session.node)).time_ms
    connecting.cancel()
    for link in (*links, *first, *second):
        link.close()
    assert after > before, "it lives, and says so"


async def test_a_node_does_not_go_on_in_another_deployment(server_url: str, namespace: str) -> None:
    """Although that one is further on, so that its batch numbers say nothing."""
    settings = load(redis_url=server_url, namespace=namespace)
    context, stats = Context(settings), FanoutStats()
    session = NodeSession(context, ClientServer(context, stats), stats)
    admin, _ = links = await _links(server_url)
    keys = settings.keys
    await admin.call("HSET", keys.state, "batch", 5, "epoch", "e1", "history", "first")
    first, second = await _links(server_url), await _links(server_url)
    generation = await session.connect(*first)
    await admin.call("HSET", keys.state, "batch", 9, "epoch", "e2", "history", "second")
    with pytest.raises(FrameLostError, match="history"):
        await asyncio.wait_for(generation.heartbeat.run(), 10)
    with pytest.raises(StateWentBackError):
        await asyncio.wait_for(session.connect(*second), 10)
    for link in (*links, *first, *second):
        link.close()


class Told:
    """A live client that opted in, and what it is told."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize(("end", "goes_on"), [(7, True), (6, False)])
async def test_a_node_goes_on_in_a_renewed_history_if_that_has_all_it_has_written(
    server_url: str, namespace: str, end: int, goes_on: bool
) -> None:
    settings = load(redis_url=server_url, namespace=namespace)
    context, stats = Context(settings), FanoutStats()
    clients, told = ClientServer(context, stats), Told()
    session = NodeSession(context, clients, stats)
    admin, _ = links = await _links(server_url)
    keys = settings.keys
    await admin.call("HSET", keys.state, "batch", 5, "epoch", "e1", "next", 8, "history", "first")
    first, second = await _links(server_url), await _links(server_url)
    await session.connect(*first)
    live = cast(ServedClient, told)
    newcomer = Newcomer(b"1", cast(ServedClient, Told()), Position(b"first", 3), may_resume=True, resumed=True)
    clients.opted_in[live] = None
    clients.users.add_newcomer(newcomer)
    newcomer.number = 4
    await admin.call("HSET", keys.state, "history", "second")
    await admin.call("SET", keys.histories, f"second first@{end}")
    if goes_on:
        await asyncio.wait_for(session.connect(*second), 10)
        assert told.written == b"RESUMED second@7\n"
        assert (newcomer.after, newcomer.may_resume, newcomer.resumed) == (Position(b"first", 4), False, False)
    else:
        with pytest.raises(StateWentBackError):
            await asyncio.wait_for(session.connect(*second), 10)
        assert told.written == b""
    for link in (*links, *first, *second):
        link.close()
