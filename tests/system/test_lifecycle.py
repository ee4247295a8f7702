"""Health, draining, rebalancing, and connections through a load balancer."""

import json
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import LOOPBACK, Audience, Peer, has_ending, health, peers, source
from tests.support.servers import free_port, system_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("service", ["listener", "sequencer", "fanout"])
def test_readiness_follows_redis(service: str, redis_url: str, namespace: str, tmp_path: Path) -> None:
    assert redis_url  # requires redis-server
    port, health_port = free_port(), free_port()
    url = f"redis://127.0.0.1:{port}/0"
    options = ("--dir", str(tmp_path))
    with Deployment(url, namespace, tmp_path / "log", health_port=health_port) as system:
        system.start(service)
        wait_until(lambda: health(health_port, "/livez") == (200, {"alive": True}), "the service is alive")
        status, body = health(health_port)
        assert status == 503
        assert body["ready"] is False
        for _ in range(2):
            with system_server(port, *options):
                wait_until(lambda: health(health_port)[0] == 200, "the service is ready")
                assert health(health_port)[1]["reasons"] == []
            wait_until(lambda: health(health_port)[0] == 503, "the service is not ready")
            assert "Redis" in str(health(health_port)[1]["reasons"])


def test_the_listener_reports_where_to_continue(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", first_sequence=7) as system:
        port = free_port()
        system.start("listener", health_port=port)
        wait_until(lambda: health(port)[0] == 200, "the service is ready")
        source(system.event_port, b"7|B\n9|B\n")
        facts = {"next": 8, "backlog": 0, "waiting": 1}
        wait_until(lambda: facts.items() <= health(port)[1].items(), "the position is reported")


def test_a_draining_node_serves_its_clients_to_the_last(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0) as system, Audience() as audience:
        node = system.start("fanout", drain_s=2, health_port=port)
        wait_until(lambda: health(port)[0] == 200, "the service is ready")
        clients = [audience.add(Peer(system.client_port, user)) for user in range(1, 21)]
        wait_until(lambda: len(system.online()) == 20, "all users are online")
        node.send_signal(signal.SIGTERM)
        wait_until(lambda: health(port) == (503, {"ready": False, "reasons": ["the node drains"]}), "not ready")
        with pytest.raises(ConnectionError):
            Peer(system.client_port, 99)
        sent = b""
        closing_times = set()
        for number in range(1, 1000):
            line = b"%d|B\n" % number
            source(system.event_port, line)
            sent += line
            time.sleep(0.05)
            closed = sum(client.closed for client in clients)
            closing_times.add(closed)
            if closed == 20:
                break
        assert len(closing_times) > 10, "the connections are closed one after another"
        assert node.wait(5) == 0
        for client in clients:
            assert not client.reset
            assert sent.startswith(client.received)
            assert client.received.endswith(b"\n") or not client.received
        wait_until(
            lambda: system.online() == set() and system.redis.hlen(system.keys.nodes) == 0,
            "no user and no node is left",
        )


def test_a_fuller_node_closes_some_connections(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0, rebalance=True) as system, Audience() as audience:
        system.start("fanout")
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 1, "a node is known")
        first = [audience.add(Peer(system.client_port, user)) for user in range(1, 61)]
        wait_until(lambda: len(system.online()) == 60, "all users are online")
        port = free_port()
        system.start("fanout", client_port=port)
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 2, "a second node is known")
        moved: set[Peer] = set()

        def settled() -> bool:
            for peer in first:
                if peer.closed and peer not in moved:
                    moved.add(peer)
                    assert peer.user is not None
                    audience.add(Peer(port, peer.user))  # what a balancer would do
            return len(moved) >= 14  # 46 and 14: no longer clearly more than the average of 30

        wait_until(settled, "connections move to the emptier node")
        wait_until(lambda: len(system.online()) == 60, "all users are online again")
        time.sleep(2.5)
        assert settled()
        assert len(moved) == 14
        assert not any(peer.reset for peer in moved)


