"""The socket of a source with acknowledgements: it never blocks, and it comes back."""

import selectors
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from simulator.acknowledged import AckedSource, problems
from simulator.ledger import Ledger
from simulator.pieces import Piece
from tests.support.deployment import wait_until

LARGE = b"x" * (1 << 20) + b"\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def source(listener: socket.socket) -> Iterator[AckedSource]:
    with selectors.DefaultSelector() as answers:
        found = AckedSource(listener.getsockname(), 5.0, Ledger(), answers)
        yield found
        found.close()


def stepping(source: AckedSource, condition: Callable[[], object]) -> Callable[[], object]:
    def step() -> object:
        source.send_due(time.monotonic())
        return condition()

    return step


def accepted(source: AckedSource, listener: socket.socket, ok: bytes = b"OK 9f31c2@1\n") -> socket.socket:
    """The listener's side of the source's next connection, once it is open."""
    wait_until(stepping(source, lambda: not source.link.is_down), "it dials")
    connection, _ = listener.accept()
    connection.settimeout(10)
    connection.sendall(ok)
    wait_until(stepping(source, lambda: source.ledger.is_open), "it has read OK")
    assert connection.recv(len(source.ledger.hello)) == b"HELLO acks=1\n"
    return connection


def test_a_connection_that_takes_nothing_does_not_block(source: AckedSource, listener: socket.socket) -> None:
    with accepted(source, listener) as connection:
        source.start([Piece(number, number + 1, LARGE) for number in range(1, 17)])
        for _ in range(200):
            source.send_due(time.monotonic())
        assert source.link.unsent
        assert not source.is_done
        received = 0
        while received < 16 * len(LARGE):
            received += len(connection.recv(1 << 20))
            source.send_due(time.monotonic())
        connection.sendall(b"ACK 16\nNEXT 17\n")
        wait_until(stepping(source, lambda: source.is_done), "all is acknowledged")
    assert problems("it", source) == []


def test_a_paced_source_sends_what_is_due(source: AckedSource, listener: socket.socket) -> None:
    with accepted(source, listener) as connection:
        source.start([Piece(1, 2, b"1|B\n"), Piece(2, 3, b"2|B\n")], interval_s=100.0)
        began_s = source.started_s
        source.send_due(began_s)
        assert connection.recv(100) == b"1|B\n"
        connection.sendall(b"ACK 1\n")
        wait_until(stepping(source, lambda: not source.ledger.pieces.unacknowledged), "the ACK is read")
        assert (source.is_done, source.due_s) == (False, began_s + 100)
        source.send_due(began_s + 99)
        source.send_due(began_s + 100)
        assert connection.recv(100) == b"2|B\n"


def test_a_connection_that_ends_or_is_silent_is_made_again(source: AckedSource, listener: socket.socket) -> None:
    with accepted(source, listener) as connection:
        source.start([Piece(1, 3, b"2|B\n1|B\n")])
        source.send_due(time.monotonic())
        assert connection.recv(100) == b"2|B\n1|B\n"
    with accepted(source, listener) as connection:
        assert connection.recv(100) == b"2|B\n1|B\n"
        source.link.silence_s = 0.05
        wait_until(stepping(source, lambda: source.link.is_down), "it gives the connection up")
        source.link.silence_s = 60.0
        with accepted(source, listener) as third:
            assert third.recv(100) == b"2|B\n1|B\n"
            assert problems("it", source) == ["it: 2 of 2 lines are not acknowledged"]
            third.sendall(b"ACK 2\n")
            wait_until(stepping(source, lambda: source.is_done), "all is acknowledged")
    assert source.link.connections == 3
    assert problems("it", source) == []


def test_a_port_that_is_closed_is_an_error_in_the_end(source: AckedSource, listener: socket.socket) -> None:
    listener.close()
    source.start([Piece(1, 2, b"1|B\n")])
    now_s = time.monotonic()
    source.send_due(now_s)
    assert source.error is None
    source.send_due(now_s + 5.1)
    assert isinstance(source.error, TimeoutError)
    with pytest.raises(ConnectionResetError, match="HELLO was not answered"):
        source.open()


def test_what_is_not_explained_is_a_problem(source: AckedSource) -> None:
    source.ledger.receive(b"OK 9f31c2@1\nSKIPPED 5-5\nSKIPPED 7-9\nRESET 9f31c2@1\n", 0.0)
    assert problems("it", source, left_out=5) == [
        "it: RESET 9f31c2@1: Redis came back with older data", "it: numbers were given up: 7-9",
    ]  # fmt: skip


def test_a_number_that_was_acknowledged_and_is_missing_is_a_problem(source: AckedSource) -> None:
    source.ledger.receive(b"OK 9f31c2@1\n", 0.0)
    source.ledger.pieces.add(Piece(1, 2, b"1|B\n"))
    source.ledger.take()
    source.ledger.receive(b"ACK 1\nGAP 1\n", 0.0)
    assert problems("it", source) == ["it: number 1 was acknowledged, and is missing"]
    assert problems("it", source, left_out=1) == []


def test_a_deployment_that_takes_no_such_lines_is_named(source: AckedSource) -> None:
    assert source.refusal == ""
    source.ledger.receive(b"OK 9f31c2@1\nNAK 1 malformed\n", 0.0)
    assert source.refusal == ""
    source.ledger.receive(b"NAK 2 numbered\n", 0.0)
    assert "--producers" in source.refusal
