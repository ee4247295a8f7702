"""Real Redis and Valkey servers for the tests: on loopback, on free ports, gone when the tests end."""

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import SYSTEM, Program

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(10_000 + WORKER % 8, 32_000, 8)
"""Tests that run at the same time choose from different ones."""

_given: set[int] = set()


def free_port() -> int:
    """A TCP port on loopback that nothing listens on, never the same twice.

    It is below those that systems give to outgoing connections (32768 and up on Linux), so no client can
    take it before the server does.
    """
    while True:
        port = PORTS[random.randrange(len(PORTS))]
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port


@contextmanager
def server_of(program: Program, port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that listens on a port of loopback; yields its process."""
    assert program.path is not None
    own = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", *program.options, *options]
    with _listening(port, [str(program.path), *own]) as process:
        yield process


@contextmanager
def system_server(port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The system's redis-server on a port of loopback; yields its process."""
    with server_of(SYSTEM, port, *options) as process:
        yield process


@contextmanager
def sentinel_server(
    program: Program,
    port: int,
    folder: Path,
    service: str,
    primary_port: int,
    password: str,
    more: Sequence[str] = (),
    wait_on: int = 0,
) -> Iterator[None]:
    """A Sentinel that watches over a primary on loopback and needs a second one's vote to replace it.

    `password` is that of the data servers; `more` are lines of its configuration; it is ready when `wait_on` is open.
    """
    assert program.path is not None
    config = folder / f"sentinel-{port}.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {service} 127.0.0.1 {primary_port} 2",
    ]
    lines += [f"sentinel auth-pass {service} {password}"]
    lines += [f"sentinel down-after-milliseconds {service} 1000", f"sentinel failover-timeout {service} 10000"]
    lines += more
    config.write_text("\n".join(lines) + "\n")
    with _listening(wait_on or port, [str(program.path), str(config), "--sentinel"]):
        yield


@contextmanager
def _listening(port: int, command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Wait until something listens; TimeoutError when nothing does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
