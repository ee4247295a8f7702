"""Hostile requests and clients on a node's web port: honest ones never notice, and nothing grows without bounds."""

import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.deployment import PATIENCE_S, Deployment, resident_mib, running, wait_until
from tests.support.peers import Audience, Honest, Peer, connect, source
from tests.support.servers import free_port
from tests.support.web_sources import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocketPeer, frame, handshake

pytestmark = pytest.mark.slow

MIB = 1 << 20
HALF_OPEN = 10_000
OK = 200
WITHIN_S = 3.0
"""How long a request may take here (`PARADE_REGISTRATION_S`)."""
REQUEST = b"GET /events?user=50 HTTP/1.1\r\nHost: a\r\n"
LISTED, NOT_LISTED = "https://app.example", "https://evil.example"


class Stage:
    """A deployment with one node that has a web port."""

    def __init__(self, system: Deployment) -> None:
        self.system = system
        self.port = free_port()
        self.node = system.start("fanout", web_port=self.port)
        opened = f'"port": {self.port}'
        wait_until(lambda: opened in system.log.read_text(), "the web port is open")
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 1, "the node is known")

    def answer(self, data: bytes) -> bytes:
        """All that is answered to this, until the node closes the connection."""
        with connect(self.port) as hostile:
            hostile.sendall(data)
            return everything(hostile)

    def status(self, data: bytes) -> int:
        """The status of the one answer to this; 0: there was none. The node must close what it does not serve."""
        with connect(self.port) as hostile:
            hostile.sendall(data)
            head = hostile.recv(65536)
            status = int(head.split()[1]) if head else 0
            if status != OK:
                head += everything(hostile)
                assert head.count(b"HTTP/1.1 ") <= 1, head
            return status


def everything(connection: socket.socket) -> bytes:
    found = b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


@contextmanager
def running_stage(url: str, namespace: str, log: Path, **settings: object) -> Iterator[Stage]:
    settings = {"registration_s": WITHIN_S, "web_origins": LISTED} | settings
    with running(url, namespace, log, fanouts=0, **settings) as system:
        yield Stage(system)


@pytest.fixture
def stage(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with running_stage(valkey_url, namespace, tmp_path / "log") as found:
        yield found


# Requests

REQUESTS = {
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20): 400,  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 400,
    b"50\r\n\r\n": 400,
    b"GET /events?user=50 HTTP/1.1\n\n": 400,
    b"GET /events?user=50 HTTP/1.0\r\nHost: a\r\n\r\n": 505,
    b"GET http://a/events?user=50 HTTP/1.1\r\nHost: a\r\n\r\n": 404,
    b"GET /events?user=50%0a60 HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /events?user=50%20after=now HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /events?user=50&after=a@1%0d%0aX:y HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /events?user=%zz HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /events?user=\xff HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"POST /events?user=50 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx": 405,
    b"TRACE /events?user=50 HTTP/1.1\r\nHost: a\r\n\r\n": 405,
    REQUEST + b"Content-Length: 1\r\n\r\nx": 400,
    REQUEST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde": 400,
    REQUEST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    REQUEST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    REQUEST + b"Transfer-Encoding: xchunked\r\n\r\n": 400,
    REQUEST + b"Content-Length: +1\r\n\r\nx": 400,
    REQUEST + b"X : y\r\n\r\n": 400,
    REQUEST + b"\r\n" + REQUEST + b"\r\n": 400,
    REQUEST + b"X\0: y\r\n\r\n": 400,
    REQUEST + b"X: a\0b\r\n\r\n": 400,
    REQUEST + b"Last-Event-ID: 9f@1\r\nLast-Event-ID: 9f@2\r\n\r\n": 400,
    REQUEST + b"Last-Event-ID: nonsense\r\n\r\n": 400,
    REQUEST + b"Cookie: %b\r\n\r\n" % (b"x" * 9_000): 431,
    b"GET /events?user=%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"5" * 9_000): 431,
    b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n": 426,
    handshake("Sec-WebSocket-Version: 8", path="/ws"): 400,
    handshake(path="/source"): 404,
    handshake(f"Origin: {NOT_LISTED}", path="/ws"): 403,
    REQUEST + b"Origin: null\r\n\r\n": 403,
    REQUEST + f"Origin: {NOT_LISTED}\r\n\r\n".encode(): 403,
    REQUEST + f"Origin: {LISTED}\r\nOrigin: {LISTED}\r\n\r\n".encode(): 400,
    b"OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\n\r\n" % NOT_LISTED.encode(): 403,
    REQUEST: 408,  # and nothing more comes
    b"GET": 408,
}


