"""`parade demo`: the whole system and a simulation together, on free ports."""

import socket
import sys
from typing import Annotated

import typer
from rich.console import Console

from console.local import up
from console.options import Events, Seed, notes, settings_of
from runtime.errors import INTERRUPTED
from runtime.service import raise_file_limit
from simulator.plan import Plan
from simulator.report import Report
from simulator.run import Simulation
from simulator.workload import Workload


def demo_command(
    events: Events = 1_000_000,
    clients: Annotated[int, typer.Option(min=1, help="user clients")] = 100,
    fanouts: Annotated[int, typer.Option(min=1, max=64, help="fanout processes")] = 2,
    seed: Seed = 666,
) -> None:
    """Start the whole system on free ports, simulate a million events, check every byte, and stop."""
    event_port, client_port, redis_port = _free_ports(3)
    settings = settings_of(event_port=event_port, client_port=client_port, log_level="warning")
    raise_file_limit()
    reports: list[Report] = []

    def simulate_it(system: up.System) -> None:
        plan = Plan(
            work=Workload(events, clients * 10, seed),
            clients=clients,
            host=system.settings.host,
            event_port=event_port,
            client_port=client_port,
            timeout_s=20.0,
        )
        reports.append(Simulation(plan, notes).run())

    notes.print(f"starting a listener, a sequencer and {fanouts} fanout nodes on an embedded Valkey …")
    interrupted = up.run(
        up.System(settings, fanouts, 1, redis_port),
        lambda line: notes.print(line, soft_wrap=True),
        simulate_it,
    )
    if interrupted:
        sys.exit(INTERRUPTED)
    reports[0].show(Console())
    sys.exit(0 if reports[0].passed else 1)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
