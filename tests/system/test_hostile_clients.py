"""Slow and hostile clients: each costs no more than its limits allow, and the others never notice."""

import socket
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.deployment import PATIENCE_S, Deployment, resident_mib, running, wait_until
from tests.support.peers import LOOPBACK, Audience, Honest, Peer, has_ending, peers, reset, source

pytestmark = pytest.mark.slow

MIB = 1 << 20


def slow_reader(system: Deployment, user: int) -> Peer:
    """A client with a small receive buffer, so that unread data stays in the node."""
    peer = Peer(system.client_port)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.send(b"%d\n" % user)
    return peer


def has_received(peer: Peer, line: bytes) -> bool:
    """Whether the peer has received the line."""
    return line in peer.received


def was_refused(connection: socket.socket) -> bool:
    """Whether an answer has arrived; it must be the refusal."""
    try:
        answer = connection.recv(100)
    except BlockingIOError:
        return False
    assert answer == b"ERROR too many connections\n"
    return True


def test_a_client_that_never_reads_is_closed_and_the_others_do_not_notice(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    limit = 1 << 20
    count = 400_000  # about 10 MB for the stuck client: more than the kernel's buffers and the limit together
    events = [b"%d|P|99999999999999999999|1\n" % n if n % 2 else b"%d|B\n" % n for n in range(1, count + 1)]
    broadcasts = b"".join(events[1::2])
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, client_buffer_bytes=limit) as system,
        Audience() as audience,
    ):
        others = [audience.add(Peer(system.client_port, user)) for user in range(2, 12)]
        stuck = slow_reader(system, 1)
        wait_until(lambda: len(system.online()) == 11, "all users are online")
        source(system.event_port, b"".join(events))
        for other in others:
            wait_until(partial(has_ending, other, events[-1]), "all others receive the end")
            assert other.received == broadcasts
        wait_until(lambda: system.logged("slow_client_closed") == 1, "the stuck client is closed")
        for _ in range(20):  # not to the end: with such a small buffer that would take minutes
            stuck.read()
        assert len(stuck.received) > 0
        assert b"".join(events).startswith(stuck.received)
        stuck.close()
        wait_until(lambda: "1" not in system.online(), "the stuck client is offline")


def test_a_client_that_reads_a_byte_a_second(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, client_buffer_bytes=MIB) as system,
        Honest(system) as honest,
    ):
        slow = slow_reader(system, 7)
        received, halt = bytearray(), threading.Event()

        def read_slowly() -> None:
            with suppress(ConnectionError):
                while not halt.wait(1):
                    received.extend(slow.socket.recv(1))

        reading = threading.Thread(target=read_slowly, daemon=True)
        reading.start()
        wait_until(lambda: "7" in system.online(), "the user is online")
        events = honest.reserve(200_000, b"P|99999999999999999999|7", heard=False)
        source(system.event_port, events)
        honest.is_served()
        wait_until(lambda: system.logged("slow_client_closed") == 1, "closed at its limit")
        wait_until(lambda: len(received) >= 2, "it has continued to read")
        halt.set()
        reading.join(PATIENCE_S)
        slow.close()


def test_many_that_never_read_and_come_back(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """The node does not wait for them: others are served immediately, even the first time and while none leaves."""
    never_s = 10 * PATIENCE_S
    limits: dict[str, float] = {"node_buffer_bytes": MIB, "client_buffer_bytes": 2 * MIB}
    limits |= {"client_stall_s": never_s, "node_patience_s": never_s}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **limits) as system, Honest(system) as honest:
        with Audience() as audience:
            for user in range(1, 9):
                audience.add(Peer(system.client_port, user))
            for closed in (6, 12):
                slow = [slow_reader(system, user) for user in range(11, 17)]
                wait_until(lambda: len(system.online()) == 15, "all users are online")
                while system.occurred("slow_client_closed") < closed:
                    source(system.event_port, honest.reserve(20_000))
                    honest.is_served()
                for peer in slow:
                    peer.close()
            last = honest.reserve()
            source(system.event_port, last)
            for other in audience.all:
                wait_until(partial(has_received, other, last), "all others have received it")
        assert '"again": true' in system.log.read_text(), "the second time they are known"


