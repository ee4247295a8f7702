"""What a simulation is to do. Only data."""

import sys
from dataclasses import dataclass

from simulator.workload import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """A simulation of `work`, as one source and the first `clients` of its users."""

    work: Workload
    clients: int
    host: str
    event_port: int
    client_port: int
    timeout_s: float
    reach: int = sys.maxsize
    """How far ahead of a missing number the deployment lets events wait."""
    rate: float | None = None
    full: bool = False
    log_interval: int = 0
