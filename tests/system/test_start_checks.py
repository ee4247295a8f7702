"""Start-up checks: the sequencer reports what is wrong with Redis, and the command that fixes it."""

from pathlib import Path

import redis

from tests.support.deployment import Deployment, refusal_of_sequencer, wait_until
from tests.support.programs import Program
from tests.support.servers import free_port, server_of


def test_a_redis_that_deletes_keys_is_refusal_of_sequencer(program: Program, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    options = ("--dir", str(tmp_path), "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with server_of(program, port, *options), redis.Redis(port=port) as server:
        refusal = refusal_of_sequencer(f"redis://127.0.0.1:{port}/0", namespace)
        assert "maxmemory-policy allkeys-lru" in refusal
        command = refusal.rpartition("redis-cli ")[2].split()
        assert server.execute_command(*command)
        with Deployment(f"redis://127.0.0.1:{port}/0", namespace, tmp_path / "log") as system:
            system.start("sequencer")
            wait_until(system.sequencer, "the sequencer leads now")
            system.stop_all()


def test_a_redis_user_with_too_few_rights_is_refusal_of_sequencer(
    program: Program, namespace: str, tmp_path: Path
) -> None:
    """A script that may not publish would fail after its writes, so the right is checked before the first batch."""
    port = free_port()
    with server_of(program, port, "--dir", str(tmp_path)), redis.Redis(port=port) as server:
        rules = ["resetchannels", "~*", "+@all"]
        server.acl_setuser("parade", enabled=True, passwords=["+secret"], reset=True, keys=["*"], commands=["+@all"])
        server.execute_command("ACL", "SETUSER", "parade", *rules)
        url = f"redis://parade:secret@127.0.0.1:{port}/0"
        refusal = refusal_of_sequencer(url, namespace)
        assert "does not let its user run PUBLISH" in refusal
        assert "secret" not in refusal
        granted = [rule.strip("'") for rule in refusal.rpartition("<user> ")[2].split()]
        server.execute_command("ACL", "SETUSER", "parade", *granted)
        with Deployment(url, namespace, tmp_path / "log") as system:
            system.start("sequencer")
            wait_until(system.sequencer, "the sequencer leads now")
            system.stop_all()


def test_a_risky_setting_is_logged_with_the_command_that_fixes_it(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    with Deployment(server_url, namespace, tmp_path / "log", durable=True) as system:
        system.start("sequencer")
        wait_until(system.sequencer, "the sequencer leads all the same")
        assert "CONFIG SET appendonly yes" in system.log.read_text()
        system.stop_all()
