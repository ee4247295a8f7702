"""The parameters of a simulation. Only data."""

import sys
from dataclasses import dataclass

from simulator.wire import TCP, Way, wires_to
from simulator.workload import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """Simulates one source that sends `work`, and the first `clients` users of that workload."""

    work: Workload
    clients: int
    host: str
    event_port: int
    client_port: int
    timeout_s: float
    reach: int = sys.maxsize
    """How far ahead of a missing number the deployment accepts events (PARADE_REACH)."""
    rate: float | None = None
    full: bool = False
    log_interval: int = 0
    resume: bool = False
    """Clients cut their connections and come back with their cursors."""
    acks: bool = False
    """The source reads acknowledgements, and comes back when its connection ends."""
    more_client_ports: tuple[int, ...] = ()
    """Those of further nodes: clients that come back go to any of them."""
    client_host: str = ""
    """Where the clients connect, if it is not `host`."""
    transport: str = TCP
    """How the clients connect; see `wire.py`."""
    path: str = ""
    """Of the clients' requests over HTTP, if it is not the one of docs/protocol.md."""
    producers: int = 0
    """So many sources whose events Parade numbers; 0: one source that numbers them itself."""

    @property
    def client_address(self) -> tuple[str, int]:
        """Where the clients connect."""
        return (self.client_host or self.host, self.client_port)

    @property
    def way(self) -> Way:
        """How clients get to any node."""
        host, port = self.client_address
        nodes = [(host, each) for each in (port, *self.more_client_ports)]
        return Way(nodes, wires_to(self.transport, host, port, self.path))
