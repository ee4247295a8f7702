"""A dialogue takes nothing that it can't answer, is read only while it can, and says its end before it ends."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from contract.control import Position
from listener.acks import LINES_HELD, Acks, Producer
from listener.dialogue import Desk, Dialogue, Greeted
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.listen import peer_log
from runtime.settings import load

POSITION = Position(b"9f31c2", 7)
OK = b"OK 9f31c2@7 reach=1000000\n"


class Transport:
    """One connection's other end; `read` says whether the listener reads from it."""

    def __init__(self) -> None:
        self.read = True
        self.said = b""
        self.ended = self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.said += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.read
        self.read = False

    def resume_reading(self) -> None:
        assert not self.read
        self.read = True


class Listener:
    """Everything around a dialogue: what it takes and refuses, and those who wait for their OK."""

    def __init__(self) -> None:
        context = Context(load(log_level="error"))
        self.stats = ListenerStats()
        self.desk = Desk(context.settings, self, self, peer_log(context.log), self.stats)
        self.taken = b""
        self.refused: list[bytes] = []
        self.dialogues: list[Greeted] = []
        self.problem = ""

    def accept_for(self, acks: Acks, lines: bytes, count: int) -> None:
        acks.take(count)
        self.taken += lines

    def refuse_for(self, acks: Acks, word: bytes, reason: str, sample: bytes) -> None:
        assert reason
        acks.refuse(word)
        self.refused.append(sample)

    def greet(self, dialogue: Greeted) -> None:
        self.dialogues.append(dialogue)

    def leave(self, dialogue: Greeted) -> None:
        if dialogue in self.dialogues:
            self.dialogues.remove(dialogue)

    def connect(self) -> tuple[Dialogue, Transport]:
        transport = Transport()
        return Dialogue(self.desk, cast(asyncio.Transport, transport), "peer"), transport

    def welcomed(self, producer: Producer | None = None) -> tuple[Dialogue, Transport, Acks]:
        dialogue, transport = self.connect()
        dialogue.feed(b"HELLO acks=1\n")
        dialogue.welcome(producer, POSITION, 0)
        assert dialogue.acks is not None
        return dialogue, transport, dialogue.acks


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()


async def test_nothing_is_taken_or_read_before_hello_is_answered(listener: Listener) -> None:
    dialogue, transport = listener.connect()
    dialogue.feed(b"HELLO acks=1\n1|B\nx\n2|")
    assert (listener.taken, listener.refused, transport.read, transport.said) == (b"", [], False, b"")
    dialogue.feed(b"B\n")
    dialogue.welcome(None, POSITION, 0)
    assert (listener.taken, listener.refused, transport.read) == (b"1|B\n2|B\n", [b"x\n"], True)
    assert transport.said == OK + b"NAK 2 malformed\n"


async def test_a_source_that_does_not_listen_is_read_no_more_and_nothing_is_lost(listener: Listener) -> None:
    dialogue, transport, acks = listener.welcomed()
    dialogue.choke(True)
    dialogue.feed(b"x\n" * (3 * LINES_HELD) + b"1|B\n")
    assert (len(listener.refused), transport.read, transport.said) == (LINES_HELD, False, OK)
    dialogue.choke(False)
    assert (len(listener.refused), listener.taken, transport.read) == (3 * LINES_HELD, b"1|B\n", True)
    acks.done(3 * LINES_HELD + 1)
    acks.on_news()
    said = transport.said.removeprefix(OK).splitlines()
    assert said == [b"NAK %d malformed" % at for at in range(1, 3 * LINES_HELD + 1)] + [b"ACK 3001"]
    assert listener.stats.acks == 1


async def test_while_it_is_choked_only_the_newest_is_kept(listener: Listener) -> None:
    dialogue, transport, acks = listener.welcomed()
    dialogue.feed(b"1|B\n" * 100)
    dialogue.choke(True)
    for number in range(1, 101):
        acks.done(1)
        acks.progressed(number, 0)
        acks.on_news()
    assert transport.said == OK
    dialogue.choke(False)
    assert transport.said == OK + b"ACK 100\nNEXT 100\n"


