"""Users who come and go, and users who follow many: other users never notice, and nothing accumulates."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import LOOPBACK, Audience, Peer, peers, source

pytestmark = pytest.mark.slow

CHUNK = 1000


def follow(system: Deployment, followers: Iterable[int], authors: range) -> None:
    """Write a follow graph directly into Redis, in both directions."""
    users = list(followers)
    pipeline = system.redis.pipeline(transaction=False)
    for user in users:
        for start in range(0, len(authors), CHUNK):
            pipeline.sadd(system.keys.following + str(user), *authors[start : start + CHUNK])
    for author in authors:
        pipeline.sadd(system.keys.followers + str(author), *users)
    pipeline.execute()


def reported(system: Deployment, service: str) -> dict[str, Any]:
    """The latest report of a process of this service; empty before the first."""
    reports = system.redis.hgetall(system.keys.services)
    found = max((report for name, report in reports.items() if name.startswith(service)), default="0 {}")
    return dict(json.loads(found.partition(" ")[2]))


def test_a_leader_that_has_much_to_read_keeps_its_lease_and_works_at_once(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    users, authors = range(1, 41), range(1_000, 51_000)
    with running(valkey_url, namespace, tmp_path / "log", lease_s=1, tick_s=0.2) as system:
        with peers(system.client_port, users) as clients:
            wait_until(lambda: len(system.online()) == len(users), "all users are online")
            follow(system, users, authors)
            (leader,) = system.of("sequencer")
            leader.kill()
            leader.wait()
            system.start("sequencer")
            source(system.event_port, b"1|S|50999\n2|S|1000\n3|S|7\n4|B\n")
            for client in clients:
                client.wait_for(b"4|B\n")
                assert client.received == b"1|S|50999\n2|S|1000\n4|B\n"
            wait_until(lambda: reported(system, "sequencer").get("loading_users") == 0, "all follow sets are loaded")
            source(system.event_port, b"5|S|30000\n")
            for client in clients:
                client.wait_for(b"5|S|30000\n")
        assert system.logged("lease_lost") == 0
        assert system.logged("sequencing") == 2


def test_events_go_on_while_somebody_who_follows_many_comes(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, batch_edges=1) as system:
        follow(system, [1], range(1_000, 201_000))  # loading takes at least a minute
        with peers(system.client_port, [2]) as (other,):
            wait_until(lambda: system.online() == {"2"}, "the user is online")
            with peers(system.client_port, [1]) as (greedy,):
                wait_until(lambda: system.online() == {"1", "2"}, "both users are online")
                for number in range(1, 101):
                    source(system.event_port, b"%d|B\n" % number)
                    other.wait_for(b"%d|B\n" % number)
                source(system.event_port, b"101|S|150000\n")
                greedy.wait_for(b"101|S|150000\n")
                wait_until(
                    lambda: reported(system, "sequencer").get("loading_users") == 1,
                    "the follow set is still being loaded",
                )


def test_who_comes_back_at_once_costs_the_stream_nothing(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, linger_s=5, joins_per_user=0) as system:
        (sequencer,) = system.of("sequencer")
        with peers(system.client_port, [1]):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
        sequencer.send_signal(signal.SIGSTOP)
        try:
            for _ in range(50):
                with peers(system.client_port, [1]):
                    time.sleep(0.002)
            assert system.redis.xlen(system.keys.events) == 0
        finally:
            sequencer.send_signal(signal.SIGCONT)
        with Audience() as audience:
            back = audience.add(Peer(system.client_port, 1))
            # What is sent before its node has read the registration goes to nobody, and nothing tells when it has.
            for number in range(1, 200):
                source(system.event_port, b"%d|P|2|1\n" % number)
                time.sleep(0.02)
                if back.received:
                    break
            assert back.received, "the user is served"
            audience.drop(back)
        wait_until(lambda: system.online() == set(), "offline after the linger time")


def test_joins_and_leaves_pile_up_no_further_than_their_bound(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    settings = {"linger_s": 0, "entries_ahead": 3, "joins_per_user": 0}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **settings) as system:
        (sequencer,) = system.of("sequencer")
        sequencer.send_signal(signal.SIGSTOP)
        try:
            for user in range(1, 101):
                with peers(system.client_port, [user]):
                    time.sleep(0.005)
                assert system.redis.xlen(system.keys.events) <= 3
            staying = [Peer(system.client_port, user) for user in range(201, 221)]
        finally:
            sequencer.send_signal(signal.SIGCONT)
        wait_until(lambda: system.online() == {str(user) for user in range(201, 221)}, "those who stayed are online")
        source(system.event_port, b"1|B\n")
        for peer in staying:
            peer.wait_for(b"1|B\n")
            peer.close()


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        ({"joins_per_user": 0.5}, b"ERROR this user comes and goes too often, wait a second\n"),
        ({"joins_per_address": 0.5}, b"ERROR too many users come from one address, wait a second\n"),
    ],
)
def test_who_comes_and_goes_too_often_is_told_so(
    valkey_url: str, namespace: str, tmp_path: Path, limit: dict[str, float], answer: bytes
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **limit) as system:
        with peers(system.client_port, [2]) as (other,):
            wait_until(lambda: system.online() == {"2"}, "the user is online")
            refused = 0
            for _ in range(20):
                peer = Peer(system.client_port, 1)
                peer.socket.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    refused += peer.wait_until_closed() == answer
                peer.close()
            assert 10 <= refused < 20
            with peers(system.client_port, [2, 2]) as further:  # another connection of an online user is not a join
                wait_until(lambda: system.connections() == 3, "they are registered")
                source(system.event_port, b"1|B\n")
                for peer in (other, *further):
                    peer.wait_for(b"1|B\n")
            name = f"registration_refused: {answer.decode().removeprefix('ERROR ').strip()}"
            wait_until(partial(_counted, system, name, refused), "the refusals are counted")


def _counted(system: Deployment, name: str, count: int) -> bool:
    return bool(reported(system, "fanout").get("peers", {}).get(name) == count)


def test_one_user_with_thousands_of_connections_that_end_newest_first(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [2]) as (one,),
    ):
        many = []
        for _ in range(3000):
            many.append(socket.create_connection((LOOPBACK, system.client_port)))
            many[-1].sendall(b"1\n")
        wait_until(lambda: reported(system, "fanout").get("connections") == 3001, "all are connected")
        for connection in reversed(many):
            connection.close()
        source(system.event_port, b"1|B\n")
        one.wait_for(b"1|B\n")
        wait_until(lambda: reported(system, "fanout").get("connections") == 1, "all are closed")
        wait_until(lambda: system.online() == {"2"}, "the user is offline")
