"""The system that faults strike: a durable Redis server, and each service as a process behind a separate proxy."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import redis

from tests.support.deployment import Deployment, redis_at, wait_until
from tests.support.proxy import Proxy
from tests.support.servers import free_port, system_server

SETTINGS = {"lease_s": 1, "tick_s": 0.5, "node_silence_s": 2, "redis_timeout_s": 1.5}
"""Short timeouts, so that a fault can outlast each of them."""
ROLES = {"sequencer": 2, "fanout": 3, "listener": 2}
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
BUSY_S = 0.5
ANSWER_S = 1.0
"""How long the stage waits for an answer of Redis, which may be stopped."""


class Service:
    """One service: its process is killed and restarted, its proxy and its port for clients remain."""

    def __init__(self, role: str, proxy: Proxy, port: int, launch: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self.role = role
        self.proxy = proxy
        self.port = port
        self.struck = False
        """Whether a fault is in force on it; then a second one strikes something else."""
        self._launch = launch
        self.process = launch()

    def start(self) -> None:
        self.process = self._launch()


class RedisServer:
    """A redis-server that writes everything to disk before it answers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port = free_port()
        self.struck = False
        self._options = (*DURABLE, "--dir", str(folder))
        self._stack = stack
        self.start()

    def start(self) -> None:
        self.process = self._stack.enter_context(system_server(self.port, *self._options))


class Stage:
    """Everything that faults can strike."""

    def __init__(self, server: RedisServer, deployment: Deployment, services: list[Service]) -> None:
        self.server = server
        self.deployment = deployment
        self.services = services
        self._log_read = 0
        self._leader: Service | None = None

    def leader(self) -> Service | None:
        """The sequencer that holds the lease; while Redis is away, the one that held it last."""
        try:
            token = self.deployment.sequencer()
        except redis.RedisError:
            return self._leader
        for service in self.of("sequencer"):
            if token and token.startswith(f"{socket.gethostname()}-{service.process.pid}-"):
                self._leader = service
        return self._leader

    def of(self, role: str) -> list[Service]:
        return [service for service in self.services if service.role == role]

    def pick(self, role: str, rng: Random) -> Service | None:
        """A service without a fault in force: the leader, a standby, or any of a role; busy ones are preferred."""
        if role == "leader":
            candidates = [leader for leader in [self.leader()] if leader]
        elif role == "standby":
            candidates = [service for service in self.of("sequencer") if service is not self.leader()]
        else:
            candidates = self.of(role)
        untouched = [service for service in candidates if not service.struck]
        busy = [service for service in untouched if time.monotonic() - service.proxy.busy_s < BUSY_S]
        return rng.choice(busy or untouched) if untouched else None

    @property
    def client_ports(self) -> list[int]:
        """The port of each node."""
        return [node.port for node in self.of("fanout")]

    def next_number(self) -> int:
        """The next sequence number to be released. Raises redis.RedisError while Redis is away."""
        return int(self.deployment.redis.hget(self.deployment.keys.state, "next") or 1)

    def dead(self) -> list[str]:
        """Services that ended without being killed, and tracebacks in the log."""
        problems = [
            f"a {service.role} ended with status {service.process.returncode}"
            for service in self.services
            if service.process.poll() is not None
        ]
        with self.deployment.log.open() as log:
            log.seek(self._log_read)
            fresh = log.read()
            self._log_read = log.tell()
        if "Traceback" in fresh or "exception" in fresh:
            problems.append(f"a traceback in {self.deployment.log}")
        return problems


@contextmanager
def staged(folder: Path, namespace: str, **settings: object) -> Iterator[Stage]:
    """A ready system, which must also stop cleanly when the block ends."""
    with ExitStack() as stack:
        server = RedisServer(folder, stack)
        url = f"redis://127.0.0.1:{server.port}/0"
        deployment = stack.enter_context(Deployment(url, namespace, folder / "log", **SETTINGS | settings))
        deployment.redis = redis_at(f"{url}?socket_timeout={ANSWER_S}")
        services = []
        for role, count in ROLES.items():
            for _ in range(count):
                proxy, port = stack.enter_context(Proxy(url)), free_port()
                launch = partial(deployment.start, role, redis_url=proxy.url, client_port=port)
                services.append(Service(role, proxy, port, launch))
        keys, ports = deployment.keys, ROLES["fanout"] + ROLES["listener"]
        wait_until(deployment.sequencer, "a sequencer leads")
        wait_until(lambda: deployment.redis.hlen(keys.nodes) == ROLES["fanout"], "all nodes are known")
        wait_until(lambda: deployment.logged("listening") == ports, "all ports are open")
        yield Stage(server, deployment, services)
        deployment.stop_all()
