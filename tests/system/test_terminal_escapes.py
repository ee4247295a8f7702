"""Bytes from peers and from Redis reach a terminal only as printable text."""

import base64
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from contract.frames import Frame, Lineage
from contract.keys import Keys
from tests.support.deployment import ROOT, Deployment, wait_until
from tests.support.servers import free_port
from tests.support.terminal import on_terminal
from tests.support.up import PARADE, clean_environment, parade, started

HOSTILE = b"\x1b]0;owned\x07\xc2\x9b2J\x9b3J\xe2\x80\xae\x7f[red]:smile:"
"""Sets the window title, clears the screen (C1 as a character and as a byte), reverses text, deletes; plus markup."""
SHEXPECTED_CODES = r"\x1b]0;owned\x07\u009b2J\x9b3J\u202e\x7f[red]:smile:"
FRESH_MS = 3_600_000
"""How far a report is dated into the future, so that it stays fresh during the test."""
EXPECTED_CODES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r\n")
"""What Parade's programs send to a terminal: styles, cursor and screen control, and line ends."""


def assert_harmless(output: bytes) -> str:
    """The text sent to a terminal, without styles; only printable characters may remain."""
    text = EXPECTED_CODES.sub(lambda found: b"\n" if found[0] == b"\r\n" else b"", output).decode()
    odd = {character for character in text if not character.isprintable()} - {"\n"}
    assert not odd, f"{odd} in {output!r}"
    return text


class Target:
    """A namespace on a server, and the commands that show it."""

    def __init__(self, url: str, namespace: str) -> None:
        self.options = ["--redis-url", url, "--namespace", namespace]
        self.keys = Keys(namespace)
        self.redis: Any = redis.Redis.from_url(url)

    def shown(self, *command: str, twice: str | None = None) -> str:
        """What a command shows on a terminal, until it exits or has shown the text `twice`."""
        enough = (lambda output: output.count(twice.encode()) == 2) if twice else (lambda _: False)
        environment = {"TERM": "xterm-256color", "COLUMNS": "400", "LINES": "60"}
        return assert_harmless(on_terminal([PARADE, *command, *self.options], enough, environment=environment))


@pytest.fixture
def target(valkey_url: str, namespace: str) -> Iterator[Target]:
    subject = Target(valkey_url, namespace)
    yield subject
    subject.redis.close()


@pytest.fixture
def poisoned(target: Target) -> Target:
    """A deployment with hostile bytes in every key that is shown."""
    seconds, _ = target.redis.time()
    now_ms = seconds * 1000
    name = b"fanout/" + HOSTILE
    facts = {"node": HOSTILE.decode(errors="surrogateescape"), "not_ready": ["\x1b]0;owned\x07\x9b2J\u202e"]}
    target.redis.hset(target.keys.services, name, b"%d %b" % (now_ms + FRESH_MS, json.dumps(facts).encode()))
    target.redis.hset(target.keys.services, b"listener/" + HOSTILE, b"%d {}" % (now_ms - 20_000))
    target.redis.hset(target.keys.nodes, HOSTILE, b"1 %d 1 0" % (now_ms + FRESH_MS))
    target.redis.set(target.keys.lease, HOSTILE)
    target.redis.hset(target.keys.state, mapping={"next": 3, "epoch": "e"})
    target.redis.xadd(target.keys.rejected, {"reason": HOSTILE, "line": HOSTILE + b"\r\n"})
    target.redis.sadd(target.keys.online.encode() + HOSTILE, "50")
    target.redis.sadd(target.keys.followers + "50", HOSTILE)
    return target


def test_the_check_notices_raw_control_characters(poisoned: Target) -> None:
    """The same bytes, printed by a program that escapes nothing, fail the check."""
    raw = poisoned.redis.get(poisoned.keys.lease)
    output = on_terminal([sys.executable, "-c", f"import os; os.write(1, {raw!r})"])
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        assert_harmless(output)


@pytest.mark.slow
def test_keys_in_redis(poisoned: Target) -> None:
    for command in ("rejected", "graph 50"):
        assert SHEXPECTED_CODES in poisoned.shown(*command.split())
    for text in (poisoned.shown("status"), poisoned.shown("top", "--seconds", "2")):
        assert f"{SHEXPECTED_CODES} sequences" in text
        assert f"listener/{SHEXPECTED_CODES} is gone" in text
        assert f"fanout/{SHEXPECTED_CODES} is not ready: \\x1b]0;owned\\x07\\u009b2J\\u202e" in text
        assert "\\x1b]0;owned" in text
    assert f"{SHEXPECTED_CODES} is sequencing" in poisoned.shown("reset", "--yes")
    for command in ("rejected --json", "graph 50 --json", "status --json"):
        assert json.dumps(SHEXPECTED_CODES)[1:-1] in poisoned.shown(*command.split())


