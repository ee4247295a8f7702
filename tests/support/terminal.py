"""Runs programs on a terminal: the documented console sessions word for word, and single commands."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tests.support.deployment import ROOT

SESSION_S = 120
END = "-- end of answer --"


def sessions(document: str) -> list[str]:
    """The console sessions of a document, in order."""
    return re.findall(r"```console\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def check_session(
    session: str,
    folder: Path,
    ports: Mapping[str, int] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Type every command of a session; each must print what is documented, where … matches anything.

    `ports` maps documented ports to the ones to use instead.
    """
    steps = [step.split("\n", 1) for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]]
    script = []
    for command, _ in steps:
        for documented, port in ports.items():
            command = command.replace(documented, str(port))
        script += [command, f"echo '{END}'"]
    answers = _typed("\n".join(script), folder, environment).split(f"{END}\n")
    for (command, expected), answer in zip(steps, answers, strict=False):
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, answer.strip()), f"{command}\nanswered\n{answer}"
    assert len(answers) == len(steps) + 1


def on_terminal(
    command: list[str],
    until: Callable[[bytes], bool] = lambda _: False,
    folder: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    errors: int | None = None,
) -> bytes:
    """Everything a command sends to its terminal, until it exits or `until` returns true for the output so far.

    `errors` is the file descriptor for standard error; by default that is the terminal too.
    """
    master, terminal = pty.openpty()
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal if errors is None else errors,
        cwd=folder, env={**os.environ, **environment},
    ) as process:  # fmt: skip
        os.close(terminal)
        output = b""
        deadline = time.monotonic() + SESSION_S
        while select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                output += os.read(master, 65536)
            except OSError:  # Linux: the last process has closed the terminal
                break
            if until(output) or (process.poll() is not None and not select.select([master], [], [], 0.2)[0]):
                break
        process.kill()
    os.close(master)
    return output


def _typed(script: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What bash prints. It runs on a terminal because redis-cli formats its output differently there."""
    command = ["bash", "-m", "-c", script]
    output = on_terminal(command, folder=folder, environment=environment, errors=subprocess.DEVNULL)
    return output.decode().replace("\r\n", "\n")
