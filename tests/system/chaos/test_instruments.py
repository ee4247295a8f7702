"""Tests of the instruments: the check finds every difference, and the proxy's impairments work as described."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.support.proxy import BlackHole, Connection, Cut, DropMessage, Impairment, Proxy
from tests.system.chaos.crowd import Checked
from tests.system.chaos.returning import Follower, Returners

pytestmark = pytest.mark.slow

WHOLE = b"1|B\n2|P|1|5\n3|B\n"


def received(data: bytes, size: int, from_the_start: bool = False) -> Checked:
    """A connection that received these bytes, `size` bytes per read, and was then closed."""
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


def test_a_late_start_is_a_difference_for_a_client_served_from_the_start() -> None:
    assert received(b"2|P|1|5\n3|B\n", 100).problem == ""
    assert received(b"2|P|1|5\n3|B\n", 100, from_the_start=True).problem


def message(channel: bytes, payload: bytes) -> bytes:
    parts = (b"message", channel, payload)
    return b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def test_exactly_one_message_is_dropped_wherever_the_stream_is_split() -> None:
    before, frame, after = message(b"u", b"1|B\n"), message(b"b", b"batch=7 \n1|B\n"), message(b"b", b"batch=8 \n")
    stream = before + frame + after
    for cut in range(1, len(stream)):
        drop, passed = DropMessage(b"batch="), b""
        with linked() as (connection, _):
            for data in (stream[:cut], stream[cut:], b":1\r\n"):
                data, connection.incomplete = connection.incomplete + data, b""
                passed += drop.from_redis(connection, data)
        # A message is not recognised if its first bytes are split; then the next one is dropped.
        assert passed in (before + after + b":1\r\n", before + frame + b":1\r\n")
        assert drop.struck == 1


@contextmanager
def linked() -> Iterator[tuple[Connection, socket.socket]]:
    near, service = socket.socketpair()
    far, server = socket.socketpair()
    with near, service, far, server:
        yield Connection(near, far), service


@contextmanager
def echoing() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and both ends of a connection through it: the service's and the server's."""
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
def test_a_cut_strikes_at_its_place(where: str, arrived: bytes, returned: bytes) -> None:
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


# Users who come back

OWED = b"1|B\n2|P|1|5\n4|B\n7|B\n"


def followed(*connections: bytes, size: int = 100) -> Follower:
    """A user that heard this, connection by connection, `size` bytes at a time."""
    follower = Follower(5, OWED)
    for heard in connections:
        follower.cursor.begin()
        for start in range(0, len(heard), size):
            follower.hear(heard[start : start + size])
    return follower


def found(follower: Follower) -> list[str]:
    return [problem for problem in [follower.problem, *follower.cursor.problems] if problem]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_all_lines_over_any_connections_are_accepted(size: int) -> None:
    for cut in range(len(OWED) + 1):
        whole = OWED[: OWED.rfind(b"\n", 0, cut) + 1]
        number = int(whole.split(b"\n")[-2].split(b"|")[0]) if whole else 0
        follower = followed(
            b"OK h@0\n" + OWED[:cut], b"RES", b"RESUMED h@%d\n" % number + OWED[len(whole) :] + b"AT 9\n", size=size
        )
        assert found(follower) == []
        assert follower.last_number == 7
        assert follower.position == len(OWED)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "connections",
    [
        (b"OK h@0\n1|B\n4|B\n",), (b"OK h@0\n1|B\n1|B\n",), (b"OK h@0\n2|P|1|5\n",), (b"OK h@0\n1|B\nAT 2\n",),
        (b"OK h@2\n4|B\n",), (b"OK h@0\n1|B\n", b"RESUMED h@1\n4|B\n"), (b"OK h@0\n1|B\n", b"RESUMED h@1\n1|B\n"),
        (b"OK h@0\n1|B\n2|P", b"RESUMED h@1\n|1|5\n"), (b"OK h@0\n1|B\n", b"RESUMED h@2\n4|B\n"),
        (b"OK h@0\n1|B\n", b"1|B\n"), (b"OK h@0\n1|B\n", b"OK h@4\n7|B\n"), (b"OK h@0\n1|B\r\n",),
        (b"OK h@0\n1|B\n2|P|1|5\n4|B\n", b"RESET k@1 history\n2|P|1|5\n"),
        (b"OK h@0\n1|B\n", b"RESET k@2 history\n7|B\n"), (b"OK h@0\n" + OWED + b"8|B\n",),
    ],
)  # fmt: skip
def test_anything_else_over_connections_is_a_difference(connections: tuple[bytes, ...], size: int) -> None:
    assert found(followed(*connections, size=size))


def test_a_reset_goes_on_behind_its_position_and_is_counted() -> None:
    follower = followed(b"OK h@0\n1|B\n", b"RESET k@3 history\n4|B\n7|B\n")
    assert found(follower) == []
    assert follower.cursor.resets == {"history": 1}


@pytest.mark.parametrize(
    ("reason", "may_reset", "unexplained"),
    [("history", True, []), ("history", False, ["1 RESET history"]), ("trimmed", True, ["1 RESET trimmed"])],
)
def test_a_reset_needs_an_explanation(reason: str, may_reset: bool, unexplained: list[str]) -> None:
    returners = Returners([], {5: OWED}, Random(1))
    (follower,) = returners.followers
    for heard in (b"OK h@0\n1|B\n", f"RESET k@3 {reason}\n".encode()):
        follower.cursor.begin()
        follower.hear(heard)
    assert returners.differences(may_reset) == unexplained
