"""Starts real Redis and Valkey servers on free ports of loopback, and ends them with the test."""

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
"""Ports of this test worker; workers that run in parallel choose from different ones."""

_given: set[int] = set()


def free_port() -> int:
    """A TCP port on loopback that nothing listens on; each call returns a different one.

    It is below the range for outgoing connections (32768 and up on Linux), so no client connection can take it before
    the server does.
    """
    while True:
        port = PORTS[random.randrange(len(PORTS))]
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port


def free_ports_in_a_row(count: int) -> int:
    """The first of `count` ports that follow each other; above those of `free_port` and of outgoing connections."""
    while True:
        first = random.randrange(61_000, 65_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


@contextmanager
def server_of(program: Program, port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server program on a port of loopback; yields its process."""
    assert program.path is not None
    own = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", *program.options, *options]
    with _listening(port, [str(program.path), *own]) as process:
        yield process


@contextmanager
def system_server(port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the system's redis-server on a port of loopback; yields its process."""
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
    """Run a Sentinel that monitors a primary on loopback, with a quorum of two.

    `password` is for the data servers; `more` are additional configuration lines. It is ready once the port `wait_on`
    (by default its own) is open.
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
    """Wait until something listens on the port. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
