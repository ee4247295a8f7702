"""A paced source sends each piece when it is due, and never waits for the connection."""

import math
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from simulator.source import Source

ARRIVAL = [(b"2|B\n1|B\n3|B\n", [8, 4]), (b"4|B\n", [4])]
INTERVAL_S = 1.0
FAR_S = 1e12
LARGE = b"x" * (1 << 24)
"""More than a connection accepts when its peer does not read."""


@pytest.fixture
def connected() -> Iterator[tuple[Source, socket.socket]]:
    """A source and the listener's side of its connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(Source(server.getsockname(), 5.0)) as source,
        server.accept()[0] as listener,
    ):
        listener.settimeout(5.0)
        yield source, listener


def received(listener: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := listener.recv(size - len(data))):
        data += more
    return data


def test_only_what_is_due_is_sent(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    source.send_due(FAR_S)  # not started
    source.start_paced(ARRIVAL, INTERVAL_S)
    began_s = source.started_s
    for seconds, sent in ((-0.1, b""), (0.0, b"2|B\n1|B\n"), (0.9, b""), (1.0, b"3|B\n"), (2.5, b"4|B\n"), (9.0, b"")):
        source.send_due(began_s + seconds)
        assert received(listener, len(sent)) == sent
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(1)
        listener.settimeout(5.0)
    assert source.due_s == math.inf


def test_a_late_source_catches_up(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    source.start_paced(ARRIVAL, INTERVAL_S)
    source.send_due(source.started_s + 1.5)
    assert received(listener, 12) == b"2|B\n1|B\n3|B\n"
    assert source.due_s == source.started_s + 2 * INTERVAL_S


def test_a_full_connection_does_not_block(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    source.start_paced([(LARGE, [len(LARGE)]), (b"1|B\n", [4])], INTERVAL_S)
    source.send_due(source.started_s)
    assert source.due_s == source.started_s, "the first piece is not sent completely"
    got = b""
    while source.due_s < math.inf:
        got += listener.recv(1 << 20)
        source.send_due(source.started_s + INTERVAL_S)
    assert got + received(listener, len(LARGE) + 4 - len(got)) == LARGE + b"1|B\n"


def test_what_was_sent_before_the_connection_ended_is_counted(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    source.start_paced(ARRIVAL, INTERVAL_S)
    assert source.sent_events() == 0
    for seconds, events in ((0.0, 2), (1.0, 3), (2.0, 4)):
        source.send_due(source.started_s + seconds)
        assert source.sent_events() == events
    listener.close()


def test_a_source_in_a_hurry_counts_what_it_has_sent(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    line = b"1|B\n"
    source.start([(line * 10, []), (line * (1 << 22), []), (line * 10, [])])
    assert received(listener, 1 << 20) == line * (1 << 18)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    listener.close()
    deadline = time.monotonic() + 10
    while source.error is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert 1 << 18 <= source.sent_events() < (1 << 22) + 10


def test_a_connection_that_ends_is_an_error(connected: tuple[Source, socket.socket]) -> None:
    source, listener = connected
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    listener.close()
    source.start_paced(ARRIVAL, INTERVAL_S)
    source.send_due(FAR_S)
    assert isinstance(source.error, OSError)
    assert source.due_s == math.inf
