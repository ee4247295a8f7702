"""Runs `parade up` and other commands as processes, for tests that use the system as a user does."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.servers import free_port

PARADE = str(Path(sys.executable).with_name("parade"))


@dataclass(frozen=True, slots=True)
class Up:
    """A running `parade up`."""

    process: "subprocess.Popen[str]"
    event_port: int
    client_port: int
    redis_port: int
    first_line: str

    @property
    def ports(self) -> dict[str, int]:
        """Maps the documented ports to those used here."""
        return {"9090": self.event_port, "9099": self.client_port, "6390": self.redis_port}

    @property
    def port_options(self) -> list[str]:
        return ["--event-port", str(self.event_port), "--client-port", str(self.client_port)]

    def children(self) -> dict[int, str]:
        """Maps process id to command line, for all descendant processes."""
        listing = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 2) for line in listing.splitlines()]
        family = {self.process.pid}
        for _ in range(3):
            family |= {int(pid) for pid, ppid, _ in rows if int(ppid) in family}
        return {int(pid): args for pid, _, args in rows if int(pid) in family - {self.process.pid}}

    def resident_mib(self) -> dict[str, int]:
        """The resident memory of each descendant process."""
        children = self.children()
        pids = ",".join(map(str, children))
        listing = subprocess.run(["ps", "-o", "pid=,rss=", "-p", pids], capture_output=True, text=True, check=True)
        sizes = (line.split() for line in listing.stdout.splitlines())
        return {f"{pid} {children[int(pid)]}": int(kib) // 1024 for pid, kib in sizes}


def parade(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end. It finds a running `up` that has the same XDG_RUNTIME_DIR."""
    return subprocess.run(
        [PARADE, *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(**environment),
        timeout=120,
        check=False,
    )


def clean_environment(**environment: str) -> dict[str, str]:
    """The current environment without Parade's settings, plus the given variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PARADE_")} | environment


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a `parade` command in the background; killed when the block ends."""
    command = [PARADE, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def parade_up(
    *options: str, redis_url: str | None = None, check: bool = True, directory: Path | None = None, **environment: str
) -> Iterator[Up]:
    """Run `parade up` on free ports; wait for its `ready`, and check its exit status when the block ends."""
    event_port, client_port, redis_port = free_port(), free_port(), free_port()
    server = ["--redis-url", redis_url] if redis_url else ["--redis-port", str(redis_port)]
    ports = ["--event-port", str(event_port), "--client-port", str(client_port)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [PARADE, "up", *ports, *server, *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=clean_environment(**environment),
            cwd=directory,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            assert first_line.startswith("ready"), f"printed {first_line!r} instead of ready: {_all_of(errors)}"
            yield Up(process, event_port, client_port, redis_port, first_line)
            process.terminate()
            assert not check or process.wait(10) == 0
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _all_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
