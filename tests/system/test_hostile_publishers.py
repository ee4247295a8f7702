"""Hostile requests on a listener's web port: honest ones are served all the while, and nothing grows without bounds."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from listener.bodies import BODY_BYTES
from runtime.edge.admission import WEB_CONNECTIONS
from tests.support.deployment import PATIENCE_S, Deployment, running, wait_until
from tests.support.peers import Peer, connect, is_closed, peers
from tests.support.publishing import publisher
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

HEAD = b"POST /events HTTP/1.1\r\nHost: localhost\r\n"
HALF_OPEN = 1_000


def request(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """A request, whose head may say another length than the body has."""
    said = b"Content-Length: %d" % (len(body) if length is None else length)
    return HEAD + b"\r\n".join((said, *headers)) + b"\r\n\r\n" + body


class Stage:
    """A deployment with one listener that has a web port, and an honest publisher among hostile ones."""

    def __init__(self, system: Deployment, port: int, health_port: int, user: Peer) -> None:
        self.system, self.port, self.health_port = system, port, health_port
        self._user = user
        self._number = 0

    def honest(self) -> None:
        """An honest request on a new connection is served."""
        self._number += 1
        with publisher(self.port) as one:
            assert one.post(b"%d|B\n" % self._number).status == 200

    def everything_arrived(self) -> None:
        """The user has all honest lines, and nothing else."""
        self._user.wait_for(b"%d|B\n" % self._number)
        assert self._user.received == b"".join(b"%d|B\n" % number for number in range(1, self._number + 1))
        assert not self.system.redis.zcard(self.system.keys.waiting)

    def answer(self, data: bytes) -> bytes:
        """Everything that is answered on a connection that sends this, until the listener ends it."""
        with connect(self.port) as hostile:
            hostile.sendall(data)
            return everything(hostile)

    def requests(self, status: int) -> int:
        """How many were answered with this status, as the metrics say."""
        with urlopen(f"http://127.0.0.1:{self.health_port}/metrics", timeout=PATIENCE_S) as answer:
            metrics = answer.read().decode()
        found = re.search(rf'parade_listener_requests_total{{reason="{status}"}} (\d+)', metrics)
        return int(found[1]) if found else 0


def everything(connection: socket.socket) -> bytes:
    found = b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


@pytest.fixture
def stage(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with running_stage(valkey_url, namespace, tmp_path / "log") as found:
        yield found


@contextmanager
def running_stage(url: str, namespace: str, log: Path) -> Iterator[Stage]:
    with running(url, namespace, log, fanouts=1) as system, peers(system.client_port, [1]) as (user,):
        (listener,) = system.of("listener")
        listener.terminate()
        listener.wait()
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        port, health_port = free_port(), free_port()
        system.start("listener", web_port=port, health_port=health_port)
        wait_until(lambda: system.logged("publishing") == 1, "the web port is open")
        found = Stage(system, port, health_port, user)
        yield found
        found.honest()
        found.everything_arrived()


@pytest.mark.parametrize("half", [HEAD, request(b"1|B", length=100)], ids=["heads", "bodies"])
def test_a_thousand_half_open_requests_keep_nobody_out(half: bytes, stage: Stage) -> None:
    with ExitStack() as stack:
        hostile = []
        for count in range(HALF_OPEN):
            hostile.append(stack.enter_context(connect(stage.port)))
            hostile[-1].sendall(half)
            if count % 50 == 0:
                stage.honest()
        cut_off = HALF_OPEN - WEB_CONNECTIONS
        wait_until(lambda: stage.system.occurred("http_cut_off") >= cut_off, "the oldest had to give way")
        for each in hostile[:cut_off]:
            assert is_closed(each)
        stage.honest()


def test_a_slow_body_has_a_deadline(stage: Stage) -> None:
    with connect(stage.port) as slow:
        slow.sendall(request(b"1|", length=100))
        stage.honest()
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert stage.requests(408) == 1


def test_bodies_that_do_not_end_hold_a_bounded_number_of_bytes(stage: Stage) -> None:
    with ExitStack() as stack:
        hostile = []
        for _ in range(12):
            hostile.append(stack.enter_context(connect(stage.port)))
            hostile[-1].sendall(request(b"x" * (BODY_BYTES - 10), length=BODY_BYTES))
            stage.honest()
        assert everything(hostile[0]).startswith(b"HTTP/1.1 429 "), "the oldest gives way"
        wait_until(lambda: stage.requests(429) >= 8, "and others after it")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 40",
        b"Content-Length: +4",
        b"Content-Length: 4 4",
        b"Content-Length : 4",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked",
        b" Content-Length: 4",
        b"X: 1\nContent-Length: 4",
        b"X: " + b"x" * 100_000,
    ],
)
def test_forms_that_two_readers_would_take_for_different_requests(headers: bytes, stage: Stage) -> None:
    inner = request(b"9|B\n")
    for body in (b"9|B\n", b"4\r\n9|B\n\r\n0\r\n\r\n"):
        answer = stage.answer(HEAD + headers + b"\r\n\r\n" + body + inner)
        assert re.match(rb"HTTP/1.[01] 4(00|11|31) ", answer), answer
        assert b"200 OK" not in answer
    stage.honest()


def test_a_chunked_body_is_refused_as_a_whole(stage: Stage) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\n9|B\n\r\n0\r\n\r\n"
    answer = stage.answer(chunked)
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"send Content-Length" in answer
    endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"4\r\n9|B\n\r\n" * 100_000
    assert b"200 OK" not in stage.answer(endless)


def test_lengths_that_lie(stage: Stage) -> None:
    with connect(stage.port) as short:
        short.sendall(request(b"9|B\n", length=100))
        short.shutdown(socket.SHUT_WR)
        assert b"200 OK" not in everything(short)
    answer = stage.answer(request(b"rubbish\n9|B\n", length=8))
    assert b" 400 Bad Request\r\n" in answer, "what follows is no request"
    with connect(stage.port) as large:
        large.sendall(request(b"x" * 100, length=10**17))
        assert large.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_looks_compressed_is_not_opened(stage: Stage) -> None:
    answer = stage.answer(request(b"\x1f\x8b" + b"x" * 100, b"Content-Encoding: gzip", b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"without Content-Encoding" in answer


def test_a_body_of_nothing_but_refused_lines(stage: Stage) -> None:
    with publisher(stage.port) as one:
        answer = one.post(b"\n" * BODY_BYTES)
        assert (answer.status, answer.told["refused_lines"], len(answer.told["refused"])) == (200, BODY_BYTES, 100)
    wait_until(lambda: stage.system.state("rejected") == BODY_BYTES, "all are counted")
    assert 0 < len(stage.system.rejected()) < BODY_BYTES / 10, "and some recorded"
