"""The Python library passes the conformance kit: each transcript is played to it by the scripted server."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parade_client import (
    DeniedError,
    Event,
    FencedError,
    ParadeClientError,
    ProtocolError,
    RefusedError,
    Reset,
    Source,
    Subscriber,
    parse_event,
)

KIT = Path(__file__).parents[2] / "sdk" / "conformance"
TRANSCRIPTS = json.loads((KIT / "transcripts.json").read_text())
NAMES = {each["name"]: each for each in TRANSCRIPTS}
PATIENCE_S = 60.0
ERRORS = {"protocol": ProtocolError, "denied": DeniedError, "fenced": FencedError}
USERS = ("follower", "sender", "author", "followed", "recipient")


class Server:
    """The scripted server; `port` is where it listens."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.port = int(self._next()["listening"])

    def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def verdict(self) -> dict[str, Any]:
        """What it says in the end."""
        while "passed" not in (said := self._next()):
            pass
        assert self.process.wait(PATIENCE_S) == (0 if said["passed"] else 1)
        return said


@contextmanager
def playing(name: str, *options: str) -> Iterator[Server]:
    command = [sys.executable, str(KIT / "server.py"), name, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def seen(item: Event | Reset, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the application saw, in the words of the transcript, with as much detail as is wanted."""
    if isinstance(item, Reset):
        return {"reset": item.position, "reason": item.reason}
    found: dict[str, Any] = {"line": item.line.decode("latin-1")}
    if "kind" in wanted:
        found["kind"] = re.sub(r"\B([A-Z])", r" \1", type(item).__name__).lower()
        found["seq"] = item.seq
        found["users"] = [getattr(item, name) for name in USERS if hasattr(item, name)]
        found["payload"] = None if item.payload is None else item.payload.decode("latin-1")
    return found


def name_of(error: ParadeClientError) -> str:
    return next(name for name, kind in ERRORS.items() if isinstance(error, kind))


async def follow(transcript: dict[str, Any], address: str) -> None:
    """The application of a transcript for subscribers."""
    feed = Subscriber(address, transcript["user"], transcript["after"], patience_s=PATIENCE_S)
    found: list[dict[str, Any]] = []
    try:
        async with feed:
            while len(found) < len(transcript["sees"]):
                found.append(seen(await anext(feed), transcript["sees"][len(found)]))
            if transcript.get("ends") == "bye":
                await feed.bye()
    except (ProtocolError, DeniedError) as error:
        found.append({"error": name_of(error)})
    assert found == transcript["sees"]
    assert feed.cursor == transcript["cursor"]


async def outcome(source: Source, line: str) -> str:
    try:
        await source.send(parse_event(line.encode("latin-1") + b"\n"))
    except RefusedError as refusal:
        return f"refused {refusal.reason}"
    except (ProtocolError, FencedError, DeniedError) as error:
        return f"error {name_of(error)}"
    return "taken"


async def feed(transcript: dict[str, Any], address: str) -> None:
    """The application of a transcript for sources."""
    source = Source(address, transcript["producer"], patience_s=PATIENCE_S)
    failed = False
    try:
        async with source:
            for group in transcript["does"]:
                outcomes = await asyncio.gather(*(outcome(source, line) for line in group["send"]))
                assert outcomes == group["gets"]
                failed = any(each.startswith("error") for each in outcomes)
    except (ProtocolError, FencedError):
        assert failed, "leaving the block says again what failed, and nothing else"
    if "received" in transcript:
        assert source.received == transcript["received"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_the_library_passes(transport: str, name: str) -> None:
    transcript = NAMES[name]
    application = follow if transcript["role"] == "subscriber" else feed
    with playing(name, "--transport", transport) as server:
        address = f"{'parade' if transport == 'tcp' else 'ws'}://127.0.0.1:{server.port}"
        await asyncio.wait_for(application(transcript, address), 2 * PATIENCE_S)
        assert await asyncio.to_thread(server.verdict) == {"transcript": name, "passed": True, "problem": None}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"51 after=now\n", "expected '50 after=now', and it said '51 after=now'"),
        (b"50 aft", "the library closed the connection after b'50 aft'"),
        (b"50 after=now\n50\n", "expected that the library closes, and it said b'50\\n'"),
    ],
)
async def test_the_server_notices_a_library_that_says_something_else(said: bytes, problem: str) -> None:
    with playing("every-kind") as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        writer.write_eof()
        verdict = await asyncio.to_thread(server.verdict)
        writer.close()
    assert verdict == {"transcript": "every-kind", "passed": False, "problem": f"connection 1: {problem}"}


async def test_the_server_notices_a_connection_too_few() -> None:
    with playing("busy", "--patience", "0.5") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"50 after=now\n")
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"BYE busy 100\n"
        writer.close()
        verdict = await asyncio.to_thread(server.verdict)
    assert verdict["problem"] == "connection 2 did not come within 0.5 s"


def test_the_readme_of_the_kit_explains_each_word_of_the_table() -> None:
    assert len(NAMES) == len(TRANSCRIPTS)
    readme = (KIT / "README.md").read_text()
    words = {key for each in TRANSCRIPTS for key in each}
    words |= {key for each in TRANSCRIPTS for steps in each["connections"] for step in steps for key in step}
    words |= {key for each in TRANSCRIPTS for item in each.get("sees", each.get("does")) for key in item}
    words |= {item["error"] for each in TRANSCRIPTS for item in each.get("sees", []) if "error" in item}
    words |= {got.split()[0] for each in TRANSCRIPTS for group in each.get("does", []) for got in group["gets"]}
    assert {word for word in words if not re.search(rf"`{word}\b", readme)} == set()


def test_the_server_lists_the_transcripts() -> None:
    command = [sys.executable, str(KIT / "server.py"), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(NAMES)
