"""`make blast`: how long the clients of healthy nodes wait while another part is sick.

Three nodes, two sequencers, a listener and a Redis server, each a process; each node has a port of its own and ten
users. One source sends events at a steady rate, then a part is killed, stopped or starved. The longest silence of the
clients at the *other* nodes is the pause; every byte of every connection is compared with what its user is owed.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.deployment import Deployment
from tests.support.nodes import Process, served

RATES = (1_000, 10_000, 100_000)
SETTLE_S = 1.0
NOTICED_S = 0.05
"""A shorter silence is no delay."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` does it to the process of a role (`node` or `leader`) and takes until it is over."""

    name: str
    role: str
    aim: str
    strike: Callable[[Process], None]


def _kill(process: Process) -> None:
    process.kill()
    process.wait()
    time.sleep(2.0)


def _stop(seconds: float) -> Callable[[Process], None]:
    def stop(process: Process) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    return stop


def _starve(process: Process) -> None:
    """It runs 15 % of the time, for 12 s."""
    ends = time.monotonic() + 12.0
    while time.monotonic() < ends:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.34)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.06)


FAULTS = (
    Fault("nothing", "", "", lambda _: time.sleep(2.0)),
    Fault("a node killed (SIGKILL)", "node", "pause under 0.3 s", _kill),
    Fault("a node stopped (SIGSTOP) for 2 s", "node", "pause under 0.4 s", _stop(2.0)),
    Fault("a node that runs 15 % of the time", "node", "delay under 1 s in any 10 s", _starve),
    Fault("the leader killed (SIGKILL)", "leader", "pause under 0.5 s", _kill),
    Fault("the leader stopped (SIGSTOP) for 4 s", "leader", "the lease: 2 s", _stop(4.0)),
)


@dataclass(slots=True)
class Outcome:
    """What one fault cost. Seconds."""

    fault: str
    aim: str
    rate: int
    pause_s: float
    """The longest silence of a client at an untouched node."""
    delay_s: float
    """The most that such silences add up to within 10 s."""
    closed: int
    """Connections that ended."""
    problems: list[str] = field(default_factory=list)


def blast(fault: Fault, rate: int, folder: Path) -> Outcome:
    """Strike once."""
    with served(folder, rate) as subject:
        time.sleep(SETTLE_S)
        struck = {"": None, "node": subject.processes[0], "leader": _leader(subject.system)}[fault.role]
        began = time.monotonic()
        fault.strike(struck)  # type: ignore[arg-type]
        time.sleep(SETTLE_S)
        ended = time.monotonic()
        subject.stop_sending()
        others = [client for client in subject.clients if client.node or fault.role != "node"]
        silences = [client.silences(began, ended) for client in others]
        return Outcome(
            fault.name,
            fault.aim,
            rate,
            pause_s=round(max(length for each in silences for _, length in each), 3),
            delay_s=round(max(_most_in_10_s(each) for each in silences), 3),
            problems=subject.differences(struck=0 if fault.role == "node" else None),
            closed=sum(client.closed for client in subject.clients),
        )


def _leader(system: Deployment) -> Process:
    token = system.sequencer() or ""
    return next(process for process in system.of("sequencer") if token.rsplit("-", 2)[1] == str(process.pid))


def _most_in_10_s(silences: list[tuple[float, float]]) -> float:
    delays = [(when, length) for when, length in silences if length >= NOTICED_S]
    return max((sum(length for at, length in delays if when - 10 < at <= when) for when, _ in delays), default=0.0)


def main() -> None:
    """Strike with each fault at each rate."""
    parser = argparse.ArgumentParser(prog="make blast", description=__doc__)
    parser.add_argument("--rate", type=int, action="append", help=f"events/s; several may be given; default {RATES}")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    options = parser.parse_args()
    outcomes = []
    for fault in FAULTS:
        for rate in options.rate or RATES:
            if options.only in fault.name:
                with tempfile.TemporaryDirectory(prefix="parade-blast-") as folder:
                    outcomes.append(blast(fault, rate, Path(folder)))
                print(_line(outcomes[-1]), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(_table(outcomes), highlight=False)
    if any(outcome.problems for outcome in outcomes):
        sys.exit("; ".join(problem for outcome in outcomes for problem in outcome.problems))


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.rate:>8,} events/s  {outcome.fault}: {outcome.pause_s} s; {'; '.join(outcome.problems) or 'exact'}"
    )


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("fault", "aim", "events/s", "longest pause s", "delay in 10 s", "connections ended", box=None)
    for outcome in outcomes:
        cells = (f"{outcome.rate:,}", f"{outcome.pause_s:.3f}", f"{outcome.delay_s:.2f}", str(outcome.closed))
        table.add_row(outcome.fault, outcome.aim, *cells)
    return table


if __name__ == "__main__":
    main()
