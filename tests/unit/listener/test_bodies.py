"""Bodies of requests: together they hold a bounded number of bytes, and no slow one keeps the others out."""

import asyncio

import pytest

from listener import bodies as module
from listener.asked import RefusedError
from listener.bodies import Bodies

PATIENCE_S = 30.0


class Sender:
    """The bytes of one body, as its sender sends them."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, part: bytes) -> None:
        self._parts.put_nowait(part)

    async def readany(self) -> bytes:
        return await self._parts.get()


def sender(*parts: bytes) -> Sender:
    found = Sender()
    for part in parts:
        found.send(part)
    return found


async def until_held(bodies: Bodies, size: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while bodies.held_bytes != size:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_body_is_held_until_it_is_dropped() -> None:
    bodies = Bodies(100)
    body = await bodies.read(sender(b"1|B\n", b"2|B", b""))
    assert (body.lines, bodies.held_bytes) == (b"1|B\n2|B\n", 7)
    bodies.drop(body)
    bodies.drop(body)
    assert (body.lines, bodies.held_bytes) == (b"", 0)


async def test_only_the_last_line_may_lack_its_end() -> None:
    bodies = Bodies(100)
    for sent, lines in [(b"", b""), (b"\n", b"\n"), (b"a\n\n", b"a\n\n"), (b"a\nb", b"a\nb\n")]:
        assert (await bodies.read(sender(*([sent] if sent else []), b""))).lines == lines


async def test_the_oldest_that_still_comes_gives_way() -> None:
    bodies = Bodies(10)
    whole = await bodies.read(sender(b"12345", b""))
    slow = sender(b"123")
    waiting = asyncio.create_task(bodies.read(slow))
    await until_held(bodies, 8)
    quick = await bodies.read(sender(b"12345", b""))
    with pytest.raises(RefusedError) as refused:
        await waiting
    assert refused.value.status == 429
    assert bodies.held_bytes == 10
    with pytest.raises(RefusedError) as refused:
        await bodies.read(sender(b"1"))
    assert refused.value.status == 429, "with only whole ones before it, the new one gives way itself"
    bodies.drop(whole)
    bodies.drop(quick)
    assert bodies.held_bytes == 0


async def test_a_slow_body_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_S", 0.05)
    bodies = Bodies(100)
    with pytest.raises(RefusedError) as refused:
        await asyncio.wait_for(bodies.read(sender(b"1|B")), PATIENCE_S)
    assert refused.value.status == 408
    assert bodies.held_bytes == 0


async def test_a_sender_that_has_gone_holds_nothing() -> None:
    class Gone(Sender):
        async def readany(self) -> bytes:
            if self._parts.empty():
                raise ConnectionResetError
            return await super().readany()

    gone = Gone()
    gone.send(b"123")
    bodies = Bodies(100)
    with pytest.raises(ConnectionResetError):
        await bodies.read(gone)
    assert bodies.held_bytes == 0