async def test_a_full_intake_and_a_source_that_does_not_listen_are_two_reasons_not_to_read(listener: Listener) -> None:
    dialogue, transport, _ = listener.welcomed()
    dialogue.choke(True)
    dialogue.feed(b"x\n" * LINES_HELD)
    dialogue.rest(True)
    dialogue.choke(False)
    assert not transport.read
    dialogue.choke(True)
    dialogue.feed(b"x\n" * LINES_HELD)
    dialogue.rest(False)
    assert not transport.read
    dialogue.choke(False)
    assert transport.read


async def test_one_that_is_fenced_is_told_so_and_nothing_more(listener: Listener) -> None:
    dialogue, transport, acks = listener.welcomed(Producer("key", 1, 340))
    dialogue.feed(b"x\n1|B\n2|B\n")
    acks.is_fenced = True
    acks.on_news()
    assert transport.said == OK[:-1] + b" received=340\nNAK 1 malformed\nBYE fenced\n"
    assert (transport.ended, transport.closed, listener.dialogues, listener.stats.fenced) == (True, False, [], 1)
    dialogue.feed(b"3|B\n")
    acks.done(3)
    acks.on_news()
    assert (listener.taken, transport.read) == (b"1|B\n2|B\n", True), "what still comes is dropped"


async def test_after_a_reset_a_source_goes_on_and_a_producer_says_hello_again(listener: Listener) -> None:
    dialogue, transport, _ = listener.welcomed()
    dialogue.reset(Position(b"9f31c2", 5), None)
    dialogue.feed(b"5|B\n")
    assert (transport.said, transport.ended, listener.taken) == (OK + b"RESET 9f31c2@5\n", False, b"5|B\n")
    dialogue, transport, _ = listener.welcomed(Producer("key", 1, 340))
    dialogue.reset(Position(b"9f31c2", 5), 300)
    assert transport.said.endswith(b"\nRESET 9f31c2@5 received=300\n")
    assert transport.ended


async def test_one_that_has_ended_its_side_is_closed_when_all_is_acknowledged(listener: Listener) -> None:
    dialogue, transport, acks = listener.welcomed()
    dialogue.feed(b"1|B\nx\n2|B\n")
    dialogue.end_of_input()
    assert not transport.closed
    acks.done(2)
    acks.on_news()
    assert not transport.closed
    acks.done(1)
    acks.on_news()
    assert (transport.said, transport.closed) == (OK + b"NAK 2 malformed\nACK 2\nACK 3\n", True)


async def test_one_that_has_ended_its_side_before_ok_still_gets_everything(listener: Listener) -> None:
    dialogue, transport = listener.connect()
    dialogue.feed(b"HELLO acks=1\n1|B\n")
    dialogue.end_of_input()
    assert not transport.closed
    dialogue.welcome(None, POSITION, 0)
    assert (listener.taken, transport.closed) == (b"1|B\n", False)
    assert dialogue.acks is not None
    dialogue.acks.done(1)
    dialogue.acks.on_news()
    assert (transport.said, transport.closed) == (OK + b"ACK 1\n", True)


async def test_a_listener_that_stops_reads_no_more_and_says_so_in_the_end(listener: Listener) -> None:
    dialogue, transport, acks = listener.welcomed()
    dialogue.feed(b"1|B\n2|")
    dialogue.stop_reading()
    assert not transport.read
    acks.done(1)
    dialogue.part(b"BYE stopping\n", "listener_stopped")
    assert (transport.said, transport.ended) == (OK + b"ACK 1\nBYE stopping\n", True)
    assert dialogue.close() == b"2|"


async def test_the_first_position_says_what_is_missing_already(listener: Listener) -> None:
    dialogue, transport = listener.connect()
    dialogue.feed(b"HELLO acks=1\n")
    dialogue.welcome(None, POSITION, 7)
    assert transport.said == OK + b"GAP 7\n"


async def test_each_of_them_is_let_go_whatever_it_says(listener: Listener) -> None:
    given: list[Any] = [b"HELLO\n", b"HELLO acks=1 producer=\n", b"HELLO " + b"x" * 5000]
    for hello in given:
        dialogue, transport = listener.connect()
        dialogue.feed(hello)
        assert transport.said.startswith(b"ERROR ")
        assert (transport.ended, listener.dialogues) == (True, [])
        assert dialogue.close() == b""
