"""What the sequencer finds at its start: it says what is wrong with Redis and which command mends it."""

import subprocess
import sys
from pathlib import Path

import redis

from tests.support.deployment import ROOT, Deployment, wait_until
from tests.support.programs import Program
from tests.support.servers import free_port, server_of


def refused(url: str, namespace: str) -> str:
    """What a sequencer says that must not run."""
    command = [sys.executable, "-m", "sequencer", "--redis-url", url, "--namespace", namespace, "--log-level", "error"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_redis_that_deletes_keys_is_refused(program: Program, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    options = ("--dir", str(tmp_path), "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with server_of(program, port, *options), redis.Redis(port=port) as server:
        said = refused(f"redis://127.0.0.1:{port}/0", namespace)
        assert "maxmemory-policy allkeys-lru" in said
        command = said.rpartition("redis-cli ")[2].split()
        assert server.execute_command(*command)
        with Deployment(f"redis://127.0.0.1:{port}/0", namespace, tmp_path / "log") as system:
            system.start("sequencer")
            wait_until(system.sequencer, "it sequences now")
            system.stop_all()


def test_a_redis_user_with_too_few_rights_is_refused(program: Program, namespace: str, tmp_path: Path) -> None:
    """A script that may not publish would fail after its writes, so that is tried before the first batch."""
    port = free_port()
    with server_of(program, port, "--dir", str(tmp_path)), redis.Redis(port=port) as server:
        rules = ["resetchannels", "~*", "+@all"]
        server.acl_setuser("parade", enabled=True, passwords=["+secret"], reset=True, keys=["*"], commands=["+@all"])
        server.execute_command("ACL", "SETUSER", "parade", *rules)
        url = f"redis://parade:secret@127.0.0.1:{port}/0"
        said = refused(url, namespace)
        assert "does not let its user run PUBLISH" in said
        assert "secret" not in said
        granted = [rule.strip("'") for rule in said.rpartition("<user> ")[2].split()]
        server.execute_command("ACL", "SETUSER", "parade", *granted)
        with Deployment(url, namespace, tmp_path / "log") as system:
            system.start("sequencer")
            wait_until(system.sequencer, "it sequences now")
            system.stop_all()


def test_what_can_do_harm_is_said_with_the_command_that_mends_it(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    with Deployment(server_url, namespace, tmp_path / "log") as system:
        system.start("sequencer")
        wait_until(system.sequencer, "it sequences all the same")
        assert "CONFIG SET appendonly yes" in system.log.read_text()
        system.stop_all()
