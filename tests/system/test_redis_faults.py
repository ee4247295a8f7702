"""Redis refuses writes, is full, loads for a long time, or cuts off a subscriber: the stream continues without loss."""

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
from tests.support.up import parade

pytestmark = pytest.mark.slow

USERS = range(1, 21)


@pytest.fixture
def separate_port(program: Program, tmp_path: Path) -> Iterator[int]:
    """The port of a server for one test, which changes its configuration."""
    port = free_port()
    (tmp_path / "data").mkdir()
    with server_of(program, port, "--dir", str(tmp_path / "data")):
        yield port


def url_of(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def test_a_full_memory_stops_the_sources_and_nothing_else(separate_port: int, namespace: str, tmp_path: Path) -> None:
    with (
        running(url_of(separate_port), namespace, tmp_path / "log", node_silence_s=2, lease_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        source(system.event_port, b"1|B\n")
        user.wait_for(b"1|B\n")
        system.redis.config_set("maxmemory", "1")
        source(system.event_port, b"2|B\n")
        with peers(system.client_port, [2]) as (late,):
            wait_until(lambda: system.logged("joins_wait") >= 3, "the node can't post a join")
            wait_until(lambda: '"reason": "OOM' in system.log.read_text(), "the listener logs why it waits")
            before = system.state("batch")
            wait_until(lambda: system.state("batch") > before + 2, "batches are still committed")
            assert system.logged("node_expelled") == 0
            system.redis.config_set("maxmemory", "0")
            user.wait_for(b"1|B\n2|B\n")
            wait_until(lambda: system.online() == {"1", "2"}, "the late user is online")
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
def test_redis_refuses_writes_for_a_while(separate_port: int, namespace: str, tmp_path: Path, error: str) -> None:
    begin, end = REFUSALS[error]
    oracle, arrival = generated(Workload(40_000, 40, 6), USERS)
    with (
        running(url_of(separate_port), namespace, tmp_path / "log") as system,
        peers(system.client_port, USERS) as clients,
    ):
        wait_until(lambda: len(system.online()) == 20, "all users are online")
        sending = slowly(system.event_port, arrival, 3.0)
        wait_until(lambda: system.state("released") > 2000, "events flow")
        system.redis.execute_command(*begin.split())
        wait_until(lambda: system.logged("redis_away") == 4, "every service notices")
        assert f'"reason": "{error}' in system.log.read_text()
        system.redis.execute_command(*end.split())
        expect_everything(clients, oracle)
        sending.join(PATIENCE_S)
        assert system.logged("connections_closed") == 0


def test_a_subscriber_that_redis_cuts_off_reads_the_journal(separate_port: int, namespace: str, tmp_path: Path) -> None:
    """Redis disconnects a node that is paused for too long and drops what it had buffered for it.

    With the default window Redis never buffers that much, so the window is wider here.
    """
    lines = b"".join(b"%d|P|%d|1\n" % (number, 10**19) for number in range(2, 400_001))
    wide = {"window_bytes": 100 * MIB, "window_batches": 10_000, "node_silence_s": 30}
    with running(url_of(separate_port), namespace, tmp_path / "log", fanouts=1, **wide) as system:
        system.redis.config_set("client-output-buffer-limit", "pubsub 32768 0 0")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
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
    assert redis_url  # requires redis-server
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
            wait_until(lambda: len(system.online()) == 20, "all users are online")
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


@pytest.mark.parametrize("released", [2, 400])
def test_a_state_that_vanishes_ends_the_connections_and_clients_are_served_again(
    released: int, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """The next term begins a new history. Its frames are not those that the nodes know, which must not make them deaf.

    With few batches before, the new history has soon as many as the nodes have heard.
    """
    with running(valkey_url, namespace, tmp_path / "log") as system:
        with peers(system.client_port, [1, 2]) as users:
            wait_until(lambda: system.online() == {"1", "2"}, "both users are online")
            for number in range(1, released + 1):
                source(system.event_port, b"%d|B\n" % number)
            for user in users:
                user.wait_for(b"%d|B\n" % released)
            before = system.redis.hget(system.keys.state, "history")
            system.redis.delete(system.keys.state)
            for user in users:
                assert user.wait_until_closed().count(b"\n") == released
        wait_until(lambda: system.redis.hget(system.keys.state, "history"), "a new history begins")
        assert system.redis.hget(system.keys.state, "history") != before
        wait_until(lambda: not system.online(), "the nodes' former ids are expelled, with their users")
        with peers(system.client_port, [1, 2]) as users:
            wait_until(lambda: system.online() == {"1", "2"}, "both users are online again")
            source(system.event_port, b"2|P|9|2\n1|B\n3|B\n")
            for user in users:
                user.wait_for(b"3|B\n")
            assert [user.received for user in users] == [b"1|B\n3|B\n", b"1|B\n2|P|9|2\n3|B\n"]


def test_nodes_that_outlive_a_reset_serve_the_new_deployment(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            (sequencer,) = system.of("sequencer")
            sequencer.terminate()
            sequencer.wait(10)
            done = parade("reset", "--yes", "--redis-url", valkey_url, "--namespace", namespace)
            assert done.returncode == 0, done.stderr
            assert user.wait_until_closed() == b"1|B\n"
        system.start("sequencer")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online again")
            source(system.event_port, b"1|B\n2|B\n")
            user.wait_for(b"2|B\n")
            assert user.received == b"1|B\n2|B\n"
