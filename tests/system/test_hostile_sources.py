"""Malformed input and hostile sources: valid events around it are handled, and other peers never notice."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime.service import raise_file_limit
from runtime.settings import Settings
from tests.support.deployment import resident_mib, running, wait_until
from tests.support.peers import Honest, connect, is_closed, peers, reset, source

pytestmark = pytest.mark.slow

GROWTH_MIB = 32
"""How much a process may grow under a flood: enough for its buffers, at most half of the smallest flood here."""


def test_rubbish_between_events(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        rubbish = [b"\n", b"hello\n", b"3|X|1|2\n", b"0|B\n", b"\x00\xff\n", b"x" * 5000 + b"\n", b"4|B\r\r\n"]
        events = [b"%d|B\n" % number for number in range(1, len(rubbish) + 1)]
        pairs = zip(events, rubbish, strict=True)
        source(system.event_port, b"".join(event + junk for event, junk in pairs) + b"99|B")
        user.wait_for(events[-1])
        assert user.received == b"".join(events)
        wait_until(lambda: len(system.rejected()) == len(rubbish) + 1, "every refused line is recorded")
        reasons = [reason for reason, _ in system.rejected()]
        assert sorted(set(reasons)) == ["line too long", "no line end before the source closed", "not an event"]
        assert system.state("rejected") == len(rubbish) + 1


def test_late_duplicate_and_conflicting_numbers(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, reach=100) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            source(system.event_port, b"1|B\n3|B\n3|B\n3|P|1|1\n500|B\n")
            wait_until(lambda: system.state("received") == 6, "all lines are received")
            assert system.redis.zrange(system.keys.waiting, 0, -1) == ["3|B\n"]
            source(system.event_port, b"2|B\n")
            user.wait_for(b"3|B\n")
        assert user.received == b"1|B\n2|B\n3|B\n"
        counters = {name: system.state(name) for name in ("released", "late", "duplicate", "conflict", "rejected")}
        assert counters == {"released": 3, "late": 1, "duplicate": 1, "conflict": 1, "rejected": 2}
        assert [line for _, line in system.rejected()] == ["3|P|1|1\n", "500|B\n"]
        assert system.redis.zcard(system.keys.waiting) == 0


def test_a_gibibyte_without_a_line_end(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        (listener,) = system.of("listener")
        before_mib = resident_mib(listener)
        with connect(system.event_port) as endless:
            for number in range(1024):
                endless.sendall(b"z" * (1 << 20))
                if number % 128 == 0:
                    honest.is_served()
            assert resident_mib(listener) < before_mib + GROWTH_MIB
            endless.sendall(b"\n" + honest.reserve())
            honest.is_served()
        assert system.rejected() == [("line too long", "z" * 64)]


@pytest.mark.parametrize("line", [b"what is this??!\n", b"y" * 1500 + b"\n"], ids=["no events", "too long"])
def test_64_mebibytes_of_rubbish(line: bytes, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    lines_a_send = (1 << 20) // len(line)
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        busy = [*system.of("listener"), *system.of("sequencer")]
        before_mib = [resident_mib(process) for process in busy]
        with connect(system.event_port) as hostile:
            for number in range(64):
                hostile.sendall(line * lines_a_send)
                if number % 8 == 0:
                    hostile.sendall(honest.reserve())
                    honest.is_served()
            for process, mib in zip(busy, before_mib, strict=True):
                assert resident_mib(process) < mib + GROWTH_MIB
        wait_until(lambda: system.state("rejected") == 64 * lines_a_send, "every refused line is counted")
        assert 0 < system.redis.xlen(system.keys.rejected) < 64 * lines_a_send
        assert system.logged("lines_too_long") < 60  # at most one a second


def test_sources_that_send_one_byte_at_a_time(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        with ExitStack() as stack:
            slow = [stack.enter_context(connect(system.event_port)) for _ in range(20)]
            lines = [honest.reserve() for _ in slow]
            for connection in slow:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(max(map(len, lines))):
                for connection, line in zip(slow, lines, strict=True):
                    connection.sendall(line[at : at + 1])
                time.sleep(0.002)
            honest.is_served()
        assert system.state("rejected") == 0


def test_sources_that_end_in_the_middle_of_a_line(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        resetting, closing, half_closing = (connect(system.event_port) for _ in range(3))
        for connection in (resetting, closing, half_closing):
            connection.sendall(honest.reserve() + b"77|P|1|")
        honest.is_served()  # first, because a reset discards what is still in transit
        reset(resetting)
        closing.close()
        half_closing.shutdown(socket.SHUT_WR)
        assert is_closed(half_closing)
        half_closing.close()
        wait_until(lambda: system.state("rejected") == 3, "three unfinished lines are refused")
        assert system.rejected() == [("no line end before the source closed", "77|P|1|")] * 3


def test_5000_sources_at_once(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Those over the limit are refused, the log stays readable, and there is room again after they disconnect."""
    limit = Settings.model_fields["source_connections"].default
    count = 5000
    assert raise_file_limit() > count + 100, "the test itself needs more open files"
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        with ExitStack() as stack:
            hostile = [stack.enter_context(connect(system.event_port)) for _ in range(count)]
            wait_until(lambda: system.occurred("source_refused") == count - (limit - 1), "the others are refused")
            honest.is_served()
            with connect(system.event_port) as late:
                assert is_closed(late), "there is no room now"
            for refused in hostile[limit - 1 :]:
                assert is_closed(refused)
            for connection in hostile[: limit - 1 : 100]:
                connection.sendall(honest.reserve())
            honest.is_served()
        assert '"reason": "too many connections"' in system.log.read_text()
        assert system.logged("source_refused") < 100
        wait_until(lambda: system.occurred("source_disconnected") == limit - 1, "they are disconnected")
        source(system.event_port, honest.reserve())
        honest.is_served()
    assert f'"source_refused: too many connections": {count - limit + 2}' in system.log.read_text()  # and the late one


def test_sources_of_one_address(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    limits = {"source_connections_per_address": 2, "proxy_protocol": True}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, registration_s=1, **limits) as system:
        with ExitStack() as stack:
            greedy = [stack.enter_context(connect(system.event_port)) for _ in range(10)]
            other, silent = (stack.enter_context(connect(system.event_port)) for _ in range(2))
            for number, connection in enumerate(greedy):
                connection.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 %d 9090\r\n" % number)
            other.sendall(b"PROXY TCP4 192.0.2.8 198.51.100.1 1 9090\r\n1|B\n")
            wait_until(lambda: system.occurred("source_refused") == 9, "eight of ten and the silent one are refused")
            assert is_closed(silent)
            wait_until(lambda: system.state("released") == 1, "another address is let in")
        reasons = ["too many connections from one address", "no PROXY line within 1 s"]
        assert all(reason in system.log.read_text() for reason in reasons)
