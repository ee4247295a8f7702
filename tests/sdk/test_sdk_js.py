"""The JavaScript library, run by Node: it passes the conformance kit over WebSocket and over server-sent events.

Its unit tests are `node:test` programs of `tests/sdk/js`."""

import asyncio
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.programs import PROGRAMS
from tests.sdk.test_conformance import NAMES, PATIENCE_S, playing

LIBRARY = Path(__file__).parents[2] / "sdk" / "js"
SUBSCRIBERS = [name for name, each in NAMES.items() if each["role"] == "subscriber"]
CASES = [(name, "ws") for name in NAMES] + [(name, "sse") for name in SUBSCRIBERS]
CANT_SAY_BYE = {"passed": False, "problem": "connection 1: the library closed the connection after b''"}
"""Over server-sent events nothing can be said."""


async def node(*arguments: str, given: str = "") -> str:
    """Run a program; returns what it printed."""
    assert shutil.which("node"), "the tests of the JavaScript library need Node 20 or newer"
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
    with playing(name, "--transport", transport) as server:
        found = json.loads(await node("play.mjs", transport, str(server.port), given=json.dumps(transcript)))
        verdict = await asyncio.to_thread(server.verdict)
    received = found.pop("received", 0)
    assert found == wanted(transcript)
    assert received == transcript.get("received", received)
    instead = CANT_SAY_BYE if (name, transport) == ("says-bye", "sse") else {}
    assert verdict == {"transcript": name, "passed": True, "problem": None} | instead


@pytest.mark.parametrize("name", sorted(path.name for path in PROGRAMS.glob("*.test.mjs")))
async def test_of_the_modules(name: str) -> None:
    assert re.search(r"^# fail 0$", await node("--test", "--test-reporter=tap", name), re.MULTILINE)


def loaded_with(name: str) -> set[str]:
    """The modules that are loaded with one."""
    found: set[str] = set()
    to_read = {name}
    while to_read:
        found.add(module := to_read.pop())
        text = (LIBRARY / "src" / module).read_text()
        to_read |= set(re.findall(r'from "\./([a-z]+\.js)"', text)) - found
        assert set(re.findall(r'from "([^"]+)"', text)) == {f"./{each}" for each in re.findall(r'from "\./(.+)"', text)}
    return found


@pytest.mark.parametrize(("name", "most_kib"), [("subscriber.js", 12), ("source.js", 16), ("index.js", 21)])
def test_what_an_application_loads_is_small(name: str, most_kib: int) -> None:
    """As it is sent: each file by itself, with its comments."""
    sizes = {each: len(gzip.compress((LIBRARY / "src" / each).read_bytes())) for each in loaded_with(name)}
    assert sum(sizes.values()) <= most_kib * 1024, sizes


def test_the_package_has_each_module_and_no_dependency() -> None:
    package = json.loads((LIBRARY / "package.json").read_text())
    assert not {name for name in package if "ependencies" in name}
    assert loaded_with("index.js") == {path.name for path in (LIBRARY / "src").glob("*.js")}
    for entry in package["exports"].values():
        assert all((LIBRARY / path).exists() for path in entry.values())


async def test_the_types_name_what_is_exported() -> None:
    program = "console.log(Object.keys(await import(process.argv[1])).join())"
    exported = await node("--input-type=module", "-e", program, str(LIBRARY / "src" / "index.js"))
    typed = re.findall(r"^export (?:class|function) (\w+)", (LIBRARY / "src" / "types.d.ts").read_text(), re.MULTILINE)
    assert sorted(exported.strip().split(",")) == sorted(typed)


def test_the_table_of_errors_has_all_of_them() -> None:
    named = re.findall(r"^\| `(\w+Error)` \|", (LIBRARY / "README.md").read_text(), re.MULTILINE)
    kinds = re.findall(r"^export class (\w+Error)", (LIBRARY / "src" / "errors.js").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(set(kinds) - {"ParadeClientError"})
