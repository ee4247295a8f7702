"""Registration: what is accepted, what is refused, and that later input is ignored."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import Peer, peers, source


@pytest.fixture
def system(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Deployment]:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, registration_s=0.5) as deployment:
        yield deployment


@pytest.mark.parametrize(
    "line", [b"abc\n", b"\n", b"-1\n", b"01\n", b"1" * 21 + b"\n", b"1 2\n", b"1" * 64, b"x" * 70_000, b"\xff\xfe\n"]
)
def test_a_wrong_registration_is_answered_with_one_line(system: Deployment, line: bytes) -> None:
    peer = Peer(system.client_port)
    peer.send(line)
    answer = peer.wait_until_closed()
    peer.close()
    assert answer.startswith(b"ERROR ")
    assert answer.count(b"\n") == 1


def test_a_missing_registration_is_answered_with_one_line(system: Deployment) -> None:
    for beginning in (b"", b"12"):
        peer = Peer(system.client_port)
        peer.send(beginning)
        assert peer.wait_until_closed() == b"ERROR no user id within 0.5 s\n"
        peer.close()


def test_byte_by_byte_and_with_trailing_data(system: Deployment) -> None:
    slow, eager = Peer(system.client_port), Peer(system.client_port)
    for byte in b"12\r\n":
        slow.send(bytes([byte]))
    eager.send(b"34\nhello\n1|B\n")
    wait_until(lambda: system.online() == {"12", "34"}, "both users are online")
    for _ in range(200):
        eager.send(b"noise" * 2000)
    source(system.event_port, b"1|B\n")
    for peer in (slow, eager):
        peer.wait_for(b"1|B\n")
        assert peer.received == b"1|B\n"
        peer.close()


def test_the_longest_id(system: Deployment) -> None:
    user = 10**20 - 1
    with peers(system.client_port, [user]) as (client,):
        wait_until(lambda: system.online() == {str(user)}, "the user is online")
        source(system.event_port, b"1|P|%d|%d\n" % (user, user))
        client.wait_for(b"1|P|%d|%d\n" % (user, user))


def test_a_user_who_disconnects_is_offline(system: Deployment) -> None:
    with peers(system.client_port, [1, 2]):
        wait_until(lambda: system.online() == {"1", "2"}, "the user is online")
    wait_until(lambda: system.online() == set(), "the user is offline")


def test_a_user_who_joins_and_leaves_within_one_batch_is_offline(system: Deployment) -> None:
    (sequencer,) = system.of("sequencer")
    with peers(system.client_port, [1]):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        sequencer.send_signal(signal.SIGSTOP)
        try:
            for entries in (1, 3):
                with peers(system.client_port, [2]):
                    wait_until(partial(_posted, system, entries), "the join is posted")
                wait_until(partial(_posted, system, entries + 1), "the leave is posted")
        finally:
            sequencer.send_signal(signal.SIGCONT)
        wait_until(partial(_posted, system, 0), "the sequencer has consumed all entries")
        assert system.online() == {"1"}


def _posted(system: Deployment, entries: int) -> bool:
    return bool(system.redis.xlen(system.keys.events) == entries)
