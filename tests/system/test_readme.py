"""The README: its redis-cli session typed word for word, and its programs run as they stand."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.deployment import ROOT, redis_at, wait_until
from tests.support.servers import free_port
from tests.support.terminal import check_session, sessions
from tests.support.up import Up, parade_up

PRINTED = "1|F|60|50\n2|B\n4|P|60|50\n"


def test_the_session(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-cli is not installed, and CI tests with it")
        pytest.skip("redis-cli is not installed")
    _, session = sessions("README.md")
    with parade_up() as up:
        check_session(session, tmp_path, ports=up.ports)


def test_the_session_of_peers_that_come_back(tmp_path: Path, valkey_url: str, namespace: str) -> None:
    for program in ("nc", "pgrep"):
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is not installed, and CI tests with it")
            pytest.skip(f"{program} is not installed")
    session, _ = sessions("README.md")
    ports = {"9090": free_port(), "9099": free_port()}
    environment = {
        "PARADE_EVENT_PORT": str(ports["9090"]),
        "PARADE_CLIENT_PORT": str(ports["9099"]),
        "PARADE_REDIS_URL": valkey_url,
        "PARADE_NAMESPACE": namespace,
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    try:
        check_session(session, tmp_path, ports, environment)
    finally:
        _end_all_that_began_in(tmp_path)


def _end_all_that_began_in(folder: Path) -> None:
    """A session that was given up leaves its background jobs; each of them has the folder in its environment."""
    mark = f"XDG_RUNTIME_DIR={folder}\0".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def program(number: int, up: Up) -> list[str]:
    """One of the README's Python programs, with the ports of this system."""
    text = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[number]
    assert len([line for line in text.splitlines() if line]) <= 10
    for documented, port in up.ports.items():
        text = text.replace(documented, str(port))
    return [sys.executable, "-c", text]


def test_the_programs() -> None:
    with parade_up() as up:
        with subprocess.Popen(program(0, up), stdout=subprocess.PIPE, text=True) as client:
            try:
                assert client.stdout is not None
                redis = redis_at(f"redis://127.0.0.1:{up.redis_port}")
                wait_until(lambda: any(redis.scard(key) for key in redis.keys("{parade}:online:*")), "50 is online")
                subprocess.run(program(1, up), check=True, timeout=30)
                assert "".join(client.stdout.readline() for _ in range(3)) == PRINTED
                assert "The client prints `1|F|60|50`, `2|B` and `4|P|60|50`" in (ROOT / "README.md").read_text()
            finally:
                client.kill()


LIBRARY = {"PYTHONPATH": str(ROOT / "sdk" / "python")}
LIBRARY_PRINTED = (
    "Broadcast(seq=5, payload=b'maintenance at 10')\n",
    "PrivateMessage(seq=6, sender=60, recipient=50, payload=b'hi')\n",
)


def test_the_programs_that_use_the_library() -> None:
    with parade_up() as up:
        environment = os.environ | LIBRARY
        subprocess.run(program(1, up), check=True, timeout=30)
        redis = redis_at(f"redis://127.0.0.1:{up.redis_port}")
        wait_until(lambda: redis.hget("{parade}:state", "next") == "5", "the first four are released")
        with subprocess.Popen(program(2, up), stdout=subprocess.PIPE, text=True, env=environment) as client:
            deadline = threading.Timer(60, client.kill)
            deadline.start()
            try:
                assert client.stdout is not None
                assert re.fullmatch(r"behind \w+@4\n", client.stdout.readline())
                subprocess.run(program(3, up), check=True, timeout=60, env=environment)
                assert tuple(client.stdout.readline() for _ in range(2)) == LIBRARY_PRINTED
            finally:
                deadline.cancel()
                client.kill()
        readme = " ".join((ROOT / "README.md").read_text().split())
        assert all(f"`{line.strip()}`" in readme for line in LIBRARY_PRINTED)
