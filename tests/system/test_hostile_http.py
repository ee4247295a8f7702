"""Peers on the health port can't use up what clients need, nor lock out the balancer and Prometheus."""

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime.edge.admission import HEALTH_CONNECTIONS
from tests.support.deployment import ROOT, Deployment, running, wait_until
from tests.support.peers import Honest, connect, health, is_closed, peers
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

HALF = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n"
FILES = 256


def serve_health(system: Deployment, service: str, **settings: object) -> int:
    """Start a service with few open files and a health port; returns the port."""
    port = free_port()
    system.start(service, open_files=FILES, health_port=port, **settings)
    wait_until(lambda: health(port)[0] == 200, "the service is ready")
    return port


def half_request(port: int) -> socket.socket:
    """Connect and send half of a request; slowly enough that the kernel does not refuse connections."""
    connection = connect(port)
    connection.sendall(HALF)
    time.sleep(0.002)
    return connection


@pytest.mark.parametrize("service", ["listener", "fanout"])
def test_halves_of_requests_do_not_use_up_the_open_files(
    service: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=int(service == "listener")) as system:
        if service == "listener":
            (other,) = system.of("listener")
            other.terminate()
            other.wait()
        port = serve_health(system, service)
        with Honest(system) as honest, ExitStack() as stack:
            halves = [stack.enter_context(half_request(port)) for _ in range(FILES)]
            honest.is_served()
            with peers(system.client_port, range(1, 51)):
                wait_until(lambda: len(system.online()) == 51, "clients connect as always")
            assert health(port)[0] == 200
            assert health(port, "/livez")[0] == 200
            for half in halves:
                assert is_closed(half), "the remaining ones are closed after a while, too"
        wait_until(lambda: system.occurred("http_cut_off") == FILES, "each one is counted")
        assert system.logged("http_cut_off") < 30
        assert "Too many open files" not in system.log.read_text()


def test_full_of_clients_the_health_port_still_answers(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0) as system:
        port = serve_health(system, "fanout", registration_s=60)
        with ExitStack() as stack:
            for _ in range(2 * FILES):
                stack.enter_context(connect(system.client_port))
            wait_until(lambda: system.occurred("client_refused") == FILES + 128, "the node is full")
            for _ in range(2 * HEALTH_CONNECTIONS):
                stack.enter_context(half_request(port))
            assert health(port)[0] == 200
            system.redis.client_kill_filter(_type="pubsub")
            wait_until(lambda: system.logged("node_resumed") == 1, "the node can reconnect to Redis")
        assert "Too many open files" not in system.log.read_text()


def test_the_health_port_is_on_loopback_for_any_public_host(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    with Deployment(valkey_url, namespace, tmp_path / "log", health_port=port, host="0.0.0.0") as system:  # noqa: S104
        system.start("sequencer")
        wait_until(lambda: health(port)[0] == 200, "ready on 127.0.0.1")
        assert health(port, host="127.0.0.2")[0] == 0
        other = free_port()
        system.start("sequencer", health_port=other, health_host="127.0.0.2")
        wait_until(lambda: health(other, host="127.0.0.2")[0] == 200, "ready on 127.0.0.2")
        assert health(other)[0] == 0
        system.stop_all()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"])  # noqa: S104
def test_the_probe_uses_the_configured_host_and_port(
    host: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    place = {"PARADE_HEALTH_HOST": host, "PARADE_HEALTH_PORT": str(free_port())}

    def probe() -> int:
        command = [sys.executable, "-m", "runtime.probe"]
        return subprocess.run(command, env=place, cwd=ROOT, capture_output=True, check=False).returncode

    with Deployment(valkey_url, namespace, tmp_path / "log") as system:
        assert probe() == 1
        system.start("sequencer", health_host=host, health_port=place["PARADE_HEALTH_PORT"])
        wait_until(lambda: probe() == 0, "the probe reports ready")
        system.stop_all()
