"""The JavaScript library against a deployment whose nodes and listeners are killed: every event once.

Subscribers run over WebSocket and over server-sent events; the source takes what the listener serves.
"""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.sdk.programs import begin, is_open, output, program
from tests.support.deployment import Deployment, running, wait_until
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

ROUNDS = 3
EVENTS_A_ROUND = 200
PATIENCE_S = 120.0


def start(system: Deployment, service: str, port: int) -> "subprocess.Popen[bytes]":
    """A node or a listener with a web port; returns when it serves."""
    opened = f'"port": {port}'
    before = system.log.read_text().count(opened)
    process = system.start(service, web_port=port)
    wait_until(lambda: system.log.read_text().count(opened) > before, f"the web port of a {service} is open")
    return process


def flows(system: Deployment) -> None:
    """Wait until so many more events are released."""
    wanted = system.state("released") + EVENTS_A_ROUND
    wait_until(lambda: system.state("released") > wanted, "events flow", PATIENCE_S)


def kill_in_turn(system: Deployment, ports: dict[str, int], running_now: dict[str, "subprocess.Popen[bytes]"]) -> None:
    """Kill the node and the listener, again and again while events flow, and start others."""
    for _ in range(ROUNDS):
        for service, port in ports.items():
            flows(system)
            running_now[service].kill()
            running_now[service].wait()
            running_now[service] = start(system, service, port)


@pytest.mark.parametrize("numbering", ["sources", "parade"])
async def test_every_event_comes_once_while_nodes_and_listeners_are_killed(
    numbering: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    ports = {"fanout": free_port(), "listener": free_port()}
    address = {service: f"http://127.0.0.1:{port}" for service, port in ports.items()}
    producer = ["orders-7"] if numbering == "parade" else []
    name = "orders-7 " if producer else ""
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0, numbering=numbering) as system:
        processes = {service: start(system, service, port) for service, port in ports.items()}
        async with (
            program("follow.mjs", address["fanout"], "50", "websocket") as one,
            program("follow.mjs", address["fanout"], "51", "sse") as other,
            program("publish.mjs", address["listener"], *producer) as source,
        ):
            for feed in (one, other):
                await is_open(feed, PATIENCE_S)
            await begin(source)
            await asyncio.to_thread(kill_in_turn, system, ports, processes)
            (sent,) = await output(source, PATIENCE_S)
            found = [await output(feed, PATIENCE_S) for feed in (one, other)]
    payloads = [*(f"{name}{number}" for number in range(1, int(sent))), "the last one"]
    owed = [f"{seq}|B|{payload}" for seq, payload in enumerate(payloads, 1)]
    assert len(owed) > 2 * ROUNDS * EVENTS_A_ROUND
    assert found == [owed, owed]
