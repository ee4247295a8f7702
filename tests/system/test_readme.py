"""The README's redis-cli session, typed word for word."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.deployment import ROOT
from tests.system.up import parade_up

SESSION = re.search(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
END = "-- end of answer --"


def test_the_session(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-cli is not installed, and CI tests with it")
        pytest.skip("redis-cli is not installed")
    assert SESSION is not None
    steps = [step.split("\n", 1) for step in SESSION[1].split("$ ")[1:]]
    with parade_up() as up:
        script = []
        for command, _ in steps:
            script += [_with_ports(command, up.ports), f"echo '{END}'"]
        answers = _typed_in_a_terminal("\n".join(script), tmp_path).split(f"{END}\n")
        for (command, expected), answer in zip(steps, answers, strict=False):
            pattern = re.escape(expected.strip()).replace("…", ".*")
            assert re.fullmatch(pattern, answer.strip()), f"{command}\nanswered\n{answer}"
        assert len(answers) == len(steps) + 1


def _typed_in_a_terminal(script: str, folder: Path) -> str:
    """What bash prints; redis-cli prints differently for people, so it must see a terminal."""
    master, terminal = pty.openpty()
    with subprocess.Popen(
        ["bash", "-m", "-c", script], stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, cwd=folder
    ) as bash:
        os.close(terminal)
        output = b""
        deadline = time.monotonic() + 60
        while select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                output += os.read(master, 65536)
            except OSError:  # how Linux says that the last one who held the terminal is gone
                break
            if bash.poll() is not None and not select.select([master], [], [], 0.2)[0]:
                break
        bash.kill()
    os.close(master)
    return output.decode().replace("\r\n", "\n")


def _with_ports(command: str, ports: dict[str, int]) -> str:
    for documented, port in ports.items():
        command = command.replace(documented, str(port))
    return command
