"""Starts a primary, its replicas and three Sentinels as real servers on loopback."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import redis

from tests.support.deployment import wait_until
from tests.support.programs import Program
from tests.support.servers import free_port, sentinel_server, server_of

SERVICE = "parade-main"
PASSWORD = "se/cret"  # noqa: S105 (for servers of one test)

Server = subprocess.Popen[bytes]


class Replicated:
    """A primary (the first server) and its replicas, as one Sentinel service."""

    def __init__(self, servers: list[Server], clients: list["redis.Redis"], sentinel_ports: list[int]) -> None:
        self._servers = servers
        self._clients = clients
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinel_ports)
        self.url = f"redis+sentinel://:{quote(PASSWORD, safe='')}@{hosts}/{SERVICE}/0"

    def kill_primary(self) -> None:
        """Kill the primary with SIGKILL; a replica is promoted within a few seconds."""
        self._servers[0].kill()
        self._servers[0].wait()

    def cut_replicas_off(self) -> None:
        """Stop replication, until `resume_replicas` after the primary is gone."""
        for server in self._servers[1:]:
            server.send_signal(signal.SIGSTOP)
        self._clients[0].client_kill_filter(_type="replica")

    def resume_replicas(self) -> None:
        for server in self._servers[1:]:
            server.send_signal(signal.SIGCONT)

    def wait_for_fail_over(self) -> None:
        wait_until(lambda: any(_role(each) == b"master" for each in self._clients[1:]), "a replica is promoted")


@contextmanager
def replicated(program: Program, folder: Path, replicas: int) -> Iterator[Replicated]:
    """Start the servers, wait until they replicate and every Sentinel knows all of them; end them with the context."""
    ports, servers = [free_port() for _ in range(1 + replicas)], []
    with ExitStack() as stack:
        for port in ports:
            (folder / str(port)).mkdir()
            options = ("--dir", str(folder / str(port)), "--requirepass", PASSWORD, "--masterauth", PASSWORD)
            servers.append(stack.enter_context(server_of(program, port, *options)))
        clients = [stack.enter_context(redis.Redis(port=port, password=PASSWORD)) for port in ports]
        for client in clients[1:]:
            client.replicaof("127.0.0.1", str(ports[0]))
        wait_until(lambda: all(_is_in_sync(each) for each in clients[1:]), "replication is up", 60)
        sentinel_ports = [free_port() for _ in range(3)]
        for port in sentinel_ports:
            stack.enter_context(sentinel_server(program, port, folder, SERVICE, ports[0], PASSWORD))
        sentinels = [stack.enter_context(redis.Redis(port=port)) for port in sentinel_ports]
        wait_until(lambda: all(_knows_all(each, replicas) for each in sentinels), "the Sentinels know all servers", 60)
        yield Replicated(servers, clients, sentinel_ports)


def _is_in_sync(replica: "redis.Redis") -> bool:
    return str(replica.info("replication")["master_link_status"]) == "up"


def _role(client: "redis.Redis") -> object:
    return client.role()[0]


def _knows_all(sentinel: "redis.Redis", replicas: int) -> bool:
    flat = sentinel.execute_command("SENTINEL", "MASTER", SERVICE)  # type: ignore[no-untyped-call]
    facts = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    text = {_text(name): _text(value) for name, value in facts.items()}
    return int(text["num-slaves"]) == replicas and int(text["num-other-sentinels"]) == 2


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
