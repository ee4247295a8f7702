"""A full intake: no source is read until half of it is appended, and what was read is kept."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from listener.intake import Intake
from listener.server import Source, Sources
from runtime.context import Context
from runtime.settings import load

LIMIT_BYTES = 4096
LINES = b"1|B\n" * 256
"""A quarter of the limit."""


class Transport:
    """One connection; `read` says whether the listener reads from it."""

    def __init__(self) -> None:
        self.read = True
        self.closed = False

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, _: str) -> Any:
        return "127.0.0.1", 1


class Listener:
    """Sources with an intake behind them, and nothing that appends."""

    def __init__(self) -> None:
        self.sources = Sources(Context(load(log_level="error")))
        self.intake = Intake(LIMIT_BYTES, self.sources.rest)
        self.records: list[tuple[str, bytes]] = []

    def accept(self, lines: bytes) -> None:
        self.intake.put(lines)

    def record(self, reason: str, sample: bytes) -> None:
        self.records.append((reason, sample))

    def connect(self) -> tuple[Source, Transport]:
        source, transport = Source(self.sources, self), Transport()
        source.connection_made(cast(asyncio.Transport, transport))
        return source, transport


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()


async def test_no_source_is_read_while_the_intake_is_full(listener: Listener) -> None:
    (one, first), (_, second) = listener.connect(), listener.connect()
    for _ in range(3):
        one.data_received(LINES)
    assert (first.read, second.read) == (True, True)
    one.data_received(LINES)
    assert (first.read, second.read) == (False, False)
    assert listener.intake.held_bytes == LIMIT_BYTES

    listener.intake.take(LIMIT_BYTES // 4)
    assert (first.read, second.read) == (False, False), "there is room, but less than half"
    listener.intake.take(LIMIT_BYTES // 4)
    assert (first.read, second.read) == (True, True)


async def test_a_source_that_connects_while_the_intake_is_full_is_not_read_either(listener: Listener) -> None:
    one, _ = listener.connect()
    one.data_received(LINES * 4)
    _, late = listener.connect()
    await asyncio.sleep(0)
    assert not late.read
    listener.intake.take(LIMIT_BYTES)
    assert late.read


async def test_a_source_that_has_ended_is_left_alone_and_its_lines_are_kept(listener: Listener) -> None:
    one, ended = listener.connect()
    one.data_received(LINES + b"2|")
    one.connection_lost(None)
    assert ended.closed
    assert listener.records == [("no line end before the source closed", b"2|")]
    other, _ = listener.connect()
    other.data_received(LINES * 3)
    assert ended.read, "it is not paused, since it is gone"
    assert listener.intake.take(LIMIT_BYTES) == LINES * 4
