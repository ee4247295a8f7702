"""Redis that refuses, is full, loads for long, or cuts a subscriber off: the stream goes on where it was."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runtime.settings import MIB
from simulator.workload import Workload
from tests.support.deployment import PATIENCE_S, Deployment, running, wait_until
from tests.support.peers import expect_everything, generated, peers, slowly, source
from tests.support.programs import SYSTEM, Program
from tests.support.servers import free_port, server_of, system_server

pytestmark = pytest.mark.slow

USERS = range(1, 21)


@pytest.fixture
def own_port(program: Program, tmp_path: Path) -> Iterator[int]:
    """A server for one test, since what it is told concerns all who use it."""
    port = free_port()
    (tmp_path / "data").mkdir()
    with server_of(program, port, "--dir", str(tmp_path / "data")):
        yield port


def url_of(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def test_a_full_memory_stops_the_sources_and_nothing_else(own_port: int, namespace: str, tmp_path: Path) -> None:
    with (
        running(url_of(own_port), namespace, tmp_path / "log", node_silence_s=2, lease_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "online")
        source(system.event_port, b"1|B\n")
        user.wait_for(b"1|B\n")
        system.redis.config_set("maxmemory", "1")
        source(system.event_port, b"2|B\n")
        with peers(system.client_port, [2]) as (late,):
            wait_until(lambda: system.logged("joins_wait") >= 3, "a node can't tell who came")
            wait_until(lambda: '"reason": "OOM' in system.log.read_text(), "the listener says why it waits")
            before = system.state("batch")
            wait_until(lambda: system.state("batch") > before + 2, "batches are committed all the same")
            assert system.logged("node_expelled") == 0
            system.redis.config_set("maxmemory", "0")
            user.wait_for(b"1|B\n2|B\n")
            wait_until(lambda: system.online() == {"1", "2"}, "the one who came late is online")
            source(system.event_port, b"3|B\n")
            late.wait_for(b"3|B\n")
            user.wait_for(b"3|B\n")
        assert user.received == b"1|B\n2|B\n3|B\n"
        assert system.logged("connections_closed") == 0


REFUSALS = {
    "NOREPLICAS": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    "READONLY": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
}


@pytest.mark.parametrize("program", [SYSTEM], indirect=True, ids=str)
@pytest.mark.parametrize("error", REFUSALS)
def test_redis_refuses_writes_for_a_while(own_port: int, namespace: str, tmp_path: Path, error: str) -> None:
    begin, end = REFUSALS[error]
    oracle, arrival = generated(Workload(40_000, 40, 6), USERS)
    with (
        running(url_of(own_port), namespace, tmp_path / "log") as system,
        peers(system.client_port, USERS) as clients,
    ):
        wait_until(lambda: len(system.online()) == 20, "all online")
        sending = slowly(system.event_port, arrival, 3.0)
        wait_until(lambda: system.state("released") > 2000, "events flow")
        system.redis.execute_command(*begin.split())
        wait_until(lambda: system.logged("redis_away") == 4, "every service notices")
        assert f'"reason": "{error}' in system.log.read_text()
        system.redis.execute_command(*end.split())
        expect_everything(clients, oracle)
        sending.join(PATIENCE_S)
        assert system.logged("connections_closed") == 0


def test_a_subscriber_that_redis_cuts_off_reads_the_journal(own_port: int, namespace: str, tmp_path: Path) -> None:
    """A node that is paused gets too far behind for Redis, which then drops all that it had for the node.

    With the usual window Redis never has that much for a node, so it is wider here.
    """
    lines = b"".join(b"%d|P|%d|1\n" % (number, 10**19) for number in range(2, 400_001))
    wide = {"window_bytes": 100 * MIB, "window_batches": 10_000, "node_silence_s": 30}
    with running(url_of(own_port), namespace, tmp_path / "log", fanouts=1, **wide) as system:
        system.redis.config_set("client-output-buffer-limit", "pubsub 32768 0 0")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "online")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            (node,) = system.of("fanout")
            node.send_signal(signal.SIGSTOP)
            sending = slowly(system.event_port, lines, 1.0)
            wait_until(lambda: _subscribers(system) == 0, "Redis cuts the node off")
            node.send_signal(signal.SIGCONT)
            sending.join(PATIENCE_S)
            user.wait_for(lines[-40:])
            assert user.received == b"1|B\n" + lines
        assert system.logged("node_resumed") >= 1
        assert system.logged("connections_closed") == 0


def _subscribers(system: Deployment) -> int:
    return int(dict(system.redis.pubsub_numsub(system.keys.broadcast))[system.keys.broadcast])


def test_a_redis_that_loads_for_long_is_waited_for(redis_url: str, namespace: str, tmp_path: Path) -> None:
    assert redis_url  # redis-server is there
    port, folder = free_port(), tmp_path / "data"
    folder.mkdir()
    durable = ("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always")
    slow = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    oracle, arrival = generated(Workload(20_000, 40, 7), USERS)
    with system_server(port, *durable) as server:
        with (
            running(url_of(port), namespace, tmp_path / "log") as system,
            peers(system.client_port, USERS) as clients,
        ):
            wait_until(lambda: len(system.online()) == 20, "all online")
            sending = slowly(system.event_port, arrival, 3.0)
            wait_until(lambda: system.state("released") > 15_000, "there is something to load")
            server.kill()
            server.wait()
            with system_server(port, *durable, *slow):
                with redis.Redis(port=port) as client:
                    loading = client.info("persistence")["loading"]
                assert loading == 1, "Redis answers, but it is still loading"
                expect_everything(clients, oracle)
                sending.join(PATIENCE_S)
                assert system.logged("connections_closed") == 0
                system.stop_all()
