"""A compose project for the tests: on free ports, and always removed at the end."""

import json
import os
import shutil
import subprocess
import uuid

from tests.support.deployment import ROOT, wait_until
from tests.support.servers import free_port

STEP_S = 240


class Stack:
    """One `docker-compose` project."""

    def __init__(self) -> None:
        self.event_port, self.client_port, self.web_port = free_port(), free_port(), free_port()
        self.project = f"paradetest{uuid.uuid4().hex[:8]}"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PARADE_", "COMPOSE_"))
        } | {
            "PARADE_EVENT_PORT": str(self.event_port),
            "PARADE_CLIENT_PORT": str(self.client_port),
            "PARADE_WEB_PORT": str(self.web_port),
            "PARADE_IMAGE": "parade:test",
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
        }
        self.scales = {"fanout": 1}

    def compose(self, *arguments: str) -> str:
        """Run docker-compose to its end; if it fails, the AssertionError has its output."""
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True, text=True, cwd=ROOT, env=self.environment, timeout=STEP_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr[-5000:]}"
        return done.stdout

    def up(self, **scales: int) -> None:
        """Start the services, or scale them."""
        self.scales |= scales
        options = [word for service, count in self.scales.items() for word in ("--scale", f"{service}={count}")]
        self.compose("up", "-d", *options)

    def redis(self, *command: str) -> str:
        """The output of redis-cli in the redis container."""
        return self.compose("exec", "-T", "redis", "redis-cli", *command).strip()

    def state(self, name: str) -> int:
        """A number from the state hash; 0 if it is missing or Redis does not answer."""
        try:
            return int(self.redis("HGET", "{parade}:state", name) or 0)
        except (AssertionError, ValueError):
            return 0

    def connections(self) -> list[int]:
        """The number of connections that each node reports."""
        return [int(report.split()[2]) for report in self.redis("HVALS", "{parade}:nodes").splitlines() if report]

    def online(self) -> int:
        """The number of users online on all nodes together."""
        nodes = self.redis("HKEYS", "{parade}:nodes").split()
        return sum(int(self.redis("SCARD", f"{{parade}}:online:{node}")) for node in nodes)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        return self.compose("ps", "-q", service).split()

    def kill(self, container: str) -> None:
        """`docker kill`: sends SIGKILL; the container is not restarted."""
        subprocess.run(["docker", "kill", container], check=True, capture_output=True, timeout=60)

    def leader(self) -> str:
        """The container of the leading sequencer (the lease token starts with the container's id)."""
        holder = self.redis("GET", "{parade}:lease")
        (container,) = (name for name in self.containers("sequencer") if holder.startswith(name[:12]))
        return container

    def healthy(self, service: str, count: int) -> bool:
        """Whether at least `count` containers of a service are healthy."""
        names = self.containers(service)
        if len(names) < count:
            return False
        listing = subprocess.run(["docker", "inspect", *names], capture_output=True, text=True, check=True, timeout=60)
        states = [entry["State"].get("Health", {}).get("Status") for entry in json.loads(listing.stdout)]
        return states.count("healthy") >= count

    def wait_until_healthy(self, service: str, count: int) -> None:
        wait_until(lambda: self.healthy(service, count), f"{count} healthy {service} containers", 60)

    def restart(self, service: str) -> None:
        self.compose("restart", service)

    def remove(self) -> None:
        """Remove everything, including volumes."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5")