def test_a_client_that_floods(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """100 MB after its registration are ignored, and it is still served."""
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        (node,) = system.of("fanout")
        with peers(system.client_port, [7]) as (flooder,):
            wait_until(lambda: "7" in system.online(), "the user is online")
            before_mib, began = resident_mib(node), time.monotonic()
            for number in range(100):
                flooder.send(b"1234567\nxyz" * 100_000)
                if number % 10 == 0:
                    honest.is_served()
            assert resident_mib(node) < before_mib + 32
            assert time.monotonic() - began > 2, "TCP slows it down, so it takes no time from others"
            line = honest.reserve(1, b"P|1|7", heard=False)
            source(system.event_port, line)
            while line not in flooder.received or not flooder.received.endswith(b"\n"):
                flooder.read()
                assert not flooder.closed
            honest.is_served()
            heard = flooder.received.replace(line, b"")
            assert b"\n" + heard in b"\n" + honest.client.received


def test_a_client_that_half_closes_is_closed(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        with peers(system.client_port, [7, 8]) as (at_once, later):
            at_once.socket.shutdown(socket.SHUT_WR)
            at_once.wait_until_closed()
            wait_until(lambda: "8" in system.online(), "the user is online")
            line = honest.reserve(1, b"P|1|8", heard=False)
            source(system.event_port, line)
            while line not in later.received:
                later.read()
            later.socket.shutdown(socket.SHUT_WR)
            later.wait_until_closed()
            assert later.received.endswith(b"\n")
            assert not later.reset
        wait_until(lambda: system.online() == {"1000000"}, "both are offline")


def test_a_client_that_half_closes_and_never_reads(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Its unsent bytes are kept for a while but not forever."""
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, client_stall_s=1) as system,
        Honest(system) as honest,
    ):
        stuck = slow_reader(system, 7)
        wait_until(lambda: "7" in system.online(), "the user is online")
        events = honest.reserve(400_000, b"P|99999999999999999999|7", heard=False)
        source(system.event_port, events)
        honest.is_served()
        stuck.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: "7" not in system.online(), "the user is offline")
        wait_until(lambda: system.logged("slow_client_closed") == 1, "its connection is closed")
        assert "accepts nothing after its own end" in system.log.read_text()
        stuck.close()


def test_clients_that_are_reset(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        with ExitStack() as stack:
            in_the_middle = [Peer(system.client_port) for _ in range(50)]
            registered = [Peer(system.client_port, user) for user in range(1, 51)]
            for peer in in_the_middle + registered:
                stack.callback(peer.close)
            for peer in in_the_middle:
                peer.send(b"12")
            wait_until(lambda: len(system.online()) == 51, "all users are online")
            for peer in in_the_middle + registered:
                reset(peer.socket)
        for _ in range(50):
            hasty = Peer(system.client_port, 7)
            reset(hasty.socket)
        honest.is_served()
        wait_until(lambda: system.online() == {"1000000"}, "no other user is online")


def test_clients_that_never_register(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, registration_s=0.5) as system,
        Honest(system) as honest,
        ExitStack() as stack,
    ):
        silent = [Peer(system.client_port) for _ in range(200)]
        for peer in silent:
            stack.callback(peer.close)
        for peer in silent:
            assert peer.wait_until_closed() == b"ERROR no user id within 0.5 s\n"
        honest.is_served()
        wait_until(lambda: system.occurred("registration_refused") == 200, "all refusals are counted")
        assert system.logged("registration_refused") < 20


def test_more_clients_than_a_node_has_open_files_for(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """The extra clients are refused, and the node keeps the open files that it needs itself."""
    files, most = 300, 300 - 128
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0) as system:
        system.start("fanout", open_files=files, registration_s=60)
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 1, "a node is known")
        with Honest(system) as honest:
            with ExitStack() as stack:
                crowd = [stack.enter_context(socket.socket()) for _ in range(1500)]
                for connection in crowd:
                    connection.setblocking(False)
                    connection.connect_ex((LOOPBACK, system.client_port))
                wait_until(lambda: system.occurred("client_refused") == 1501 - most, "the others are refused")
                honest.is_served()
                assert sum(map(was_refused, crowd)) == 1501 - most
                system.redis.client_kill_filter(_type="pubsub")
                wait_until(lambda: system.logged("node_resumed") == 1, "the node can reconnect to Redis")
                honest.is_served()
            with peers(system.client_port, [7]):
                wait_until(lambda: "7" in system.online(), "there is room again")
        assert "Too many open files" not in system.log.read_text()
        assert system.logged("client_refused") < 60


def test_clients_of_one_address(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    limits = {"client_connections": 4, "client_connections_per_address": 2, "proxy_protocol": True}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **limits) as system, ExitStack() as stack:

        def client(address: str, user: int) -> Peer:
            peer = Peer(system.client_port)
            stack.callback(peer.close)
            peer.send(b"PROXY TCP4 %b 198.51.100.1 1 9099\r\n%d\n" % (address.encode(), user))
            return peer

        first = client("192.0.2.7", 1)
        client("192.0.2.7", 2)
        wait_until(lambda: system.online() == {"1", "2"}, "two users of one address are online")
        assert client("192.0.2.7", 3).wait_until_closed() == b"ERROR too many connections from one address\n"
        wait_until(lambda: system.occurred("client_refused") == 1, "the third one is refused")
        client("192.0.2.8", 4)
        client("192.0.2.9", 5)
        wait_until(lambda: system.online() == {"1", "2", "4", "5"}, "users of other addresses are accepted")
        assert client("192.0.2.10", 6).wait_until_closed() == b"ERROR too many connections\n"
        first.close()
        wait_until(lambda: "1" not in system.online(), "one user leaves")
        client("192.0.2.7", 7)
        wait_until(lambda: "7" in system.online(), "another user of its address joins")
