"""Malformed and hostile peers: the valid events around them are handled, the others never notice."""

import socket
import time
from functools import partial
from pathlib import Path

from tests.system.deployment import running, wait_until
from tests.system.peers import LOOPBACK, Audience, Peer, has_heard, peers, source


def test_rubbish_between_events(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "online")
        rubbish = [b"\n", b"hello\n", b"3|X|1|2\n", b"0|B\n", b"\x00\xff\n", b"x" * 5000 + b"\n", b"4|B\r\r\n"]
        events = [b"%d|B\n" % number for number in range(1, len(rubbish) + 1)]
        pairs = zip(events, rubbish, strict=True)
        source(system.event_port, b"".join(event + junk for event, junk in pairs) + b"99|B")
        user.wait_for(events[-1])
        assert user.received == b"".join(events)
        wait_until(lambda: len(system.rejected()) == len(rubbish) + 1, "everything refused is recorded")
        reasons = [reason for reason, _ in system.rejected()]
        assert sorted(set(reasons)) == ["line too long", "no line end before the source closed", "not an event"]
        assert system.state("rejected") == len(rubbish) + 1


def test_late_duplicate_and_conflicting_numbers(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, reach=100) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "online")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            source(system.event_port, b"1|B\n3|B\n3|B\n3|P|1|1\n500|B\n")
            wait_until(lambda: system.state("received") == 6, "all received")
            assert system.redis.zrange(system.keys.waiting, 0, -1) == ["3|B\n"]
            source(system.event_port, b"2|B\n")
            user.wait_for(b"3|B\n")
        assert user.received == b"1|B\n2|B\n3|B\n"
        counters = {name: system.state(name) for name in ("released", "late", "duplicate", "conflict", "rejected")}
        assert counters == {"released": 3, "late": 1, "duplicate": 1, "conflict": 1, "rejected": 2}
        assert [line for _, line in system.rejected()] == ["3|P|1|1\n", "500|B\n"]
        assert system.redis.zcard(system.keys.waiting) == 0


def test_a_source_that_never_sends_a_line_end(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "online")
        with socket.create_connection((LOOPBACK, system.event_port)) as endless:
            for _ in range(300):
                endless.sendall(b"z" * 100_000)
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            endless.sendall(b"\n2|B\n")
            user.wait_for(b"2|B\n")
        assert system.rejected() == [("line too long", "z" * 64)]


def test_a_source_that_sends_one_byte_at_a_time(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [7]) as (user,),
    ):
        wait_until(lambda: system.online() == {"7"}, "online")
        with socket.create_connection((LOOPBACK, system.event_port)) as slow:
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"2|P|1|7\r\n1|F|3|7\n":
                slow.sendall(bytes([byte]))
                time.sleep(0.002)
        user.wait_for(b"2|P|1|7\r\n")
        assert user.received == b"1|F|3|7\n2|P|1|7\r\n"


def test_a_client_that_never_reads_is_closed_and_the_others_do_not_notice(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    limit = 1 << 20
    count = 400_000  # some 10 MB for the stuck one: more than the kernel's buffers and the limit together
    events = [b"%d|P|99999999999999999999|1\n" % n if n % 2 else b"%d|B\n" % n for n in range(1, count + 1)]
    broadcasts = b"".join(events[1::2])
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, client_buffer_bytes=limit) as system,
        Audience() as audience,
    ):
        others = [audience.add(Peer(system.client_port, user)) for user in range(2, 12)]
        stuck = Peer(system.client_port)
        stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.send(b"1\n")
        wait_until(lambda: len(system.online()) == 11, "all online")
        source(system.event_port, b"".join(events))
        for other in others:
            wait_until(partial(has_heard, other, events[-1]), "everybody else hears the end")
            assert other.received == broadcasts
        wait_until(lambda: system.logged("slow_client_closed") == 1, "the stuck client is closed")
        for _ in range(20):  # not to the end: through so small a buffer that would take minutes
            stuck.read()
        assert len(stuck.received) > 0
        assert b"".join(events).startswith(stuck.received)
        stuck.close()
        wait_until(lambda: "1" not in system.online(), "and offline")