def test_requests_with_no_or_two_meanings(stage: Stage) -> None:
    with Honest(stage.system) as honest:
        found = {request: stage.status(request) for request in REQUESTS}
        honest.is_served()
    assert {request: status for request, status in found.items() if status != REQUESTS[request]} == {}
    assert "Traceback" not in stage.system.log.read_text()


def test_a_listed_origin_is_told_so_and_no_other(stage: Stage) -> None:
    allowed = stage.answer(f"OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: {LISTED}\r\n\r\n".encode())
    assert f"access-control-allow-origin: {LISTED}".encode() in allowed.lower()
    assert b"vary: origin" in allowed.lower()
    refused = stage.answer(REQUEST + f"Origin: {NOT_LISTED}\r\n\r\n".encode())
    assert b"access-control-allow-origin" not in refused.lower()


def test_a_head_that_comes_byte_by_byte_wins_no_time(stage: Stage) -> None:
    with connect(stage.port) as slow, Honest(stage.system) as honest:
        began = time.monotonic()
        with suppress(ConnectionError):
            for byte in REQUEST * 100:
                slow.sendall(bytes([byte]))
                time.sleep(0.05)
                assert time.monotonic() < began + PATIENCE_S
        assert time.monotonic() > began + WITHIN_S / 2
        honest.is_served()


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Let this process have so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert count <= hard, f"this test needs {count} open files"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_halves_of_requests(stage: Stage) -> None:
    with (
        open_files(HALF_OPEN + 500),
        ExitStack() as stack,
        Honest(stage.system) as honest,
    ):
        before = resident_mib(stage.node)
        halves = []
        for number in range(HALF_OPEN):
            halves.append(stack.enter_context(connect(stage.port)))
            halves[-1].sendall(REQUEST)
            if number % 1_000 == 999:
                honest.is_served()
        with_half = WebSocketPeer(stage.port, path="/ws")
        with_half.send(b"60 after=now")
        assert with_half.message().startswith(b"OK ")
        with_half.close()
        assert resident_mib(stage.node) < before + 60
        # The oldest gave way to others, or their time was over.
        assert {everything(each)[9:12] for each in halves} <= {b"408", b""}
        honest.is_served()


# WebSockets


def unmasked(data: bytes) -> bytes:
    return bytes([0x80 | TEXT, len(data)]) + data


BREACHES = {
    "not masked": (unmasked(b"50 after=now"), 1002),
    "a reserved bit": (b"\xc1" + frame(b"50")[1:], 1002),
    "an opcode of nobody": (frame(b"50", 3), 1002),
    "a continuation of nothing": (frame(b"50", CONTINUATION), 1002),
    "a message within a message": (frame(b"50", fin=False) + frame(b"60"), 1002),
    "a ping in parts": (frame(b"x", PING, fin=False), 1002),
    "a ping that is too long": (frame(b"x" * 126, PING), 1002),
    "a close of one byte": (frame(b"x", CLOSE), 1002),
    "a close with a status of nobody": (frame(struct.pack("!H", 999), CLOSE), 1002),
    "a close in no language": (frame(struct.pack("!H", 1000) + b"\xff", CLOSE), 1007),
    "a message that is too long": (frame(b"5" * 5_000), 1009),
    "a message that will be too long": (b"\x81\xff" + struct.pack("!Q", 1 << 40) + bytes(4), 1009),
    "a message in parts that is too long": (frame(b"5" * 3_000, fin=False) + frame(b"5" * 3_000, CONTINUATION), 1009),
    "no user": (frame(b""), 1008),
    "no user id": (frame(b"fifty"), 1008),
    "no cursor": (frame(b"50 after=9f31c2"), 1008),
    "bytes": (frame(b"\xff\xfe", BINARY), 1008),
}


