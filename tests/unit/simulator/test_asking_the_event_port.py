"""The next number is asked for at the event port, as any source asks."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime.errors import ParadeError
from simulator.hello import Welcome, ask

WAIT_S = 30.0
"""What is waited for comes, so nothing takes as long."""


@contextmanager
def port(*answers: bytes, closes: bool = True) -> Iterator[tuple[str, int]]:
    """A port that says this when it is told HELLO, and then closes the connection or leaves it open."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                assert lines.readline() == b"HELLO acks=1\n"
                for answer in answers:
                    connection.sendall(answer)
                if not closes:
                    done.wait(WAIT_S)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            done.set()
            thread.join(WAIT_S)


def test_ok_says_the_next_number_and_the_reach() -> None:
    with port(b"OK 9f31c2@1201 rea", b"ch=5000\n", b"NEXT 1201\n", closes=False) as address:
        assert ask(address, WAIT_S, rest_s=0.01) == Welcome(1201, 5000)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([b"OK a@7 reach=9\n", b"GAP 7\n"], "events wait for number 7; a simulation needs a deployment at rest"),
        ([b"OK a@7 reach=9\n", b"NEXT 8\n"], "others send events now"),
        ([b"ERROR Redis is away\n"], "Redis is away"),
        ([b"OK a@7\n"], "OK says reach=''"),
        ([b"OK seven reach=9\n"], "'seven' is not a position"),
        ([b"220 mail\r\n"], "it sends"),
        ([], "it closed the connection"),
        ([b"OK a@7 reach=9\n"], "it closed the connection"),
    ],
)
def test_anything_else_is_said(answers: list[bytes], said: str) -> None:
    with port(*answers) as address, pytest.raises(ParadeError, match=said):
        ask(address, WAIT_S, rest_s=WAIT_S)


def test_silence_is_said() -> None:
    with port(closes=False) as address, pytest.raises(ParadeError, match=r"does not answer HELLO within 0\.05 s"):
        ask(address, 0.05)


def test_a_port_that_is_not_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    with pytest.raises(ParadeError, match=r"the event port, 127\.0\.0\.1:\d+, does not say the next number"):
        ask(address, WAIT_S)
