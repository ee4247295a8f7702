"""The instruments themselves: the check finds what it should, the proxy does what it says."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.proxy import BlackHole, Connection, Cut, Impairment, Proxy, Swallow
from tests.system.chaos.crowd import Checked

pytestmark = pytest.mark.slow

WHOLE = b"1|B\n2|P|1|5\n3|B\n"


def received(data: bytes, size: int, from_the_start: bool = False) -> Checked:
    """A connection that got these bytes, in reads of `size`, and was then closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Checked(server.getsockname()[1], 5, WHOLE)
        peer.from_the_start = from_the_start
        node, _ = server.accept()
        with node:
            node.recv(100)
            for start in range(0, len(data), size):
                node.sendall(data[start : start + size])
                peer.read()
        peer.read()
        assert peer.closed
        peer.close()
    return peer


@pytest.mark.parametrize("size", [1, 5, 100])
def test_an_unbroken_run_is_accepted(size: int) -> None:
    for beginning in (b"1|B\n", b"2|P|1|5\n", b"3|B\n"):
        run = WHOLE[WHOLE.index(beginning) :]
        for end in range(len(beginning), len(run) + 1):
            assert received(run[:end], size).problem == ""
    assert received(WHOLE, size, from_the_start=True).last_number == 3
    assert received(b"", size).problem == ""


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize(
    "data",
    [
        b"1|B\n3|B\n", b"1|B\n1|B\n", b"2|P|1|5\n2|P|1|5\n", b"1|B\n3|", b"7|B\n", b"|B\n", b"B\n2|P|1|5\n", b"2|P|9",
        b"1|B\r\n", WHOLE + b"4|B\n", WHOLE + b"\n", b"ERROR no user id\n",
    ],
)  # fmt: skip
def test_anything_else_is_a_difference(data: bytes, size: int) -> None:
    assert received(data, size).problem


def test_a_late_beginning_is_a_difference_for_who_was_there_from_the_start() -> None:
    assert received(b"2|P|1|5\n3|B\n", 100).problem == ""
    assert received(b"2|P|1|5\n3|B\n", 100, from_the_start=True).problem


def message(channel: bytes, payload: bytes) -> bytes:
    parts = (b"message", channel, payload)
    return b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def test_exactly_one_message_is_swallowed_however_it_is_cut() -> None:
    before, frame, after = message(b"u", b"1|B\n"), message(b"b", b"batch=7 \n1|B\n"), message(b"b", b"batch=8 \n")
    stream = before + frame + after
    for cut in range(1, len(stream)):
        swallow, passed = Swallow(b"batch="), b""
        with linked() as (connection, _):
            for data in (stream[:cut], stream[cut:], b":1\r\n"):
                data, connection.carried = connection.carried + data, b""
                passed += swallow.from_redis(connection, data)
        # A message whose very first bytes were cut is not recognised: then the next one vanishes.
        assert passed in (before + after + b":1\r\n", before + frame + b":1\r\n")
        assert swallow.struck == 1


@contextmanager
def linked() -> Iterator[tuple[Connection, socket.socket]]:
    near, service = socket.socketpair()
    far, server = socket.socketpair()
    with near, service, far, server:
        yield Connection(near, far), service


@contextmanager
def echoing() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, a service's end of a connection through it, and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with Proxy(f"redis://127.0.0.1:{server.getsockname()[1]}/0") as proxy:
            with socket.create_connection(("127.0.0.1", int(proxy.url.split(":")[2].split("/")[0])), 5) as service:
                far, _ = server.accept()
                far.settimeout(5)
                with far:
                    yield proxy, service, far


def answered(service: socket.socket, far: socket.socket, command: bytes = b"ask") -> bytes:
    service.sendall(command)
    assert far.recv(100) == command
    far.sendall(b"answer")
    return service.recv(100)


def test_a_connection_that_lost_bytes_never_carries_any_again() -> None:
    with echoing() as (proxy, service, far):
        assert answered(service, far) == b"answer"
        hole = BlackHole("", ("from_redis",))
        proxy.impair(hole)
        service.settimeout(0.2)
        with pytest.raises(TimeoutError):
            answered(service, far)
        assert hole.struck == 1
        proxy.heal(hole)
        service.settimeout(5)
        assert service.recv(100) == b""


@pytest.mark.parametrize(("where", "arrived", "returned"), [
    ("before", b"", b""), ("after", b"second", b""), ("inside", b"second", b"ans"),
])  # fmt: skip
def test_a_cut_comes_where_it_should(where: str, arrived: bytes, returned: bytes) -> None:
    with echoing() as (proxy, service, far):
        cut: Impairment = Cut(where, wanted=b"second")
        proxy.impair(cut)
        assert answered(service, far, b"first") == b"answer"
        service.sendall(b"second")
        assert far.recv(100) == arrived
        if arrived:
            far.sendall(b"answer")
        got = b""
        while data := service.recv(100):
            got += data
        assert got == returned
        assert cut.struck == 1
