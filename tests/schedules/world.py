"""One schedule: a deployment, its clients and sources, and everything that goes wrong, all from one seed."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from fanout.upstream.heartbeat import BEAT
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink
from tests.schedules.loop import VirtualLoop
from tests.schedules.processes import KEYS, Connection, ListenerProcess, NodeProcess, Process, SequencerProcess
from tests.schedules.redis_double import Redis
from tests.schedules.reference import events
from tests.schedules.wire import Noise, Wire
from tests.schedules.witness import Witness, WrongError

PATIENCE_S = 12.0
"""Virtual time after the trouble within which everything must have arrived."""
POLL_S = 0.25
KEEPS_ALL_BYTES = 100_000
"""A journal of more bytes keeps every batch of a schedule."""


class World:
    """A deployment in virtual time. `run` plays the schedule and raises WrongError when a promise is broken."""

    def __init__(self, seed: int, print_line: Callable[[str], None] | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self._print_line = print_line
        self.over = False
        self.loop = VirtualLoop()
        self.redis = Redis(self.loop.time, Wire.message)
        self.noise = Noise()
        self._names = iter(range(1, 1_000_000))
        self._trouble_s = rng.choice([0.5, 1.5, 1.5, 3.0])  # until then events come and things go wrong
        self._users = rng.choice([1, 2, 3, 6])
        self._sequence = events(rng, rng.randint(5, 25), self._users)
        self._gap = rng.randint(1, len(self._sequence)) if rng.random() < 0.1 else len(self._sequence) + 1
        self.witness = Witness(self.redis, self._sequence, self._users, self._gap - 1)
        self._options = options = {
            "redis_timeout_s": rng.choice([1.5, 3.0]),
            "batch_deliveries": rng.choice([1, 3, 200_000, 200_000]),
            "window_batches": rng.choice([3, 32, 32]),
            "journal_bytes": rng.choice([1024, 4096, 1 << 20, 1 << 20]),
            "journal_part_users": rng.choice([1, 2, 1000]),
            "entry_users": rng.choice([1, 2, 1000]),
            "entries_ahead": rng.choice([1, 2, 8]),
            "batch_edges": rng.choice([1, 2, 5, 50_000]),
            "linger_s": rng.choice([0.0, 0.0, 0.05, 0.3]),
        }
        self.sequencers = [SequencerProcess(self, f"sequencer-{at}", options) for at in range(rng.choice([1, 1, 2]))]
        self.nodes = [NodeProcess(self, f"node-{at}", options) for at in range(rng.choice([1, 1, 2]))]
        self.listener = ListenerProcess(self, "listener", options)
        self.processes: list[Process] = [*self.sequencers, *self.nodes, self.listener]
        self.connections: list[Connection] = []

    def run(self) -> None:
        """Play the schedule from its first step to the verdict."""
        try:
            for process in self.processes:
                self.loop.call_later(0, process.start)
            self._plan()
            self._run_until(self._trouble_s)
            self._heal()
            self._settle()
            self.witness.check_state()
        finally:
            self.over = True
            for process in self.processes:
                process.kill()
            self.loop.run(self.loop.time() + 10)
            self.redis.close()
        self._raise_errors()

    def trace(self, what: str, who: object, detail: object = "") -> None:
        if self._print_line:
            self._print_line(f"{self.loop.time():9.4f}  {what:<10}  {who!s:<11}  {detail}")

    def logged(self, event: str, fields: dict[str, object]) -> None:
        """A service logged something. No reason to close connections may be claimed that is not there."""
        self.trace("log", event, fields)
        reason = str(fields.get("reason"))
        lost = "journal" in reason and self._options["journal_bytes"] > KEEPS_ALL_BYTES
        if lost or "went back" in reason or event == "state_went_back":
            self.loop.errors.append(f"{event}: {fields}")

    # What services and wires call

    async def connect(self, owner: Process, timeout_s: float) -> RedisLink:
        """A process opens a connection to Redis."""
        task = owner.task
        await asyncio.sleep(self.rng.random() * 0.003)
        if owner.task is not task or self.rng.random() < self.noise.cut_before:
            raise RedisUnavailableError("refused")
        link = RedisLink(timeout_s)
        wire = Wire(self.loop, self.redis, self.rng, self.noise, owner)
        wire.link = link
        link.connection_made(cast(asyncio.Transport, wire))
        owner.connected(wire)
        return link

    def saw(self, owner: Process, command: list[bytes], reply: object, answered_s: float) -> None:
        """A command was run; its sender knows at `answered_s`."""
        if command[0] == b"EVALSHA":
            self.trace("ran", owner, (*command[3 + int(command[2]) :], reply))
        elif command[0] != b"SCRIPT":
            self.trace("ran", owner, (*command, reply))
        if command[0] == b"EVALSHA" and command[1] == BEAT.sha.encode():
            cast(NodeProcess, owner).id = command[5]
        self.witness.after_command(command, reply, self.loop.time(), answered_s)
        if command[0] in (b"XADD", b"EVALSHA"):
            for process in self.processes:
                for wire in process.wires:
                    wire.publish()
                    wire.wake()

    def come_back(self, connection: Connection) -> None:
        """A client whose node closed its connection connects anew."""
        self.loop.call_later(0.1 * connection.user, self._connect, connection.node, connection.user)

    def name(self, _: int) -> str:
        """A name that no other process or term has."""
        return f"{next(self._names):04x}"

    # The schedule

    def _plan(self) -> None:
        rng, at = self.rng, self.loop.call_at
        for chunk in self._chunks():
            at(rng.uniform(0.1, self._trouble_s), self.listener.send, chunk)
        for user in range(1, self._users + 1):
            for _ in range(rng.choice([1, 1, 2, 3])):
                at(rng.uniform(0, self._trouble_s), self._connect, rng.choice(self.nodes), user)
        if rng.random() < 0.2:
            at(rng.uniform(0, self._trouble_s), self._flap, rng.choice(self.nodes), rng.randint(1, self._users))
        self.noise.cut_before = rng.choice([0, 0, 0.01, 0.05])
        self.noise.cut_after = rng.choice([0, 0, 0.01, 0.05])
        self.noise.lose_batch = rng.choice([0, 0, 0.05, 0.2])
        self.noise.refuse = rng.choice([0, 0, 0, 0.01])
        self.noise.slow = rng.choice([0, 0.02, 0.2])
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
            at(rng.uniform(0.05, self._trouble_s), rng.choice(self._troubles()))

    def _chunks(self) -> list[bytes]:
        rng = self.rng
        lines = [event.line for event in self._sequence if event.number != self._gap]
        spread = rng.choice([1, 5, 100])
        lines = [line for _, line in sorted((at + rng.uniform(0, spread), line) for at, line in enumerate(lines))]
        chunks = []
        while lines:
            size = rng.randint(1, 10)
            chunks.append(b"".join(lines[:size]))
            del lines[:size]
        if rng.random() < 0.3:
            chunks.append(rng.choice(chunks))
        if rng.random() < 0.3:
            at = rng.randrange(len(chunks))
            chunks[at] += b"rubbish\n" * rng.choice([1, 3])
        return chunks

    def _troubles(self) -> list[Any]:
        rng = self.rng
        process = rng.choice([*self.processes, self.sequencers[0], self.nodes[0]])
        wait_s = rng.choice([0.01, 0.1, 0.5, 1.2])

        def kill() -> None:
            self.trace("KILL", process)
            process.kill()
            self.loop.call_later(wait_s, process.start)

        def stop() -> None:
            if process is not self.listener and process.alive:
                self.trace("STOP", process)
                process.stop.set()

        def stall() -> None:
            self.trace("STALL", process, wait_s * 2)
            process.stalled_until = self.loop.time() + wait_s * 2

        def cut() -> None:
            self.trace("CUT", process)
            for wire in process.wires:
                wire.cut()

        def hang() -> None:
            if process.wires:
                self.trace("HANG", process)
                rng.choice(process.wires).hang()

        def expire() -> None:
            self.trace("EXPIRE", "lease")
            self.redis.run([b"DEL", KEYS.lease.encode()])

        def fill() -> None:
            self.trace("FULL", "redis")
            self.redis.full = True
            self.loop.call_later(wait_s, setattr, self.redis, "full", False)

        def leave_together() -> None:
            """All users of a node leave, and some come back at once: more than fit into one entry."""
            node = rng.choice(self.nodes)
            for connection in list(node.connections):
                connection.end()
                if rng.random() < 0.5:
                    self.loop.call_later(rng.choice([0, 0.001, 0.01, 0.1]), self._connect, node, connection.user)

        def leave() -> None:
            if connections := [connection for connection in self.connections if connection.open]:
                rng.choice(connections).end()

        def slow() -> None:
            if connections := [connection for connection in self.connections if connection.open]:
                connection = rng.choice(connections)
                self.trace("SLOW", connection.node, connection.user)
                connection.pause(True)
                self.loop.call_later(wait_s, connection.pause, False)

        return [kill, kill, stop, stall, stall, cut, hang, expire, fill, leave, leave_together, slow, slow]

    def _connect(self, node: NodeProcess, user: int) -> None:
        if not node.accepts:
            self.loop.call_later(0.2, self._connect, node, user)
            return
        self.connections.append(Connection(self, node, user))
        self.trace("connected", node, user)

    def _flap(self, node: NodeProcess, user: int, times: int = 8) -> None:
        """A user comes and goes in a loop."""
        if not times or not node.accepts or self.loop.time() > self._trouble_s:
            return
        self._connect(node, user)
        connection = self.connections[-1]
        stay_s, away_s = (self.rng.choice([0, 0.001, 0.01, 0.1]) for _ in range(2))
        self.loop.call_later(stay_s, connection.end)
        self.loop.call_later(stay_s + away_s, self._flap, node, user, times - 1)

    # The end

    def _heal(self) -> None:
        self.trace("HEAL", "")
        self.redis.full = False
        self.noise.cut_before = self.noise.cut_after = self.noise.lose_batch = self.noise.refuse = 0.0

    def _settle(self) -> None:
        problem: WrongError | None = None
        deadline = self.loop.time() + PATIENCE_S
        while self.loop.time() < deadline:
            self._run_until(self.loop.time() + POLL_S)
            if not self.witness.at_rest() or not all(process.alive for process in self.processes):
                continue
            try:
                for connection in self.connections:
                    self.witness.check(connection, complete=connection.open)
                serving = {node.id for node in self.nodes}
                self.witness.check_presence(serving, [each for each in self.connections if each.open])
                return
            except WrongError as wrong:
                problem = wrong
        raise problem or WrongError(f"no rest: {self.witness.batches[-1]} and not {self.witness.end}")

    def _run_until(self, time_s: float) -> None:
        self.loop.run(time_s)
        self._raise_errors()

    def _raise_errors(self) -> None:
        if self.loop.errors:
            raise WrongError("; ".join(self.loop.errors))


def play(seed: int, print_line: Callable[[str], None] | None = None) -> None:
    """Play one schedule; `print_line` gets its trace. WrongError when a promise was broken."""
    World(seed, print_line).run()
