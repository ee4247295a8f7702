"""Whole deployments for tests: real service processes on loopback, always ended by process id."""

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
from contract.reports import parse_heartbeat
from runtime.redis import url as redis_url
from runtime.settings import environment_name
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until the condition holds; the AssertionError names what did not happen in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def redis_at(url: str) -> Any:
    """A client of the server, or of the current primary behind Sentinels."""
    options: dict[str, Any] = {"decode_responses": True, "encoding_errors": "replace"}
    if "+sentinel:" in url:
        where = redis_url.parse(url)
        options["password"] = where.password
        return Sentinel(where.sentinels).master_for(where.service, **options)  # type: ignore[no-untyped-call]
    return redis.Redis.from_url(url, **options)


def resident_mib(process: "subprocess.Popen[bytes]") -> float:
    """The resident memory of a process."""
    listing = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    return int(listing.stdout) / 1024


class Deployment:
    """The services of one namespace on one server. Leaving the context kills every process that still runs."""

    def __init__(self, url: str, namespace: str, log: Path, **settings: object) -> None:
        self.url = url
        self.event_port, self.client_port = free_port(), free_port()
        self.keys = Keys(namespace, redis_url.parse(url).db)
        self.redis: Any = redis_at(url)
        self.log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log_file = log.open("ab")
        given = {"redis_url": url, "namespace": namespace, "event_port": self.event_port}
        given |= {"client_port": self.client_port, "drain_s": 0.1, "linger_s": 0.2}
        given |= {"share_port": True, "durable": False} | settings
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
        """Start one process of a service; optionally with its own limit of open files and with more settings."""
        limited = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]
        return self.start_command([*limited, sys.executable, "-m", service], **settings)

    def start_command(self, command: list[str], **settings: object) -> subprocess.Popen[bytes]:
        """Start any process with the settings of the deployment."""
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

    def start_web(self, service: str) -> int:
        """Start a node or a listener with a web port, and wait until that is open; returns the port."""
        port = free_port()
        self.start(service, web_port=port)
        wait_until(lambda: f'"port": {port}' in self.log.read_text(), f"the web port of a {service} is open")
        return port

    def start_all(self, fanouts: int = 2) -> None:
        """Start a sequencer, fanout nodes and a listener, and wait until all are ready."""
        for service in ["sequencer", *["fanout"] * fanouts, "listener"]:
            self.start(service)
        wait_until(self.sequencer, "a sequencer leads")
        wait_until(lambda: self.redis.hlen(self.keys.nodes) >= fanouts, f"{fanouts} nodes are known")
        wait_until(lambda: self.logged("listening") == fanouts + 1, "all ports are open")

    def of(self, service: str) -> list[subprocess.Popen[bytes]]:
        """The live processes of one service."""
        return [
            process
            for process in self.processes
            if isinstance(process.args, list) and service in process.args and process.poll() is None
        ]

    def sequencer(self) -> str | None:
        """The token of the sequencer that holds the lease."""
        return str(self.redis.get(self.keys.lease) or "") or None

    def state(self, name: str) -> int:
        """A number from the state hash; 0 if it is missing."""
        return int(self.redis.hget(self.keys.state, name) or 0)

    def online(self) -> set[str]:
        """The users online on any node."""
        users: set[str] = set()
        for node in self.redis.hkeys(self.keys.nodes):
            users |= self.redis.smembers(self.keys.online + node)
        return users

    def connections(self) -> int:
        """The client connections that the nodes have reported."""
        reports = self.redis.hvals(self.keys.nodes)
        return sum(parse_heartbeat(report.encode()).connections for report in reports)

    def graph(self, followers: Iterable[int]) -> set[tuple[str, str]]:
        """(follower, followee) for these followers; both directions in Redis must agree."""
        wanted = {str(follower) for follower in followers}
        following = {(a, b) for a in wanted for b in self.redis.smembers(self.keys.following + a)}
        keys = self.redis.keys(self.keys.followers + "*")
        followed = {(a, key.rpartition(":")[2]) for key in keys for a in self.redis.smembers(key) if a in wanted}
        assert following == followed
        return following

    def rejected(self) -> list[tuple[str, str]]:
        """(reason, line) of each refused line."""
        entries = self.redis.xrange(self.keys.rejected)
        return [(fields["reason"], fields["line"]) for _, fields in entries]

    def logged(self, event: str) -> int:
        """How many log lines have this event name."""
        return self.log.read_text().count(f'"event": "{event}"')

    def occurred(self, event: str) -> int:
        """How often an event happened, including the occurrences that the log only counts as suppressed."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if f'"event": "{event}"' in line]
        return sum(1 + line.get("suppressed", 0) for line in lines)

    def stop_all(self) -> None:
        """Send SIGTERM to every process; each must exit within 10 s with status 0."""
        alive = [process for process in self.processes if process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        for process in alive:
            assert process.wait(10) == 0
        assert "Traceback" not in self.log.read_text()


def refusal_of_sequencer(url: str, namespace: str) -> str:
    """The one line with which a sequencer refuses to run on this server."""
    command = [sys.executable, "-m", "sequencer", "--redis-url", url, "--namespace", namespace, "--log-level", "error"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@contextmanager
def running(url: str, namespace: str, log: Path, fanouts: int = 2, **settings: object) -> Iterator[Deployment]:
    """A ready deployment, which must also stop cleanly when the block ends."""
    with Deployment(url, namespace, log, **settings) as deployment:
        deployment.start_all(fanouts)
        yield deployment
        deployment.stop_all()
