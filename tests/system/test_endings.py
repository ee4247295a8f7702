"""A service that can't continue ends immediately with one line and status 1, instead of running without working."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import ROOT, Deployment, wait_until
from tests.support.peers import peers

SERVICES = ("listener", "sequencer", "fanout")
BROKEN_REPORTER = """
import runtime.report
runtime.report.as_json = lambda stats: {}[stats.__class__.__name__]
from %(service)s.__main__ import main
from runtime.service import run
run("%(service)s", main)
"""
BROKEN_CALLBACK = """
import asyncio
from runtime.service import run

async def main(context, stop):
    asyncio.get_running_loop().call_soon(int, "junk")
    await stop.wait()

run("service", main)
"""


def error_output(command: list[str]) -> str:
    """The standard error of a program that must exit by itself with status 1."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("url", ["nonsense://127.0.0.1/0", "redis://127.0.0.1:port/0"])
def test_an_invalid_redis_url_ends_each_service(service: str, url: str) -> None:
    ports = ["--event-port", "0", "--client-port", "0", "--log-level", "error"]
    output = error_output(["-m", service, "--redis-url", url, *ports])
    assert len(output.splitlines()) == 1, output
    assert re.match(rf"{service}: \S+ is not a Redis URL: ", output)


@pytest.mark.parametrize("service", SERVICES)
def test_a_part_that_fails_ends_its_service(service: str, valkey_url: str, namespace: str) -> None:
    """The failing part is the reporter, whose result no other part needs."""
    options = ["--redis-url", valkey_url, "--namespace", namespace, "--log-level", "error"]
    ports = ["--event-port", "0", "--client-port", "0"]
    output = error_output(["-c", BROKEN_REPORTER % {"service": service}, *options, *ports])
    logged, line = output.splitlines()
    assert line.startswith(f"{service}: internal error: KeyError: '{service.capitalize()}Stats'")
    assert json.loads(logged)["event"] == "internal_error"
    assert "Traceback" in json.loads(logged)["exception"]


def test_a_callback_that_fails_ends_its_service() -> None:
    logged, line = error_output(["-c", BROKEN_CALLBACK, "--log-level", "error"]).splitlines()
    assert line.startswith("service: internal error: ValueError: invalid literal for int()")
    assert "Traceback" in json.loads(logged)["exception"]


def test_clients_are_closed_when_a_node_ends_by_itself(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log", rebalance=True) as system:
        system.start("sequencer")
        wait_until(system.sequencer, "a sequencer leads")
        late = BROKEN_REPORTER.replace("{}[stats.__class__.__name__]", "{}[0] if stats.connections else {}")
        node = system.start_command([sys.executable, "-c", late % {"service": "fanout"}])
        wait_until(lambda: system.logged("node_entered") == 1, "a node is known")
        with peers(system.client_port, [1]) as (user,):
            assert user.wait_until_closed() == b""
        assert node.wait(10) == 1
        wait_until(
            lambda: not system.redis.hlen(system.keys.nodes), "the node has left, so the sequencer does not wait for it"
        )
