"""One schedule: a deployment, its clients and sources, and everything that goes wrong, all from one seed."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from fanout.upstream.heartbeat import BEAT
from fanout.upstream.presence import ANNOUNCE
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink
from tests.schedules.loop import VirtualLoop
from tests.schedules.processes import (
    KEYS,
    Connection,
    ListenerProcess,
    NodeProcess,
    Process,
    Returner,
    ReturningConnection,
    SequencerProcess,
)
from tests.schedules.redis_double import Redis
from tests.schedules.reference import WrongError, events
from tests.schedules.wire import Noise, Wire
from tests.schedules.witness import Witness

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
        self._sequence = events(rng, rng.randint(5, 30), self._users)
        self._gap = rng.randint(1, len(self._sequence)) if rng.random() < 0.1 else len(self._sequence) + 1
        self._options = options = {
            "redis_timeout_s": rng.choice([1.5, 3.0]),
            "batch_deliveries": rng.choice([1, 1, 3, 200_000]),
            "window_batches": rng.choice([1, 2, 3, 32]),
            "journal_bytes": rng.choice([1024, 4096, 1 << 20, 1 << 20]),
            "journal_part_users": rng.choice([1, 2, 1000]),
            "entry_users": rng.choice([1, 2, 1000]),
            "entries_ahead": rng.choice([1, 2, 8]),
            "batch_edges": rng.choice([1, 2, 5, 50_000]),
            "linger_s": rng.choice([0.0, 0.0, 0.05, 0.3]),
            "away_s": rng.choice([0.3, 20.0, 20.0]),
            "away_users": rng.choice([1, 2, 100, 100]),
        }
        window_batches, away = int(options["window_batches"]), (options["away_s"], int(options["away_users"]))
        self.witness = Witness(self.redis, self._sequence, self._users, self._gap - 1, window_batches, away)
        self._opted_in = {b"%d" % user for user in range(1, self._users + 1) if rng.random() < 0.6}
        """Users who ask for their place to be kept; they say now and then that it need not be any more."""
        self.returners = [Returner(user) for user in range(1, self._users + 1) if rng.random() < 0.5]
        self._opted_in -= {b"%d" % returner.user for returner in self.returners}
        self.sequencers = [SequencerProcess(self, f"sequencer-{at}", options) for at in range(rng.choice([1, 1, 2]))]
        self.nodes = [NodeProcess(self, f"node-{at}", options) for at in range(rng.choice([1, 2, 2, 3]))]
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

    def logged(self, process: Process, event: str, fields: dict[str, object]) -> None:
        """A service logged something. No reason may be claimed that is not there."""
        self.trace("log", f"{process} {event}", fields)
        self.witness.logged(process, event, fields, self.loop.time())
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

    def asking(self, command: list[bytes]) -> list[bytes]:
        """A command on its way to Redis: the entries of nodes say whose place is to be kept, and whose is not.

        Of some users whose clients know nothing of that, too; so they give their place up at times.
        """
        if command[:2] != [b"EVALSHA", ANNOUNCE.sha.encode()]:
            return command
        told = dict(zip(command[8::2], command[9::2], strict=True))
        keep = [user for user in told.get(b"join", b"").split() if user in self._opted_in]
        leaves = [user for user in told.get(b"leave", b"").split() if user in self._opted_in]
        forget = [user for user in leaves if self.rng.random() < 0.2]
        for name, users in ((b"keep", keep), (b"forget", forget)):
            if users:
                told[name] = b" ".join([*told.get(name, b"").split(), *users])
        return command[:8] + [part for field in told.items() for part in field]

    def saw(self, owner: Process, command: list[bytes], reply: object, answered_s: float) -> None:
        """A command was run; its sender knows at `answered_s`."""
        if command[0] == b"EVALSHA":
            self.trace("ran", owner, (*command[3 + int(command[2]) :], reply))
        elif command[0] != b"SCRIPT":
            self.trace("ran", owner, (*command, reply))
        if command[0] == b"EVALSHA" and command[1] == BEAT.sha.encode():
            cast(NodeProcess, owner).id = command[5]
        self.witness.after_command(owner, command, reply, self.loop.time(), answered_s)
        if command[0] in (b"XADD", b"EVALSHA"):
            for process in self.processes:
                for wire in process.wires:
                    wire.publish()
                    wire.wake()

    def come_back(self, connection: Connection) -> None:
        """A client whose node closed its connection connects anew."""
        self.loop.call_later(0.1 * connection.user, self._connect, connection.node, connection.user)

    def returns(self, returner: Returner) -> None:
        """A user that goes on where it was has lost its connection, and connects anew, to any node."""
        self.loop.call_later(self.rng.choice([0.001, 0.01, 0.1, 0.5]), self._return, returner)

    def name(self, _: int) -> str:
        """A name that no other process or term has."""
        return f"{next(self._names):04x}"

    def _reasons(self) -> set[bytes]:
        """For which of them a user that goes on where it was may be told RESET."""
        options = self._options
        trimmed = options["journal_bytes"] <= KEEPS_ALL_BYTES
        away = options["away_s"] < 1 or options["away_users"] < self._users
        explained = {b"trimmed": trimmed, b"away": away}
        return {reason for reason, may_be in explained.items() if may_be}

    # The schedule

    def _plan(self) -> None:
        rng, at = self.rng, self.loop.call_at
        for chunk in self._chunks():
            at(rng.uniform(0.1, self._trouble_s), self.listener.send, chunk)
        for user in range(1, self._users + 1):
            for _ in range(rng.choice([1, 1, 2, 3])):
                at(rng.uniform(0, self._trouble_s), self._connect, rng.choice(self.nodes), user)
        for returner in self.returners:
            at(rng.uniform(0, self._trouble_s / 2), self._return, returner)
            for _ in range(rng.choice([2, 4, 8])):
                at(rng.uniform(0, self._trouble_s), self._cut_off, returner)
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
            self.witness.lease_is_free()

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

    def _return(self, returner: Returner) -> None:
        if nodes := [node for node in self.nodes if node.accepts]:
            node = self.rng.choice(nodes)
            self.connections.append(ReturningConnection(self, node, returner))
            self.trace("returned", node, (returner.user, returner.cursor))
        elif not self.over:
            self.loop.call_later(0.2, self._return, returner)

    def _cut_off(self, returner: Returner) -> None:
        for connection in self.connections:
            if isinstance(connection, ReturningConnection) and connection.returner is returner:
                connection.end()

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
        noise = self.noise  # which the wires share
        noise.cut_before = noise.cut_after = noise.lose_batch = noise.refuse = noise.slow = 0.0

    def _settle(self) -> None:
        problem: WrongError | None = None
        deadline = self.loop.time() + PATIENCE_S
        while self.loop.time() < deadline:
            self._run_until(self.loop.time() + POLL_S)
            if not self.witness.at_rest() or not all(process.alive for process in self.processes):
                continue
            if any(sequencer.left_behind for sequencer in self.sequencers):
                continue
            try:
                for connection in self.connections:
                    if not isinstance(connection, ReturningConnection):
                        self.witness.check(connection, complete=connection.open)
                for returner in self.returners:
                    self.witness.check_returner(returner, self._reasons())
                serving = {node.id for node in self.nodes}
                self.witness.check_presence(serving, [each for each in self.connections if each.open])
                self.witness.check_places()
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
