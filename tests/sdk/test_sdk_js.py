"""The JavaScript library, run by Node: it passes the conformance kit over WebSocket and over server-sent events."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.js.front import in_front_of
from tests.sdk.test_conformance import NAMES, PATIENCE_S, playing

PROGRAMS = Path(__file__).with_name("js")
SUBSCRIBERS = [name for name, each in NAMES.items() if each["role"] == "subscriber"]
CASES = [(name, "websocket") for name in NAMES] + [(name, "sse") for name in SUBSCRIBERS]
CANT_SAY_BYE = {"passed": False, "problem": "connection 1: the library closed the connection after b''"}
"""Over server-sent events nothing can be said."""


async def node(*arguments: str, given: str = "") -> str:
    """Run a program; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", *arguments),
        cwd=PROGRAMS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        printed, errors = await asyncio.wait_for(process.communicate(given.encode()), 2 * PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (printed + errors).decode()
    return printed.decode()


def wanted(transcript: dict[str, Any]) -> dict[str, Any]:
    if transcript["role"] == "subscriber":
        return {"sees": transcript["sees"], "cursor": transcript["cursor"]}
    return {"gets": [group["gets"] for group in transcript["does"]]}


@pytest.mark.parametrize(("name", "transport"), CASES)
async def test_the_library_passes(name: str, transport: str) -> None:
    transcript = NAMES[name]
    with playing(name) as server:
        async with in_front_of(server.port, transport) as port:
            found = json.loads(await node("play.mjs", transport, str(port), given=json.dumps(transcript)))
            verdict = await asyncio.to_thread(server.verdict)
    received = found.pop("received", 0)
    assert found == wanted(transcript)
    assert received == transcript.get("received", received)
    instead = CANT_SAY_BYE if (name, transport) == ("says-bye", "sse") else {}
    assert verdict == {"transcript": name, "passed": True, "problem": None} | instead
