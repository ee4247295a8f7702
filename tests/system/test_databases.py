"""Deployments that share a Redis: in different databases nobody hears of the other; in one place, `status` says so."""

import json
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from simulator.workload import Workload
from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import generated, peers, source
from tests.support.up import PARADE, clean_environment, parade

pytestmark = pytest.mark.slow

USERS = range(1, 51)


def test_two_databases_two_deployments(server_url: str, namespace: str, tmp_path: Path) -> None:
    """The same users in both, other events for them."""
    other_url = server_url.removesuffix("/0") + "/1"
    with (
        running(server_url, namespace, tmp_path / "log") as one,
        running(other_url, namespace, tmp_path / "other") as other,
        peers(one.client_port, USERS) as clients,
        peers(other.client_port, USERS) as other_clients,
    ):
        sides = [
            (one, clients, *generated(Workload(5_000, 50, 5), USERS)),
            (other, other_clients, *generated(Workload(7_000, 50, 6), USERS)),
        ]
        for system, *_ in sides:
            wait_until(partial(_all_are_online, system), "all users are online")
        for system, _, _, arrival in sides:
            source(system.event_port, arrival)
        for system, listening, oracle, _ in sides:
            for client in listening:
                assert client.user is not None
                client.wait_for(oracle.expected[client.user].bytes[-20:])
                assert client.received == oracle.expected[client.user].bytes
            assert "is missing" not in system.log.read_text(), "no frame of the other one came between"
            assert system.logged("connections_closed") == 0


def _all_are_online(system: Deployment) -> bool:
    return len(system.online()) == len(USERS)


def test_a_tap_hears_its_own_database(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    url = valkey_url.removesuffix("/0") + "/3"
    with running(url, namespace, tmp_path / "log", fanouts=1) as system, peers(system.client_port, [50]) as (user,):
        assert system.keys.broadcast == f"{{{namespace}}}:3:broadcast"
        wait_until(lambda: system.online() == {"50"}, "the user is online")
        command = [PARADE, "tap", "50", "--json", "--redis-url", url, f"--namespace={namespace}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as tap:
            try:
                channel = f"{{{namespace}}}:3:user:50"
                wait_until(lambda: dict(system.redis.pubsub_numsub(channel))[channel] == 2, "the tap listens")
                source(system.event_port, b"1|P|7|50\n2|B\n")
                user.wait_for(b"2|B\n")
                assert tap.stdout is not None
                assert [json.loads(tap.stdout.readline())["line"] for _ in range(2)] == ["1|P|7|50", "2|B"]
            finally:
                tap.kill()


def status(url: str, namespace: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status of `parade status`, and its warnings about settings."""
    done = parade("status", "--json", "--redis-url", url, "--namespace", namespace)
    warnings = json.loads(done.stdout)["warnings"]
    return done.returncode, [each for each in warnings if each["name"] == "settings_differ"]


def test_status_says_when_services_disagree(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, durable=False) as system:
        wait_until(lambda: status(valkey_url, namespace) == (0, []), "all is well")
        other = system.start("sequencer", lease_s=1.5, window_batches=8, event_port=1)
        wait_until(lambda: len(status(valkey_url, namespace)[1]) == 2, "two settings differ")
        code, concerns = status(valkey_url, namespace)
        assert code == 1
        assert [each["severity"] for each in concerns] == ["warning", "warning"]
        texts = [each["text"] for each in concerns]
        assert re.fullmatch(
            r"services disagree: PARADE_LEASE_S is 1.5 for sequencer/\S+ and 2.0 for (fanout|sequencer)/\S+", texts[0]
        )
        assert "PARADE_WINDOW_BATCHES is 8 for " in texts[1]
        other.terminate()
        wait_until(lambda: status(valkey_url, namespace) == (0, []), "all is well again")


def test_status_notes_a_second_deployment_in_the_same_place(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, durable=False) as one,
        Deployment(valkey_url, namespace, tmp_path / "other", durable=False) as other,
    ):
        for service in ("listener", "fanout"):
            other.start(service)
        wait_until(lambda: len(status(valkey_url, namespace)[1]) == 2, "both ports are named")
        _, concerns = status(valkey_url, namespace)
        assert [each["severity"] for each in concerns] == ["notice", "notice"]
        for concern, ports in zip(
            concerns, [(one.event_port, other.event_port), (one.client_port, other.client_port)], strict=True
        ):
            assert all(f"{port} for " in concern["text"] for port in ports)
            assert "different namespaces or databases" in concern["advice"]
        other.stop_all()
