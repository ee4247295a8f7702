"""The status of Close, when a client that does not answer is gone, and a way out that is full."""

import asyncio
from typing import cast

import pytest
from aiohttp import web

from listener import outgoing
from listener.outgoing import UNSENT_BYTES, Outgoing, Pings, close_code


@pytest.mark.parametrize(
    ("told", "has_ended", "code"),
    [
        (b"", False, 1001),
        (b"", True, 1000),
        (b"ACK 3\n", True, 1000),
        (b"ACK 3\nBYE stopping\n", False, 1001),
        (b"BYE fenced\n", False, 1001),
        (b"RESET 9f31c2@1 received=3\n", False, 1001),
        (b"ERROR HELLO needs acks=1\n", False, 1008),
        (b"ERROR Redis is away\n", True, 1008),
        (b"NAK 1 malformed\nERROR no\n", False, 1008),
        (b"ERROR no\nACK 1\n", False, 1001),
    ],
)
def test_the_status_of_close_follows_from_the_last_line(told: bytes, has_ended: bool, code: int) -> None:
    assert close_code(told, has_ended) == code


class Client:
    """Answers the first pings, and is there after the last one or not."""

    def __init__(self, answers: int) -> None:
        self.asked = 0
        self.gone = asyncio.Event()
        self._answers = answers
        self.pings = Pings(self._ask, self.gone.set)

    def _ask(self) -> None:
        self.asked += 1
        if self.asked <= self._answers:
            self.pings.heard()


@pytest.mark.parametrize("answers", [0, 3])
async def test_who_has_not_answered_by_the_next_ping_is_gone(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "PING_S", 0.001)
    client = Client(answers)
    client.pings.go_on()
    async with asyncio.timeout(30):
        await client.gone.wait()
    assert client.asked == answers + 1


async def test_nobody_is_asked_any_more_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "PING_S", 0.0)
    client = Client(0)
    client.pings.stop()
    client.pings.go_on()
    client.pings.stop()
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.0, passed.set)
    await passed.wait()
    assert (client.asked, client.gone.is_set()) == (0, False)


class Socket:
    """Takes what it is sent when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.sent: list[str] = []

    async def send_str(self, text: str) -> None:
        await self.may.wait()
        self.sent.append(text)

    async def ping(self) -> None:
        self.sent.append("ping")

    async def close(self, *, code: int) -> None:
        self.sent.append(f"close {code}")


async def test_a_source_is_told_when_much_is_unsent_and_when_it_is_gone() -> None:
    socket, choked = Socket(), list[bool]()
    way = Outgoing(cast(web.WebSocketResponse, socket), choked.append)
    line = b"x" * 1023 + b"\n"
    for _ in range(UNSENT_BYTES // len(line)):
        way.put(line)
    assert choked == []
    way.put(b"NEXT 1\n")
    way.put(b"NEXT 2\n")
    assert choked == [True]
    sending = asyncio.create_task(way.send())
    await asyncio.sleep(0)
    assert (way.is_sending, choked) == (True, [True])
    way.put(b"NEXT 3\n")
    socket.may.set()
    await sending
    assert (way.is_sending, choked) == (False, [True, False])
    assert socket.sent[0].endswith("\nNEXT 1\nNEXT 2\n")
    assert socket.sent[1:] == ["NEXT 3\n"]


async def test_a_ping_goes_before_what_waits_and_close_comes_last() -> None:
    socket = Socket()
    socket.may.set()
    way = Outgoing(cast(web.WebSocketResponse, socket), lambda _: None)
    way.put(b"ACK 1\n")
    way.ping()
    await way.news()
    await way.send()
    way.put(b"ERROR no\n")
    await way.end(has_ended=False)
    assert socket.sent == ["ping", "ACK 1\n", "ERROR no\n", "close 1008"]


async def test_what_a_source_says_when_there_is_room_again_is_sent_before_close() -> None:
    socket = Socket()
    socket.may.set()
    way: Outgoing = Outgoing(cast(web.WebSocketResponse, socket), lambda full: None if full else way.put(b"ACK 9\n"))
    way.put(b"x" * UNSENT_BYTES + b"\n")
    await way.send()
    await way.end(has_ended=True)
    assert socket.sent[1:] == ["ACK 9\n", "close 1000"]
