"""Rounds on a stage where Parade numbers the events: producers and resuming clients of the simulator, under faults.

The simulator judges: each producer's lines once and in its order, numbers without a gap, and each client's lines over
all connections and nodes as the oracle has them, which is fed in the order of the numbers (`simulator/producers.py`).
"""

import heapq
import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import redis
from rich.console import Console

from simulator.numbered import NumberedSimulation
from simulator.payload import Sizes
from simulator.plan import Plan
from simulator.report import Report
from simulator.workload import Workload
from tests.support.peers import LOOPBACK
from tests.system.chaos.faults import FAULTS
from tests.system.chaos.stage import Stage

EVENTS, RATE, PRODUCERS, CLIENTS, USERS = 30_000, 8_000, 3, 12, 30
PATIENCE_S = 60.0
STEP_S = 0.01

SCENARIOS: dict[str, list[str]] = {
    "the_leader_is_killed": ["leader killed"] * 3,
    "all_sequencers_are_killed": ["every sequencer killed"] * 2,
    "the_leader_is_stopped": ["leader stopped"],
    "commits_are_cut_off": ["leader: cut before a command arrived (commit)", "leader: cut in an answer (commit)"],
    "listeners_are_killed": ["listener killed", "listener killed", "every listener killed"],
    "a_listener_is_stopped": ["listener stopped"],
    "appends_are_cut_off": [
        "listener: cut before a command arrived", "listener: cut after a command arrived", "listener: cut in an answer",
    ],
    "commands_of_a_listener_arrive_late": ["listener: late commands"] * 2,
    "nodes_are_killed": ["fanout killed", "every fanout killed"],
    "everything_is_killed": ["every service killed"],
}  # fmt: skip


@dataclass(slots=True)
class NumberedRound:
    """One round; `struck` names the faults that found something to strike."""

    stage: Stage
    seed: int
    faults: list[str]
    struck: list[str] = field(default_factory=list)

    def run(self) -> Report:
        """Run the simulation while the faults strike, one after another."""
        first = self.stage.next_number()
        ports = self.stage.client_ports
        work = Workload(EVENTS, USERS, self.seed, 20, first_user=first * 1000 + 1, payload=Sizes(0, 40))
        plan = Plan(
            work, CLIENTS, LOOPBACK, self.stage.deployment.event_port, ports[0], PATIENCE_S,
            rate=RATE, full=True, resume=True, producers=PRODUCERS, more_client_ports=tuple(ports[1:]),
        )  # fmt: skip
        with ThreadPoolExecutor(1) as pool:
            simulation = pool.submit(NumberedSimulation(plan, Console(file=io.StringIO())).run)
            self._strike(simulation, first)
            return simulation.result()

    def _strike(self, simulation: "Future[Report]", first: int) -> None:
        rng = Random(self.seed)
        due = [(first + EVENTS * (n + 0.2) / len(self.faults) * 0.9, name) for n, name in enumerate(self.faults)]
        heals: list[tuple[float, int, Callable[[], None]]] = []
        while not simulation.done() or heals:
            if due and self._reached() >= due[0][0]:
                fault = FAULTS[due.pop(0)[1]]
                strike = fault.begin(self.stage, rng)
                if strike is not None:
                    self.struck.append(fault.name)
                    heapq.heappush(
                        heals, (time.monotonic() + rng.uniform(*fault.hold_s), len(self.struck), strike.heal)
                    )
            while heals and heals[0][0] <= time.monotonic():
                heapq.heappop(heals)[2]()
            time.sleep(STEP_S)

    def _reached(self) -> int:
        try:
            return self.stage.next_number()
        except redis.RedisError:
            return 0
