"""The README: its redis-cli session typed word for word, and its programs run as they stand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import ROOT, redis_at, wait_until
from tests.support.terminal import check_session, sessions
from tests.support.up import Up, parade_up

PRINTED = "1|F|60|50\n2|B\n4|P|60|50\n"


def test_the_session(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-cli is not installed, and CI tests with it")
        pytest.skip("redis-cli is not installed")
    (session,) = sessions("README.md")
    with parade_up() as up:
        check_session(session, tmp_path, ports=up.ports)


def program(number: int, up: Up) -> list[str]:
    """One of the README's Python programs, with the ports of this system."""
    text = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[number]
    assert len(text.splitlines()) <= 10
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
