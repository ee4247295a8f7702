"""One round: a stream of events, the faults that strike meanwhile, and the verdict."""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import redis

from simulator.oracle import Oracle
from simulator.workload import Workload, blocks
from tests.system.chaos.crowd import Crowd
from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.feeder import Feeders, Piece
from tests.system.chaos.recovery import Recovery
from tests.system.chaos.stage import Stage

PATIENCE_S = 60.0
"""How long after the last fault everything may take to arrive."""
STEP_S = 0.01
MARKERS = 500
"""Broadcasts at the end by which it shows that every open connection is served."""
MARKER_S = 0.1
PIECE_EVENTS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """A round. `strikes`: the fault's name, and the share of the events after which it strikes."""

    seed: int
    events: int
    strikes: list[tuple[float, str]]
    rate: int = 10_000
    sources: int = 3
    users: int = 30
    steady: int = 12
    comers: int = 30


@dataclass(slots=True)
class Verdict:
    """What a round found. No differences: nothing lost, nothing twice."""

    seed: int
    events: int
    connections: int = 0
    reconnects: int = 0
    source_reconnects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


class Round:
    """Runs a plan once on a stage; rounds on one stage continue its sequence numbers and its graph."""

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
        """The verdict; it also holds what did not come true in time."""
        began = time.monotonic()
        plan, stage, verdict = self._plan, self._stage, self.verdict
        owed = self._prepare()
        client_port, event_port = stage.deployment.client_port, stage.deployment.event_port
        with Crowd(client_port, owed, plan.steady, plan.comers, Random(plan.seed)) as crowd:
            self._until(lambda: self._online() == {str(user) for user in crowd.steady}, "the steady users are online")
            crowd.begin()
            interval_s = PIECE_EVENTS / plan.rate
            with Feeders(event_port, self._pieces, plan.sources, interval_s, stage.next_number) as feeders:
                self._strike(feeders, crowd)
                if not verdict.differences:
                    self._finish(feeders, crowd)
            verdict.source_reconnects = feeders.reconnects
            if not verdict.differences:
                self._check_left_over({str(peer.user) for peer in crowd.present})
            crowd.finish()
        if not verdict.differences:
            self._until(lambda: not self._online(), "no user is online any more")
        verdict.connections, verdict.reconnects, verdict.bytes = crowd.checked, crowd.reconnects, crowd.bytes
        verdict.differences += crowd.differences + stage.dead()
        verdict.recoveries = [recovery for recovery in verdict.recoveries if recovery.has_struck]
        verdict.seconds = time.monotonic() - began
        return verdict

    def _prepare(self) -> dict[int, bytes]:
        plan = self._plan
        for block in blocks(Workload(plan.events, plan.users, plan.seed, PIECE_EVENTS, first=self._first)):
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
        """Strike as planned while the events are sent, and heal what is due."""
        pieces = len(self._pieces)
        due = sorted(self._plan.strikes, reverse=True)
        moved_s, seen = time.monotonic(), 0
        while feeders.furthest < pieces or self._heals or due:
            if self._heals or feeders.furthest != seen:
                moved_s, seen = time.monotonic(), feeders.furthest
            if time.monotonic() - moved_s > PATIENCE_S:
                self.verdict.differences.append(f"the sources could send nothing for {PATIENCE_S:g} s")
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
        recovery = Recovery(fault.name, strike.struck)
        self.verdict.recoveries.append(recovery)
        recovery.observe(feeders, crowd)
        at = time.monotonic() + self._rng.uniform(*fault.hold_s)
        heapq.heappush(self._heals, (at, len(self.verdict.recoveries), strike.heal))

    def _observe(self, feeders: Feeders, crowd: Crowd) -> None:
        for recovery in self.verdict.recoveries:
            recovery.observe(feeders, crowd)

    # After the last fault

    def _finish(self, feeders: Feeders, crowd: Crowd) -> None:
        """Wait for the last event, then send broadcasts until every open connection has heard the last of them."""
        end = self._first + self._plan.events
        self._until(lambda: self._stage.next_number() >= end, "all events are released")
        crowd.be_still()
        sent, marked_s = 0, 0.0
        deadline = time.monotonic() + PATIENCE_S
        while not sent or not _all_heard(crowd, end):
            if time.monotonic() > deadline or sent == MARKERS:
                self.verdict.differences += [
                    f"user {peer.user} does not hear the end" for peer in crowd.present if peer.last_number < end
                ] or ["a steady user has no connection"]
                return
            if time.monotonic() > marked_s + MARKER_S:
                feeders.add(Piece(end + sent, end + sent + 1, self._markers[sent]))
                sent, marked_s = sent + 1, time.monotonic()
            self._observe(feeders, crowd)
            time.sleep(STEP_S)
        self.verdict.events += sent
        last = end + sent - 1
        self._until(lambda: _all_heard(crowd, last), "every open connection hears the last event")
        self._observe(feeders, crowd)
        self._check_state(last + 1)

    def _check_state(self, end: int) -> None:
        """Position, counters, waiting events and graph are what the events make them."""
        system = self._stage.deployment
        found = {
            "next": system.state("next"),
            "released": system.state("released") + 1,
            "waiting": system.redis.zcard(system.keys.waiting) + end,
            "conflict": system.state("conflict") + end,
            "malformed": system.state("malformed") + end,
        }
        self.verdict.differences += [f"{name} is off by {n - end}" for name, n in found.items() if n != end]
        refused = {reason for reason, _ in system.rejected()} - {"no line end before the source closed"}
        self.verdict.differences += [f"refused: {reason}" for reason in refused]
        wanted = {(str(fan), str(author)) for author, fans in self._oracle.followers.items() for fan in fans}
        if self._edges(system.keys.following) != wanted:
            self.verdict.differences.append("whom the users follow is not what the events say")
        if {(fan, author) for author, fan in self._edges(system.keys.followers)} != wanted:
            self.verdict.differences.append("the users' followers are not what the events say")

    def _edges(self, prefix: str) -> set[tuple[str, str]]:
        """(user of the key, member) of every set with this prefix."""
        store = self._stage.deployment.redis
        keys = list(store.scan_iter(prefix.replace("{", "[{]") + "*", count=1000))
        return {(key[len(prefix) :], member) for key in keys for member in store.smembers(key)}

    def _check_left_over(self, present: set[str]) -> None:
        """Redis knows the living nodes and the connected users, and nothing of the dead."""
        system, alive = self._stage.deployment, len(self._stage.of("fanout"))
        self._until(lambda: system.redis.hlen(system.keys.nodes) == alive, f"{alive} nodes and no dead one")
        self._until(lambda: self._online() == present, "exactly the connected users are online")
        nodes = system.redis.hkeys(system.keys.nodes)
        kept = set(system.redis.scan_iter(system.keys.online.replace("{", "[{]") + "*", count=1000))
        self.verdict.differences += [f"{key} is left over" for key in kept - {system.keys.online + n for n in nodes}]

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


def _all_heard(crowd: Crowd, number: int) -> bool:
    present = crowd.present
    steady = sum(not peer.closed for peer in crowd.steady.values())
    return steady == len(crowd.steady) and all(peer.last_number >= number for peer in present)
