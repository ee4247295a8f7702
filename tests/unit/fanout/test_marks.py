"""Position marks: only to those who opted in, are quiet, and have taken everything; never beyond what was written."""

import pytest

from fanout import marks
from fanout.clients.tcp import Client
from fanout.marks import Marks
from tests.support.returning import Miniature, received, transport_of
from tests.unit.fanout.test_resume import staged


async def live(node: Miniature, line: bytes) -> Client:
    """A client that has been told where it is."""
    client = node.come(line)
    await node.commit([])
    node.hear()
    await node.settled()
    return client


async def test_a_quiet_connection_gets_a_mark_at_every_second_look_or_later() -> None:
    _, node = await staged()
    client, bare = await live(node, b"1 after=now\n"), node.come(b"1\n")
    looks = Marks(node.clients, lambda: node.writer.next)
    before = received(client)
    await looks.look()
    assert received(client) == before, "it has been told where it is a moment ago"
    await looks.look()
    assert received(client) == before + b"AT 40\n"
    await looks.look()
    assert received(client) == before + b"AT 40\nAT 40\n", "so that it knows that the node is there"
    assert received(bare) == b""
    await node.disconnect()


async def test_a_line_takes_the_place_of_a_mark() -> None:
    _, node = await staged()
    client, other = await live(node, b"1 after=now\n"), await live(node, b"2 after=now\n")
    looks = Marks(node.clients, lambda: node.writer.next)
    await looks.look()
    for _ in range(3):
        await node.commit([b"1"])
        node.hear()
        await looks.look()
    assert b"AT" not in received(client)
    assert received(other).endswith(b"AT 41\nAT 42\nAT 43\n")
    await node.disconnect()


async def test_a_mark_never_goes_beyond_what_was_written() -> None:
    _, node = await staged()
    client = await live(node, b"1 after=now\n")
    looks = Marks(node.clients, lambda: node.writer.next)
    await node.commit([b"1", b"2"])
    for _ in range(2):
        await looks.look()
    assert received(client).endswith(b"AT 40\n")
    node.hear()
    assert received(client).endswith(b"AT 40\n41|P|9|1\n")
    await node.disconnect()


async def test_none_to_who_is_not_live_is_behind_or_has_gone() -> None:
    _, node = await staged()
    behind, gone = await live(node, b"1 after=now\n"), await live(node, b"2 after=now\n")
    newcomer = node.come_back(b"3", 0)
    looks = Marks(node.clients, lambda: node.writer.next)
    await looks.look()
    transport_of(behind).takes = False
    for _ in range(2_000):
        await node.commit([b"1"])
    node.hear()
    assert behind.is_behind
    gone.close()
    for _ in range(3):
        await looks.look()
    transport_of(behind).take()
    assert b"AT" not in received(behind)
    assert b"AT" not in received(gone)
    assert received(newcomer) == b""
    await node.disconnect()


async def test_none_before_anything_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    _, node = await staged()
    client = await live(node, b"1 after=now\n")
    before = received(client)
    for _ in range(3):
        await Marks(node.clients, lambda: 0).look()
    assert received(client) == before
    monkeypatch.setattr(marks, "A_TURN", 1)
    for _ in range(2):
        await Marks(node.clients, lambda: node.writer.next).look()
    assert received(client) == before + b"AT 40\n"
    await node.disconnect()