def test_connections_through_a_balancer(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 9099\r\n"
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, proxy_protocol=True, log_level="debug") as system,
        Audience() as audience,
    ):
        client = audience.add(Peer(system.client_port))
        for byte in line + b"5\n":
            client.send(bytes([byte]))
        wait_until(lambda: system.online() == {"5"}, "the user is online")
        source(system.event_port, line + b"1|B\n")
        source(system.event_port, b"2|B\n")
        source(system.event_port, line + b"2|P|1|5\n")
        wait_until(partial(has_ending, client, b"1|B\n2|P|1|5\n"), "only events of sources behind the balancer arrive")
        assert '"peer": "192.0.2.7:56324", "user": "5"' in system.log.read_text()
        with peers(system.client_port, [6]) as (stranger,):
            assert stranger.wait_until_closed().startswith(b"ERROR ")


def test_a_stopping_listener_reads_what_was_sent(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    lines = b"".join(b"%d|B\n" % number for number in range(1, 200_001))
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        with socket.create_connection((LOOPBACK, system.event_port)) as connection:
            connection.sendall(lines)
            (listener,) = system.of("listener")
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(10) == 0
        wait_until(lambda: system.state("next") == 200_001, "everything sent is released")


def test_without_a_sequencer_a_node_and_a_full_listener_are_not_ready(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    node_port, listener_port = free_port(), free_port()
    limits = {"lease_s": 1, "tick_s": 0.5, "backlog_bytes": 4096}
    with Deployment(valkey_url, namespace, tmp_path / "log", **limits) as system:
        system.start("fanout", health_port=node_port)
        system.start("listener", health_port=listener_port)
        wait_until(lambda: health(node_port)[0] == 200, "the node is ready at first")
        wait_until(lambda: health(listener_port)[0] == 200, "the listener is ready")
        wait_until(lambda: "no sequencer has been heard" in str(health(node_port)[1]), "the node reports it")
        assert health(node_port)[0] == 503
        source(system.event_port, b"1|B\n" * 3000)
        wait_until(lambda: "the stream is full" in str(health(listener_port)[1]), "the listener reports it")
        assert health(listener_port)[0] == 503
        system.start("sequencer")
        wait_until(lambda: {health(port)[0] for port in (node_port, listener_port)} == {200}, "ready again")
        system.stop_all()


def test_every_service_reports_in_redis(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log") as system:
        system.start("sequencer")
        kinds = ["fanout", "fanout", "listener", "sequencer", "sequencer"]
        wait_until(lambda: sorted(name.split("/")[0] for name in reports(system)) == kinds, "all services report")
        wait_until(
            lambda: [r["role"] for r in reports(system).values() if "role" in r].count("standby") == 1,
            "one sequencer is a standby",
        )
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n2|B\n")
            user.wait_for(b"2|B\n")
            wanted = {("received_lines", 2), ("released", 2), ("notifications", 2), ("connections", 1)}
            wait_until(lambda: wanted <= _numbers(reports(system)), "the counts are reported")
        assert {r["node"] for name, r in reports(system).items() if name.startswith("fanout")} == set(
            system.redis.hkeys(system.keys.nodes)
        )
        for process in system.of("listener"):
            process.terminate()
            process.wait()
        assert not any(name.startswith("listener") for name in reports(system)), (
            "the report of a stopped service is removed"
        )


def reports(system: Deployment) -> dict[str, dict[str, Any]]:
    """The reports of all services."""
    found = system.redis.hgetall(system.keys.services)
    return {name: json.loads(report.split(" ", 1)[1]) for name, report in found.items()}


def _numbers(found: dict[str, dict[str, Any]]) -> set[tuple[str, int]]:
    return {(name, value) for report in found.values() for name, value in report.items() if isinstance(value, int)}
