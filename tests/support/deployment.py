"""Whole deployments for the tests: real service processes on loopback, ended by their ids in any case."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.sentinel import Sentinel

from contract.keys import Keys
from runtime.redis import url as redis_url
from runtime.settings import environment_name
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until the condition holds; AssertionError that says what did not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def redis_at(url: str) -> Any:
    """A client of the server, or of the primary that the Sentinels name now."""
    options: dict[str, Any] = {"decode_responses": True, "encoding_errors": "replace"}
    if "+sentinel:" in url:
        where = redis_url.parse(url)
        options["password"] = where.password
        return Sentinel(where.sentinels).master_for(where.service, **options)  # type: ignore[no-untyped-call]
    return redis.Redis.from_url(url, **options)


def resident_mib(process: "subprocess.Popen[bytes]") -> float:
    """What a process holds in memory now."""
    listing = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    return int(listing.stdout) / 1024


class Deployment:
    """Services of one namespace on one server. Leaving the context ends every process."""

    def __init__(self, url: str, namespace: str, log: Path, **settings: object) -> None:
        self.event_port, self.client_port = free_port(), free_port()
        self.keys = Keys(namespace)
        self.redis: Any = redis_at(url)
        self.log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log_file = log.open("ab")
        given = {"redis_url": url, "namespace": namespace, "event_port": self.event_port}
        given |= {"client_port": self.client_port, "drain_s": 0.1, "linger_s": 0.2} | settings
        self._environment = {environment_name(name): str(value) for name, value in given.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self._log_file.close()
        self.redis.close()
        if kind is not None:
            print(self.log.read_text()[-5000:])

    def start(self, service: str, open_files: int | None = None, **settings: object) -> subprocess.Popen[bytes]:
        """Start one service process, with settings and an open-file limit of its own if need be."""
        limited = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]
        return self.start_command([*limited, sys.executable, "-m", service], **settings)

    def start_command(self, command: list[str], **settings: object) -> subprocess.Popen[bytes]:
        """Start any process that belongs to the deployment."""
        own = {environment_name(name): str(value) for name, value in settings.items()}
        process = subprocess.Popen(
            command,
            env=os.environ | self._environment | own,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=self._log_file,
        )
        self.processes.append(process)
        return process

    def start_all(self, fanouts: int = 2) -> None:
        """A sequencer, fanout nodes and a listener, all ready."""
        for service in ["sequencer", *["fanout"] * fanouts, "listener"]:
            self.start(service)
        wait_until(self.sequencer, "a process sequences")
        wait_until(lambda: self.redis.hlen(self.keys.nodes) >= fanouts, f"{fanouts} nodes")
        wait_until(lambda: self.logged("listening") == fanouts + 1, "all ports are open")

    def of(self, service: str) -> list[subprocess.Popen[bytes]]:
        """The live processes of one service."""
        return [
            process
            for process in self.processes
            if isinstance(process.args, list) and service in process.args and process.poll() is None
        ]

    def sequencer(self) -> str | None:
        """Who holds the lease."""
        return str(self.redis.get(self.keys.lease) or "") or None

    def state(self, name: str) -> int:
        """A number of the state hash; 0 when it is not there."""
        return int(self.redis.hget(self.keys.state, name) or 0)

    def online(self) -> set[str]:
        """Users that are online anywhere."""
        users: set[str] = set()
        for node in self.redis.hkeys(self.keys.nodes):
            users |= self.redis.smembers(self.keys.online + node)
        return users

    def graph(self, followers: Iterable[int]) -> set[tuple[str, str]]:
        """(follower, followee) of these followers; both directions in Redis must agree."""
        wanted = {str(follower) for follower in followers}
        forth = {(a, b) for a in wanted for b in self.redis.smembers(self.keys.following + a)}
        keys = self.redis.keys(self.keys.followers + "*")
        back = {(a, key.rpartition(":")[2]) for key in keys for a in self.redis.smembers(key) if a in wanted}
        assert forth == back
        return forth

    def rejected(self) -> list[tuple[str, str]]:
        """(reason, line) of what was refused."""
        entries = self.redis.xrange(self.keys.rejected)
        return [(fields["reason"], fields["line"]) for _, fields in entries]

    def logged(self, event: str) -> int:
        """How often an event name stands in the services' log."""
        return self.log.read_text().count(f'"event": "{event}"')

    def occurred(self, event: str) -> int:
        """How often something happened, those times included of which the log gives only the number."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if f'"event": "{event}"' in line]
        return sum(1 + line.get("suppressed", 0) for line in lines)

    def stop_all(self) -> None:
        """SIGTERM to everything; each process must end by itself, quickly and with status 0."""
        alive = [process for process in self.processes if process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        for process in alive:
            assert process.wait(10) == 0
        assert "Traceback" not in self.log.read_text()


@contextmanager
def running(url: str, namespace: str, log: Path, fanouts: int = 2, **settings: object) -> Iterator[Deployment]:
    """A ready deployment that must also stop cleanly."""
    with Deployment(url, namespace, log, **settings) as deployment:
        deployment.start_all(fanouts)
        yield deployment
        deployment.stop_all()