def closed_with(peer: WebSocketPeer) -> int | None:
    """The status of Close; None: the connection ended without."""
    while peer.message():
        pass
    return peer.code


def test_clients_that_break_the_websocket_protocol(stage: Stage) -> None:
    found: dict[str, int | None] = {}
    with Honest(stage.system) as honest:
        for name, (data, _) in BREACHES.items():
            hostile = WebSocketPeer(stage.port, path="/ws")
            hostile.socket.sendall(data)
            found[name] = closed_with(hostile)
            hostile.close()
        honest.is_served()
    assert found == {name: code for name, (_, code) in BREACHES.items()}
    assert "Traceback" not in stage.system.log.read_text()


def test_who_does_not_register_is_told_and_closed(stage: Stage) -> None:
    silent = WebSocketPeer(stage.port, path="/ws")
    assert silent.message() == b"ERROR no user id within 3 s\n"
    assert closed_with(silent) == 1008
    silent.close()


def test_nothing_is_compressed_whatever_is_offered(stage: Stage) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    client = WebSocketPeer(stage.port, offer, path="/ws")
    assert b"extensions" not in client.head.lower()
    client.close()


def test_a_flood_of_pings_and_of_messages_costs_nobody_anything(stage: Stage) -> None:
    with Honest(stage.system) as honest:
        before = resident_mib(stage.node)
        for data in (frame(b"x" * 100, PING) * 20_000, frame(b"BYE-BYE" * 10) * 20_000, frame(b"", PONG) * 50_000):
            flooding = WebSocketPeer(stage.port, path="/ws")
            flooding.send(b"60 after=now")
            assert flooding.message().startswith(b"OK ")
            flooding.socket.settimeout(0.5)
            with suppress(OSError):  # it is not read as fast, or was closed
                flooding.socket.sendall(data)
            honest.is_served()
            flooding.close()
        assert resident_mib(stage.node) < before + 40


# Clients that take nothing


def slow_websocket(port: int, user: int) -> socket.socket:
    peer = slow_socket(port)
    peer.sendall(handshake(path="/ws") + frame(b"%d after=now" % user))
    return peer


def slow_stream(port: int, user: int) -> socket.socket:
    peer = slow_socket(port)
    peer.sendall(b"GET /events?user=%d HTTP/1.1\r\nHost: a\r\n\r\n" % user)
    return peer


def slow_socket(port: int) -> socket.socket:
    """A connection with little room, so that what is not read stays in the node."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(PATIENCE_S)
    peer.connect(("127.0.0.1", port))
    return peer


def test_a_client_that_never_reads_is_cut_off_and_the_others_do_not_notice(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    lines = b"".join(b"%d|B|%b\n" % (number, b"x" * 1_000) for number in range(1, 20_001))
    settings = {"client_buffer_bytes": MIB}
    with (
        running_stage(valkey_url, namespace, tmp_path / "log", **settings) as stage,
        Audience() as audience,
        ExitStack() as stack,
    ):
        other = audience.add(Peer(stage.system.client_port, 1))
        stuck = [slow_websocket(stage.port, 2), slow_stream(stage.port, 3)]
        for each in stuck:
            stack.callback(each.close)
        wait_until(lambda: stage.system.online() == {"1", "2", "3"}, "all are online")
        source(stage.system.event_port, lines)
        wait_until(lambda: len(other.received) >= len(lines), "the other one has received all")
        assert other.received == lines
        wait_until(lambda: stage.system.logged("slow_client_closed") == 2, "both are cut off")
        assert resident_mib(stage.node) < 150
