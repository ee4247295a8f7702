"""The Redis password is never revealed: not in messages, logs, the process list, HTTP answers or Redis itself."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runtime.errors import RedisUnavailableError
from runtime.redis.blocking import connected
from runtime.redis.link import connect
from runtime.settings import load
from tests.support.deployment import ROOT, Deployment, wait_until
from tests.support.programs import SYSTEM
from tests.support.servers import free_port, sentinel_server, system_server
from tests.support.up import PARADE, Up, clean_environment, parade, parade_up, started

pytestmark = pytest.mark.slow

PASSWORD = "Xq7Z@W9/vK:R4t"  # noqa: S105
ENCODED = "Xq7Z%40W9%2FvK%3AR4t"
PIECES = re.compile("Xq7Z|W9|vK|R4t")
SERVICES = ("listener", "sequencer", "fanout")
UNKNOWN = r"(?i)unknown command .AUTH"


def assert_secret(*texts: str) -> None:
    """No text may contain a part of the password."""
    for text in texts:
        assert not PIECES.search(text), text


@pytest.fixture
def server(redis_url: str) -> Iterator[int]:
    """The port of a server that requires the password."""
    assert redis_url  # requires redis-server
    port = free_port()
    with system_server(port, "--requirepass", PASSWORD):
        yield port


@pytest.fixture
def up(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """A `parade up` on that server, configured by the environment; the only one that the commands find."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with parade_up(PARADE_REDIS_URL=f"redis://:{ENCODED}@127.0.0.1:{server}/0") as system:
        yield system


def test_processes_commands_and_redis(up: Up, server: int) -> None:
    assert len(up.children()) >= 4
    assert_secret(*up.children().values(), up.first_line)
    for command in ("status", "status --json", "rejected", "graph 50", "skip", "reset --yes", "tap 050"):
        done = parade(*command.split())
        assert_secret(done.stdout, done.stderr)
    assert f"redis://127.0.0.1:{server}/0" in parade("status").stdout
    with redis.Redis(port=server, password=PASSWORD) as client:
        names = str(client.execute_command("CLIENT LIST"))
        assert "parade-sequencer-commit" in names
        dumped = [str(client.dump(key)) + str(key) for key in client.scan_iter()]
        assert_secret(names, *dumped)


@pytest.mark.usefixtures("up")
def test_the_dashboard_and_its_message_when_redis_goes_away(server: int) -> None:
    port = free_port()
    with started("dashboard", "--port", str(port)) as dashboard:
        wait_until(lambda: answers(port), "the page is served")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=30) as events:
            seen = events.readline() + events.readline()
            while b'"redis"' not in seen:
                seen += events.readline()
            with redis.Redis(port=server, password=PASSWORD) as client:
                client.config_set("requirepass", "another")
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            while b'"problem"' not in seen:
                seen += events.readline()
        dashboard.send_signal(signal.SIGINT)
        printed = dashboard.communicate(timeout=20)
    assert_secret(seen.decode(), *printed)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_logs_and_health_with_a_wrong_password(server: int, tmp_path: Path) -> None:
    url = f"redis://:{ENCODED}x@127.0.0.1:{server}/0"
    with Deployment(f"redis://:{ENCODED}@127.0.0.1:{server}/0", "ns", tmp_path / "log") as deployment:
        ports = {service: free_port() for service in SERVICES}
        for service, port in ports.items():
            deployment.start(service, redis_url=url, health_port=port)
        wait_until(lambda: deployment.logged("redis_away") == 3, "all services log that Redis is away")
        for service, port in ports.items():
            with pytest.raises(urllib.error.HTTPError) as not_ready:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)
            answer = not_ready.value.read().decode()
            assert "WRONGPASS" in answer, service
            assert_secret(answer)
        assert_secret((tmp_path / "log").read_text())


def test_invalid_urls() -> None:
    for url in (
        f"redis://:{PASSWORD}@127.0.0.1:1/0",
        f"redis://user:{PASSWORD}",
        f":{PASSWORD}@127.0.0.1",
        f"redis://127.0.0.1:1/0?password={PASSWORD}",
        f"redis+sentinel://127.0.0.1:1/main?sentinel_password={PASSWORD}",
        f"redis://127.0.0.1:1/0?password=x&{PASSWORD}=1",
    ):
        for command in ([PARADE, "status"], [PARADE, "top"], *([sys.executable, "-m", each] for each in SERVICES)):
            environment = clean_environment(PARADE_REDIS_URL=url)
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=60
            )
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert "is not a Redis URL: " in done.stderr or "needs a terminal" in done.stderr
            assert_secret(done.stdout, done.stderr)


@pytest.mark.parametrize("service", ["", "main"])
def test_a_server_that_quotes_unknown_commands(service: str, redis_url: str, tmp_path: Path) -> None:
    """A server without AUTH answers `unknown command 'AUTH', with args beginning with:` and the password."""
    assert redis_url  # requires redis-server
    port, primary = free_port(), free_port()
    if service:
        (tmp_path / "rename").mkdir()
        running = sentinel_server(SYSTEM, port, tmp_path, service, primary, "any", ['rename-command AUTH ""'])
        url = f"redis+sentinel://127.0.0.1:{port}/{service}/0?sentinel_password={ENCODED}"
    else:
        running = system_server(port, "--rename-command", "AUTH", "")  # type: ignore[assignment]
        url = f"redis://user:{ENCODED}@127.0.0.1:{port}/0"
    with running:
        with pytest.raises(RedisUnavailableError, match=UNKNOWN) as by_link:
            asyncio.run(connect(url, 5.0, "test"))
        with (
            pytest.raises(RedisUnavailableError, match=UNKNOWN) as by_command,
            connected(load(redis_url=url)) as client,
        ):
            client.ping()
        assert_secret(str(by_link.value), str(by_command.value))
