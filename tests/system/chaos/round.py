"""One round: a stream of events, the faults that strike during it, and the verdict."""

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import redis

from simulator.oracle import Oracle
from simulator.payload import Sizes
from simulator.workload import Workload, blocks
from tests.system.chaos.crowd import Crowd
from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.feeder import Feeders, Piece
from tests.system.chaos.recovery import Recovery, touched_by
from tests.system.chaos.returning import Returners
from tests.system.chaos.stage import Stage
from tests.system.chaos.state import place_differences, state_differences

PATIENCE_S = 60.0
"""How long everything may take to arrive after the last fault."""
STEP_S = 0.01
MARKERS = 500
"""The most broadcasts at the end, which show that every open connection is served."""
MARKER_S = 0.2
PIECE_EVENTS = 100
PAYLOAD = Sizes(0, 40)


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a round. `strikes`: the share of the events after which a fault strikes, and its name."""

    seed: int
    events: int
    strikes: list[tuple[float, str]]
    rate: int = 10_000
    sources: int = 3
    users: int = 30
    steady: int = 12
    visitors: int = 30
    returners: int = 6


@dataclass(slots=True)
class Verdict:
    """The result of a round. Without differences, nothing was lost or duplicated."""

    seed: int
    events: int
    connections: int = 0
    reconnects: int = 0
    source_reconnects: int = 0
    resumed: int = 0
    resets: Counter[str] = field(default_factory=Counter)
    """RESETs of users, by reason."""
    bytes: int = 0
    seconds: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


class Round:
    """Runs a plan once. Rounds on the same stage continue its sequence numbers and its graph."""

    def __init__(self, stage: Stage, plan: Plan, followers: dict[int, set[int]]) -> None:
        self._stage = stage
        self._plan = plan
        self._rng = Random(plan.seed)
        self._first = stage.next_number()
        self._heals: list[tuple[float, int, Callable[[], None]]] = []
        self._pieces: list[Piece] = []
        self._oracle = Oracle(range(1, plan.users + 1), keep=True)
        self._oracle.followers = followers
        self._markers = [b"%d|B\n" % (self._first + plan.events + n) for n in range(MARKERS)]
        self.verdict = Verdict(plan.seed, plan.events)

    def run(self) -> Verdict:
        """Run the round. The verdict also lists what did not happen in time."""
        began = time.monotonic()
        plan, stage, verdict = self._plan, self._stage, self.verdict
        owed = self._prepare()
        event_port = stage.deployment.event_port
        some = {user: owed[user] for user in sorted(owed)[-plan.returners :]}
        with (
            Crowd(stage.client_ports, owed, plan.steady, plan.visitors, Random(plan.seed)) as crowd,
            Returners(stage.client_ports, some, Random(plan.seed + 1)) as returners,
        ):
            present = {str(user) for user in sorted(owed)[: plan.steady]} | returners.users
            self._until(lambda: self._online() == present, "the steady and the resuming users are online")
            self._until(lambda: returners.are_served, "the resuming users are answered")
            crowd.begin()
            returners.begin()
            interval_s = PIECE_EVENTS / plan.rate
            with Feeders(event_port, self._pieces, plan.sources, interval_s, stage.next_number) as feeders:
                self._strike(feeders, crowd)
                if not verdict.differences:
                    self._finish(feeders, crowd, returners)
            verdict.source_reconnects = feeders.reconnects
            if not verdict.differences:
                self._check_left_over({str(peer.user) for peer in crowd.present} | returners.users)
                verdict.differences += place_differences(stage.deployment, returners.users)
            crowd.finish()
            returners.finish()
            verdict.differences += returners.differences(self._may_reset) + feeders.problems(self._may_reset)
        if not verdict.differences:
            self._until(lambda: not self._online(), "all users are offline")
        verdict.connections, verdict.reconnects, verdict.bytes = crowd.checked, crowd.reconnects, crowd.bytes
        verdict.resumed, verdict.resets = returners.resumed, returners.resets
        verdict.differences += crowd.differences + stage.dead()
        verdict.recoveries = [recovery for recovery in verdict.recoveries if recovery.has_struck]
        verdict.seconds = time.monotonic() - began
        return verdict

    def _prepare(self) -> dict[int, bytes]:
        plan = self._plan
        work = Workload(plan.events, plan.users, plan.seed, PIECE_EVENTS, first=self._first, payload=PAYLOAD)
        for block in blocks(work):
            self._oracle.feed(block)
            start, number = 0, block.first
            for size in block.sends:
                end = min(number + PIECE_EVENTS, block.first + len(block.kinds))
                self._pieces.append(Piece(number, end, block.arrival[start : start + size]))
                start, number = start + size, end
        markers = b"".join(self._markers)
        return {user: expected.bytes + markers for user, expected in self._oracle.expected.items()}

    # During the stream

    def _strike(self, feeders: Feeders, crowd: Crowd) -> None:
        """Start the planned faults while events are sent, and heal each when its time is up."""
        pieces = len(self._pieces)
        due = sorted(self._plan.strikes, reverse=True)
        moved_s, seen = time.monotonic(), 0
        while feeders.furthest < pieces or self._heals or due:
            if self._heals or feeders.furthest != seen:
                moved_s, seen = time.monotonic(), feeders.furthest
            if time.monotonic() - moved_s > PATIENCE_S:
                self.verdict.differences.append(f"the sources sent nothing for {PATIENCE_S:g} s")
                return
            if due and feeders.furthest >= due[-1][0] * pieces:
                self._begin(FAULTS[due.pop()[1]], feeders, crowd)
            while self._heals and self._heals[0][0] <= time.monotonic():
                heapq.heappop(self._heals)[2]()
            self._observe(feeders, crowd)
            time.sleep(STEP_S)

    def _begin(self, fault: Fault, feeders: Feeders, crowd: Crowd) -> None:
        strike = fault.begin(self._stage, self._rng)
        if strike is None:
            return
        hold_s = self._rng.uniform(*fault.hold_s)
        recovery = Recovery(fault.name, strike.struck, strike.touched, time.monotonic() + hold_s)
        self.verdict.recoveries.append(recovery)
        self._observe(feeders, crowd)
        heapq.heappush(self._heals, (time.monotonic() + hold_s, len(self.verdict.recoveries), strike.heal))

    def _observe(self, feeders: Feeders, crowd: Crowd) -> None:
        touched = touched_by(self.verdict.recoveries)
        for recovery in self.verdict.recoveries:
            recovery.observe(feeders, crowd)
            recovery.observe_untouched(crowd, touched)

    # After the last fault

    def _finish(self, feeders: Feeders, crowd: Crowd, returners: Returners) -> None:
        """Wait for the last event, then send broadcasts until every open connection has received the last of them."""
        end = self._first + self._plan.events
        self._until(lambda: self._stage.next_number() >= end, "all events are released")
        crowd.settle()
        returners.settle()
        sent, marked_s = 0, 0.0
        deadline = time.monotonic() + PATIENCE_S
        # Until all have the last one: whoever comes after it would wait for nothing.
        while not sent or not crowd.have_received(end + sent - 1):
            last = end + sent - 1
            if time.monotonic() > deadline or sent == MARKERS:
                self.verdict.differences += [
                    f"user {peer.user} does not receive the end" for peer in crowd.present if peer.last_number < last
                ] or ["a user has no connection"]
                return
            if time.monotonic() > marked_s + MARKER_S:
                feeders.add(Piece(end + sent, end + sent + 1, self._markers[sent]))
                sent, marked_s = sent + 1, time.monotonic()
            self._observe(feeders, crowd)
            time.sleep(STEP_S)
        self.verdict.events += sent
        differences = state_differences(self._stage.deployment, self._oracle.followers, end + sent)
        self.verdict.differences += differences

    def _check_left_over(self, present: set[str]) -> None:
        """Redis must know the live nodes and the connected users, and nothing of dead ones."""
        system, alive = self._stage.deployment, len(self._stage.of("fanout"))
        self._until(lambda: system.redis.hlen(system.keys.nodes) == alive, f"exactly {alive} nodes are known")
        self._until(lambda: self._online() == present, "exactly the connected users are online")
        nodes = system.redis.hkeys(system.keys.nodes)
        kept = set(system.redis.scan_iter(system.keys.online.replace("{", "[{]") + "*", count=1000))
        self.verdict.differences += [f"{key} is left over" for key in kept - {system.keys.online + n for n in nodes}]

    @property
    def _may_reset(self) -> bool:
        """Whether Redis was killed, so that what it had confirmed might have been lost."""
        return any(recovery.fault == "redis killed" for recovery in self.verdict.recoveries)

    def _online(self) -> set[str]:
        return self._stage.deployment.online()

    def _until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except redis.RedisError:
                pass
            time.sleep(0.02)
        self.verdict.differences.append(f"not within {PATIENCE_S:g} s: {what}")
