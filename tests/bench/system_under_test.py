"""The system under test: `parade up` on free ports, and the resources that each of its processes uses."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from contract.keys import Keys
from tests.support.servers import free_port, free_ports_in_a_row

PARADE = Path(sys.executable).with_name("parade")
STOP_S = 20
ONLINE_S = 120
SERVICES = ("listener", "sequencer", "fanout")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """What a process has used since it started. `cpu_s` has a resolution of 10 ms; memory is resident, in KiB."""

    name: str
    pid: int
    cpu_s: float
    rss_kib: int
    peak_kib: int


@dataclass(frozen=True, slots=True)
class System:
    """A running system and its ports."""

    pid: int
    event_port: int
    client_port: int
    redis_port: int
    web_port: int = 0

    @property
    def ports(self) -> tuple[str, ...]:
        """The ports as options of `parade simulate`."""
        web = ("--web-port", str(self.web_port)) if self.web_port else ()
        return ("--event-port", str(self.event_port), "--client-port", str(self.client_port), *web)

    def redis(self) -> "redis.Redis":
        """A connection to its Redis server."""
        return redis.Redis(port=self.redis_port, decode_responses=True)

    def released(self) -> int:
        """The number of events released so far."""
        with self.redis() as server:
            return int(str(server.hget(Keys("parade").state, "next") or 1)) - 1

    def wait_until_online(self, users: int) -> None:
        """Wait until this number of users is online. Raises TimeoutError after ONLINE_S."""
        deadline = time.monotonic() + ONLINE_S
        keys = Keys("parade")
        with self.redis() as server:
            nodes = [str(node) for node in server.hkeys(keys.nodes)]
            while sum(int(str(server.scard(keys.online + node))) for node in nodes) < users:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{users} users were not online within {ONLINE_S} s")
                time.sleep(0.02)

    def processes(self) -> list[Process]:
        """The services and the Redis server, in the order in which they started."""
        pids = [int(pid) for pid in children(self.pid)]
        return [found for pid in sorted(pids) if (found := _process(pid)) is not None]


@contextmanager
def running(*options: str, parade: Path = PARADE, web: bool = False) -> Iterator[System]:
    """Run `parade up` with these options on free ports until the block ends; with a web port if it is needed."""
    event_port, client_port, redis_port = (free_port() for _ in range(3))
    web_port = free_ports_in_a_row(2) + 1 if web else 0  # the listener has the one before it
    ports = {"--event-port": event_port, "--client-port": client_port, "--redis-port": redis_port}
    ports |= {"--web-port": web_port} if web else {}
    command = [str(parade), "up", *(f"{name}={port}" for name, port in ports.items()), *options]
    # The `up` of an older revision would import the services from the working directory, which is this tree.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as up:
        try:
            assert up.stdout is not None
            if not up.stdout.readline().startswith("ready"):
                raise RuntimeError(f"did not start: {' '.join(command)}")
            yield System(up.pid, event_port, client_port, redis_port, web_port)
        finally:
            up.terminate()
            try:
                up.wait(STOP_S)
            except subprocess.TimeoutExpired:
                up.kill()
                raise


def children(pid: int) -> list[str]:
    """The ids of the process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _process(pid: int) -> Process | None:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    name = next((service for service in SERVICES if service in words), None)
    if name is None:
        if "valkey-server" not in words[0]:
            return None
        name = "redis"
    # The name in parentheses can contain spaces, so fields are counted from its end. User and system time are fields
    # 14 and 15 (proc(5)).
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss_kib, peak_kib = (int(status[field].split()[0]) for field in ("VmRSS", "VmHWM"))
    return Process(name, pid, sum(map(int, times)) / TICKS_PER_S, rss_kib, peak_kib)
