"""Namespaces: what is accepted works everywhere; what is not ends a service immediately."""

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import PATIENCE_S, ROOT, running, wait_until
from tests.support.peers import peers, source
from tests.support.up import PARADE

EVERYTHING = "".join(sorted(set(string.printable) - set(string.whitespace + "{}")))


def parade(url: str, namespace: str, *command: str) -> str:
    place = ["--redis-url", url, f"--namespace={namespace}"]
    done = subprocess.run(
        [PARADE, *command, *place], env=os.environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_accepted_character_works_everywhere(valkey_url: str, tmp_path: Path) -> None:
    others = ["*", EVERYTHING[1:]]
    with running(valkey_url, EVERYTHING, tmp_path / "log", fanouts=1) as system:
        with peers(system.client_port, [50]) as (user,):
            wait_until(lambda: system.online() == {"50"}, "the user is online")
            source(system.event_port, b"1|F|60|50\n2|B\n")
            user.wait_for(b"2|B\n")
        assert "60" in parade(valkey_url, EVERYTHING, "graph", "50")
        assert parade(valkey_url, EVERYTHING, "status", "--json").startswith("{")
        names = [client["name"] for client in system.redis.client_list()]
        assert any(name.startswith(EVERYTHING) for name in names)
    for other in others:
        system.redis.set(f"{{{other}}}:mine", "kept")
    parade(valkey_url, EVERYTHING, "reset", "--yes")
    assert [key for key in system.redis.scan_iter() if key.startswith(system.keys.prefix)] == []
    assert [system.redis.get(f"{{{other}}}:mine") for other in others] == ["kept"] * 2


@pytest.mark.parametrize("service", ["listener", "sequencer", "fanout"])
def test_a_namespace_that_is_not_ascii_ends_a_service_immediately(service: str, valkey_url: str) -> None:
    settings = {"PARADE_REDIS_URL": valkey_url, "PARADE_NAMESPACE": "größe"}
    command = [sys.executable, "-m", service]
    done = subprocess.run(
        command, env=os.environ | settings, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode != 0
    assert "PARADE_NAMESPACE='größe'" in done.stderr
    assert done.stderr.count("\n") == 1
