"""A Redis user without a right: each service and command names it, and continues once it is granted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, redis_at, refusal_of_sequencer, wait_until
from tests.support.peers import peers, source
from tests.support.servers import free_port, system_server
from tests.support.up import parade

pytestmark = pytest.mark.slow


class RestrictedRedis:
    """A server with a user `parade`, whose rights can be changed."""

    def __init__(self, port: int, namespace: str) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.as_user = f"redis://parade:secret@127.0.0.1:{port}/0"
        self._client: Any = redis_at(self.url)
        self._all = ("resetkeys", "resetchannels", f"~{{{namespace}}}:*", f"&{{{namespace}}}:*", "+@all")
        self._client.execute_command("ACL", "SETUSER", "parade", "on", ">secret", *self._all)

    def set(self, *rules: str) -> None:
        """Grant all rights and then apply these rules."""
        self._client.execute_command("ACL", "SETUSER", "parade", *self._all, *rules)
        self._client.client_kill_filter(user="parade")  # a subscription remains after its right is revoked

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def guarded(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[RestrictedRedis]:
    assert redis_url  # requires redis-server
    port = free_port()
    with system_server(port, "--dir", str(tmp_path)):
        found = RestrictedRedis(port, namespace)
        yield found
        found.close()


def granted_rules(refusal: str) -> list[str]:
    """The ACL rules in the command that a refusal recommends."""
    return [rule.strip("'") for rule in refusal.strip().rpartition("<user> ")[2].split()]


@pytest.mark.parametrize(
    ("rules", "lacking"),
    [
        (["-@scripting"], "run EVAL"),
        (["-xread"], "run XREAD on"),
        (["-hgetall"], "run HGETALL on"),
        (["-info"], "run INFO"),
        (["-zrange"], "run ZRANGE on"),
        (["-client|setname"], "run CLIENT SETNAME"),
        (["resetkeys", "~other:*"], "run TYPE on"),
    ],
)
def test_a_sequencer_without_a_right(
    guarded: RestrictedRedis, namespace: str, tmp_path: Path, rules: list[str], lacking: str
) -> None:
    guarded.set(*rules)
    with Deployment(guarded.url, namespace, tmp_path / "log", redis_url=guarded.as_user) as system:
        if lacking == "run CLIENT SETNAME":  # needed before the start-up checks
            system.start("sequencer")
            wait_until(lambda: f"let its user {lacking}" in system.log.read_text(), "the right is named")
        else:
            refusal = refusal_of_sequencer(guarded.as_user, namespace)
            assert f"does not let its user {lacking}" in refusal
            assert "secret" not in refusal
            guarded.set(*granted_rules(refusal))
            system.start("sequencer")
        guarded.set()
        wait_until(system.sequencer, "the sequencer leads now")
        system.stop_all()


@pytest.mark.parametrize(
    ("service", "rules", "lacking"),
    [
        ("listener", ["-@scripting"], "run SCRIPT LOAD"),
        ("listener", ["-xadd"], "run EVALSHA on {%s}:events, {%s}:state"),
        ("listener", ["resetkeys", "~other:*"], "run EVALSHA on {%s}:events, {%s}:state"),
        ("fanout", ["-subscribe"], "run SUBSCRIBE on {%s}:broadcast"),
        ("fanout", ["resetchannels"], "run SUBSCRIBE on {%s}:broadcast"),
        ("fanout", ["resetchannels", "&{%s}:broadcast", "&{%s}:node:*"], "run SUBSCRIBE on {%s}:user:1"),
        ("fanout", ["-hget"], "run EVALSHA on {%s}:nodes, {%s}:state"),
        ("fanout", ["-xadd"], "run EVALSHA on {%s}:events, {%s}:nodes"),
    ],
)
def test_a_service_without_a_right_waits_and_names_it(
    guarded: RestrictedRedis, namespace: str, tmp_path: Path, service: str, rules: list[str], lacking: str
) -> None:
    with Deployment(guarded.url, namespace, tmp_path / "log") as system:
        guarded.set(*(rule.replace("%s", namespace) for rule in rules))
        for each in ("sequencer", "listener", "fanout"):
            system.start(each, redis_url=guarded.as_user if each == service else guarded.url)
        wait_until(lambda: system.logged("listening") == 2, "all ports are open")
        with peers(system.client_port, [1]) as (user,):
            source(system.event_port, b"1|P|2|1\n")
            message = f"does not let its user {lacking.replace('%s', namespace)}: "
            wait_until(lambda: message in system.log.read_text(), "the right is named")
            lines = [json.loads(line) for line in system.log.read_text().splitlines() if message in line]
            assert [line["event"] for line in lines] == ["redis_away"]
            guarded.set(*granted_rules(lines[0]["reason"]))
            wait_until(lambda: system.state("released") == 1, "the event arrives")
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"2|B\n")
            user.wait_for(b"2|B\n")
        system.stop_all()


@pytest.mark.parametrize(
    ("command", "rules", "lacking"),
    [
        (["status"], ["-hgetall"], "run HGETALL on {%s}:state"),
        (["graph", "7"], ["-sscan"], "run SSCAN on {%s}:followers:7"),
        (["graph", "7"], ["resetkeys", "~other:*"], "run HKEYS on {%s}:nodes"),
        (["rejected"], ["-xrevrange"], "run XREVRANGE on {%s}:rejected"),
        (["tap", "7"], ["resetchannels"], "do that"),
        (["reset", "--yes"], ["-get"], "run GET on {%s}:lease"),
    ],
)
def test_a_command_without_a_right(
    guarded: RestrictedRedis, namespace: str, command: list[str], rules: list[str], lacking: str
) -> None:
    guarded.set(*rules)
    done = parade(*command, "--redis-url", guarded.as_user, "--namespace", namespace)
    assert done.returncode == 1
    assert f"does not let its user {lacking.replace('%s', namespace)}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
