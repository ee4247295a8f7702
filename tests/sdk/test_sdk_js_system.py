"""The JavaScript library against a deployment whose nodes and listeners are killed: every event once.

Subscribers run over WebSocket and over server-sent events; the source takes what the listener serves.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.sdk.test_sdk_js import PROGRAMS
from tests.support.deployment import Deployment, running, wait_until
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

ROUNDS = 3
EVENTS_A_ROUND = 200
PATIENCE_S = 120.0


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program for Node, killed when the block ends."""
    pipe = subprocess.PIPE
    command = ["node", "--experimental-websocket", "--no-warnings", *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=PROGRAMS, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()  # wait() alone would wait for somebody to read


async def output(process: asyncio.subprocess.Process) -> list[str]:
    """Everything that it prints, once its input has ended."""
    printed, _ = await asyncio.wait_for(process.communicate(b""), PATIENCE_S)
    assert process.returncode == 0, printed[-500:]
    return printed.decode().splitlines()


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
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0, numbering=numbering) as system:
        processes = {service: start(system, service, port) for service, port in ports.items()}
        async with (
            program("follow.mjs", address["fanout"], "50", "websocket") as one,
            program("follow.mjs", address["fanout"], "51", "sse") as other,
            program("publish.mjs", address["listener"], *producer) as source,
        ):
            for feed in (one, other):
                assert feed.stdout is not None
                assert await asyncio.wait_for(feed.stdout.readline(), PATIENCE_S) == b"open\n"
            assert source.stdin is not None
            source.stdin.write(b"go\n")
            await asyncio.to_thread(kill_in_turn, system, ports, processes)
            (sent,) = await output(source)
            found = [await output(feed) for feed in (one, other)]
    payloads = [*map(str, range(1, int(sent))), "the last one"]
    owed = [f"{seq}|B|{payload}" for seq, payload in enumerate(payloads, 1)]
    assert len(owed) > 2 * ROUNDS * EVENTS_A_ROUND
    assert found == [owed, owed]