def test_errors_that_quote_redis(poisoned: Target) -> None:
    poisoned.redis.hset(poisoned.keys.state, "epoch", HOSTILE)
    assert SHEXPECTED_CODES in poisoned.shown("status")
    poisoned.redis.hset(poisoned.keys.nodes, HOSTILE, HOSTILE)
    assert SHEXPECTED_CODES in poisoned.shown("skip")


def test_published_messages(poisoned: Target) -> None:
    for options in ([], ["--json"]):
        with started("tap", "--all", *options, *poisoned.options) as tap:
            assert tap.stdout is not None
            wait_until(lambda: poisoned.redis.pubsub_numpat() > 0, "the tap has subscribed")
            poisoned.redis.publish(poisoned.keys.user.encode() + HOSTILE, b"1|P|2|" + HOSTILE + b"\n" + HOSTILE + b"\n")
            poisoned.redis.publish(poisoned.keys.broadcast, Frame(1, b"1-1", 0, 2, Lineage(b"e", b""), 1).encode())
            lines = [tap.stdout.readline() for _ in range(2)]
            assert all(line.removesuffix("\n").isprintable() for line in lines), lines
            assert SHEXPECTED_CODES in "".join(lines).replace("\\\\", "\\")
        wait_until(lambda: poisoned.redis.pubsub_numpat() == 0, "the tap has unsubscribed")


def test_exported_and_listed_lines_have_the_exact_bytes(poisoned: Target, tmp_path: Path) -> None:
    file = tmp_path / "rejected.jsonl"
    assert parade("rejected", "--export", str(file), *poisoned.options).returncode == 0
    exported = file.read_bytes()
    assert re.fullmatch(rb"[ -~]*\n", exported)
    assert exported.decode() == parade("rejected", "--json", *poisoned.options).stdout
    entry = json.loads(exported)
    assert base64.b64decode(entry["line_base64"]) == HOSTILE + b"\r\n"
    assert (entry["line"], entry["reason"]) == (SHEXPECTED_CODES, SHEXPECTED_CODES)


def test_lines_of_a_source_as_they_arrive(target: Target, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log") as deployment:
        deployment.start_all(fanouts=1)
        with socket.create_connection(("127.0.0.1", deployment.event_port), 5) as source:
            source.sendall(HOSTILE + b"\n" + HOSTILE)
        wait_until(lambda: target.redis.xlen(target.keys.rejected) == 2, "both lines are recorded")
        text = target.shown("rejected", "--follow", twice=SHEXPECTED_CODES)
    assert "not an event" in text
    assert "no line end" in text


@pytest.mark.parametrize(("service", "setting"), [("listener", "event_port"), ("fanout", "client_port")])
def test_addresses_from_a_balancer_in_the_log(service: str, setting: str, target: Target) -> None:
    port = free_port()
    options = ["--redis-url", target.options[1], "--namespace", target.keys.namespace, "--proxy-protocol"]
    options += [f"--{setting.replace('_', '-')}", str(port)]
    sent: list[bool] = []

    def enough(output: bytes) -> bool:
        if b"listening" in output and not sent:
            sent.append(True)
            with socket.create_connection(("127.0.0.1", port), 5) as peer:
                peer.sendall(b"PROXY TCP4 " + HOSTILE + b" 1.1.1.1 " + HOSTILE + b" 2\r\n\x1b]2;user\r\n")
        return b"_refused" in output or b"source_connected" in output

    command = [sys.executable, "-m", service, *options]
    text = assert_harmless(on_terminal(command, enough, folder=ROOT, environment={"TERM": "xterm"}))
    assert f"{SHEXPECTED_CODES}:{SHEXPECTED_CODES}" in text


def test_errors_that_quote_arguments() -> None:
    url = "redis://127.0.0.1:1/0"
    for command in (
        [PARADE, "tap", HOSTILE, "--redis-url", url],
        [PARADE, "graph", HOSTILE, "--redis-url", url],
        [PARADE, "status", "--redis-url", url, "--namespace", HOSTILE + b" "],
        [sys.executable, "-m", "listener", "--log-level", HOSTILE],
    ):
        done = subprocess.run(command, capture_output=True, env=clean_environment(), cwd=ROOT, check=False)  # type: ignore[arg-type]
        assert done.returncode == 1
        assert_harmless(done.stderr.replace(b"\n", b"\r\n"))
        assert "\\x1b]0;owned" in done.stderr.decode()
