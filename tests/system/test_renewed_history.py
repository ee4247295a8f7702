"""Redis comes back, and nobody knows whether it has lost something: positions count as far as it has not."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import Peer, peers, source
from tests.support.servers import free_port, system_server

pytestmark = pytest.mark.slow

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def coming_back(redis_url: str) -> Iterator[list[Peer]]:
    """Clients that opted in; closed after the test."""
    assert redis_url  # requires redis-server
    clients: list[Peer] = []
    yield clients
    for client in clients:
        client.close()


def came(system: Deployment, clients: list[Peer], line: bytes) -> Peer:
    """A client that has sent this registration line."""
    client = Peer(system.client_port)
    clients.append(client)
    client.send(line)
    return client


def history_of(system: Deployment) -> bytes:
    return str(system.redis.hget(system.keys.state, "history")).encode()


def kill(process: "Popen[bytes]") -> None:
    process.kill()
    process.wait()


def test_a_leader_that_knows_nothing_of_the_last_one_closes_no_connection(
    folder: Path, namespace: str, tmp_path: Path, coming_back: list[Peer]
) -> None:
    port, stored = free_port(), ("--dir", str(folder), *DURABLE)
    with (
        system_server(port, *stored) as server,
        running(f"redis://127.0.0.1:{port}/0", namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (bare,),
    ):
        opted_in = came(system, coming_back, b"2 after=now\n")
        wait_until(lambda: system.online() == {"1", "2"}, "both users are online")
        opted_in.wait_for(b"@0\n")
        source(system.event_port, b"1|B\n")
        for client in (bare, opted_in):
            client.wait_for(b"1|B\n")
        before = history_of(system)
        (sequencer,) = system.of("sequencer")
        kill(sequencer)
        kill(server)
        with system_server(port, *stored):
            system.start("sequencer")
            opted_in.wait_for(b"@1\n")
            source(system.event_port, b"2|B\n")
            for client in (bare, opted_in):
                client.wait_for(b"2|B\n")
            now = history_of(system)
            late = came(system, coming_back, b"3 after=%b@2\n" % before)
            again = came(system, coming_back, b"2 after=%b@1\n" % before)
            again.wait_for(b"2|B\n")
            late.wait_for(b"history\n")
            system.stop_all()
        assert now != before
        assert bare.received == b"1|B\n2|B\n"
        assert opted_in.received == b"OK %b@0\n1|B\nRESUMED %b@1\n2|B\n" % (before, now)
        assert again.received == b"RESUMED %b@1\n2|B\n" % now
        assert late.received == b"RESET %b@2 history\n" % now
        assert system.logged("history_renewed") == 1
        assert system.logged("connections_closed") == 0


def test_a_place_in_what_redis_has_lost_is_none(
    folder: Path, namespace: str, tmp_path: Path, coming_back: list[Peer]
) -> None:
    port, stored = free_port(), ("--dir", str(folder))
    with (
        system_server(port, *stored) as server,
        running(f"redis://127.0.0.1:{port}/0", namespace, tmp_path / "log") as system,
    ):
        first, second = (came(system, coming_back, b"%d after=now\n" % user) for user in (1, 2))
        for client in (first, second):
            client.wait_for(b"@0\n")
        source(system.event_port, b"1|B\n")
        for client in (first, second):
            client.wait_for(b"1|B\n")
        wait_until(lambda: system.redis.hlen(system.keys.since) == 2, "both places are kept")
        system.redis.save()
        source(system.event_port, b"2|P|9|1|lost\n3|B|lost\n")
        for client in (first, second):
            client.wait_for(b"3|B|lost\n")
        before = history_of(system)
        kill(server)
        with system_server(port, *stored):
            for client in (first, second):
                client.wait_until_closed()
            source(system.event_port, b"2|P|9|2|anew\n3|B|anew\n")
            wait_until(lambda: system.state("next") == 4, "the numbers are given to other events")
            now = history_of(system)
            beyond = came(system, coming_back, b"1 after=%b@3\n" % before)
            within = came(system, coming_back, b"2 after=%b@1\n" % before)
            beyond.wait_for(b"history\n")
            within.wait_for(b"3|B|anew\n")
            system.stop_all()
        assert now != before
        assert beyond.received == b"RESET %b@3 history\n" % now
        assert within.received == b"RESUMED %b@1\n2|P|9|2|anew\n3|B|anew\n" % now
