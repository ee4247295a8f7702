"""Schedules of producers: listeners and sequencers are killed, stalled and cut off while Parade numbers the events.

The listeners' own code (sockets, dialogues, watcher, appender) and the sequencers' run on the simulated network. A
producer goes on after each break, at any listener, by what OK says; its older connections live on, and what they carry
may arrive much later. Every append is looked at: the next line of a producer is the one behind the last, nothing else.
"""

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any, cast

from listener.appender import Appender
from listener.dialogue import Desk
from listener.intake import Intake
from listener.server import Source, Sources
from listener.stats import ListenerStats
from listener.watcher import Watcher
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.redis.link import RedisLink
from tests.schedules.loop import VirtualLoop
from tests.schedules.processes import KEYS, Process, SequencerProcess
from tests.schedules.redis_double import Redis
from tests.schedules.reference import WrongError
from tests.schedules.wire import Noise, Wire

PATIENCE_S = 20.0
_LINE = re.compile(rb"(?:\*|(\d+))\|B\|(\w+):(\d+)\n")


def _is_event(line: bytes) -> bool:
    """Whether a line of a producer is taken."""
    return line.startswith(b"*|B|")


class Listener(Process):
    """A whole listener but for its port."""

    def __init__(self, world: "SourcesWorld", name: str, options: dict[str, Any]) -> None:
        super().__init__(world, name, options)
        self.desk: Desk | None = None
        self.sockets: list[Socket] = []

    async def main(self) -> None:
        context, stats = self.context(), ListenerStats()
        self.sources = Sources(context)
        intake = Intake(self.settings.listener_buffer_bytes, self.sources.rest)
        self.appender = appender = Appender(context, intake, Outage(context, Readiness()), stats)
        watcher = Watcher(context, appender.writer, lambda: appender.link, stats)
        self.desk = Desk(self.settings, appender, watcher, self.sources.log, stats)
        watching = asyncio.ensure_future(watcher.run())
        try:
            await appender.run()
        finally:
            watching.cancel()

    def kill(self) -> None:
        super().kill()
        self.desk = None
        for socket in list(self.sockets):
            socket.end()


class _Source(Source):
    """Hashes by number, so that a listener goes through its sources in the same order every time."""

    def __init__(self, number: int, *parts: Any) -> None:
        super().__init__(*parts)
        self._number = number

    def __hash__(self) -> int:
        return self._number


class Socket:
    """A connection of a producer, seen as the transport of the listener's Source. It may be slow, and lose its end."""

    def __init__(self, world: "SourcesWorld", listener: Listener, producer: "Producer") -> None:
        self._world, self._listener, self._producer = world, listener, producer
        self._sent_s = self._said_s = 0.0
        self._held: list[bytes] = []
        self._reads = self._is_open = True
        self._source = _Source(world.loop.numbered(), listener.sources, listener.appender, listener.desk)
        self._source.connection_made(cast(asyncio.Transport, self))
        listener.sockets.append(self)

    def send(self, data: bytes) -> None:
        self._sent_s = self._after(self._sent_s)
        self._world.loop.call_at(self._sent_s, self._arrive, data)

    def end(self) -> None:
        """The listener's side ends, or its process has died."""
        if self._is_open:
            self._is_open = False
            self._listener.sockets.remove(self)
            self._said_s = self._after(self._said_s)
            self._world.loop.call_at(self._said_s, self._producer.ended, self)
            if self._listener.alive:
                self._world.loop.call_soon(self._source.connection_lost, None)

    def _after(self, last_s: float) -> float:
        delay = self._world.rng.choice([0.0005, 0.001, 0.001, 0.01, 0.3])
        return max(last_s, self._world.loop.time() + delay, self._listener.stalled_until)

    def _arrive(self, data: bytes) -> None:
        if not self._is_open:
            return
        if self._reads:
            self._source.data_received(data)
        else:
            self._held.append(data)

    # The transport of the listener's Source

    def write(self, data: bytes) -> None:
        if self._is_open:
            self._said_s = self._after(self._said_s)
            self._world.loop.call_at(self._said_s, self._producer.told, self, data)

    def write_eof(self) -> None:
        self.end()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.end()

    abort = close

    def is_closing(self) -> bool:
        return not self._is_open

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        held, self._held = self._held, []
        for data in held:
            self._world.loop.call_soon(self._arrive, data)

    def get_extra_info(self, _: str) -> Any:
        return "192.0.2.7", 1


class Producer:
    """Sends its lines, and goes on after each break where OK says. Some of its lines are refused."""

    def __init__(self, world: "SourcesWorld", name: str, lines: list[bytes]) -> None:
        self.name, self.lines = name, lines
        self.acked = 0
        self._world = world
        self._socket: Socket | None = None
        self._heard = b""
        self._begin = self._sent = 0
        self._refused: list[int] = []

    def connect(self) -> None:
        """Say HELLO to any listener; an older connection is forgotten, not ended."""
        listener = self._world.rng.choice(self._world.listeners)
        if self.acked == len(self.lines):
            return
        if listener.desk is None:
            self._world.loop.call_later(0.1, self.connect)
            return
        self._world.trace("HELLO", self.name, listener)
        self._heard, self._begin, self._sent, self._refused = b"", -1, 0, []
        self._socket = Socket(self._world, listener, self)
        self._socket.send(b"HELLO acks=1 producer=%b\n" % self.name.encode())

    def told(self, socket: Socket, data: bytes) -> None:
        if socket is not self._socket:
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._world.trace("told", self.name, line)
            word, _, rest = line.partition(b" ")
            if word == b"OK":
                self._begin = self._sent = int(rest.rpartition(b"received=")[2])
                self._check("OK", self._begin)
                self._send(socket)
            elif word == b"ACK":
                self._check("ACK", self._begin + int(rest))
            elif word == b"NAK":
                self._refused.append(self._begin + int(rest.split()[0]) - 1)
            elif word in (b"RESET", b"GAP", b"SKIPPED"):
                raise WrongError(f"{self.name} was told {line!r}")

    def ended(self, socket: Socket) -> None:
        if socket is self._socket:
            self._socket = None
            self._world.loop.call_later(self._world.rng.choice([0.0, 0.05]), self.connect)

    def _check(self, what: str, taken: int) -> None:
        """As many lines must be there, and no fewer than were said to be before; each refused one was named."""
        wrong = [at for at in range(self._begin, taken) if not _is_event(self.lines[at])]
        if wrong != [at for at in self._refused if at < taken]:
            raise WrongError(f"{self.name}: {self._refused} were named as refused, not {wrong}")
        events = sum(map(_is_event, self.lines[:taken]))
        if taken < self.acked or self._world.appended[self.name] < events:
            raise WrongError(f"{self.name}: {what} of {taken} after {self.acked}, and {self._world.appended} are there")
        self.acked = taken

    def _send(self, socket: Socket) -> None:
        if socket is not self._socket or self._sent == len(self.lines):
            return
        size = self._world.rng.choice([1, 2, 5, 20])
        socket.send(b"".join(self.lines[self._sent : self._sent + size]))
        self._sent = min(self._sent + size, len(self.lines))
        self._world.loop.call_later(self._world.rng.choice([0.0, 0.01, 0.1]), self._send, socket)


class SourcesWorld:
    """A deployment without nodes, and its producers. WrongError when a line is lost, doubled or swapped."""

    def __init__(self, seed: int, print_line: Callable[[str], None] | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self._print_line = print_line
        self.over = False
        self.loop = VirtualLoop()
        self.redis = Redis(self.loop.time, Wire.message)
        self.noise = Noise()
        self._names = iter(range(1, 1_000_000))
        self._trouble_s = rng.choice([1.0, 2.0, 3.0])
        options = {
            "numbering": "parade",
            "redis_timeout_s": rng.choice([1.5, 3.0]),
            "listener_buffer_bytes": rng.choice([4096, 1 << 20]),
            "batch_deliveries": rng.choice([1, 3, 200_000]),
            "registration_s": rng.choice([0.5, 10.0]),
        }
        self.sequencers = [SequencerProcess(self, f"sequencer-{at}", options) for at in range(rng.choice([1, 2]))]
        self.listeners = [Listener(self, f"listener-{at}", options) for at in range(rng.choice([1, 2, 3]))]
        self.processes: list[Process] = [*self.sequencers, *self.listeners]
        self.producers = [self._producer(name) for name in "abc"[: rng.choice([1, 2, 3])]]
        self.appended = {producer.name: 0 for producer in self.producers}
        """How many events of each producer are in the stream, or were."""
        self._order: list[bytes] = []

    def _producer(self, name: str) -> Producer:
        lines = [b"*|B|%b:%d\n" % (name.encode(), at) for at in range(self.rng.randint(5, 60))]
        for _ in range(self.rng.choice([0, 1, 5])):
            lines.insert(
                self.rng.randrange(len(lines) + 1), self.rng.choice([b"rubbish\n", b"7|B\n", b"x" * 5000 + b"\n"])
            )
        return Producer(self, name, lines)

    def run(self) -> None:
        try:
            for process in self.processes:
                self.loop.call_later(0, process.start)
            self._plan()
            self._run_until(self._trouble_s)
            noise = self.noise
            noise.cut_before = noise.cut_after = noise.refuse = noise.slow = 0.0
            self.redis.full = False
            deadline = self.loop.time() + PATIENCE_S
            while self.loop.time() < deadline and not self._is_done():
                self._run_until(self.loop.time() + 0.25)
            self._judge()
        finally:
            self.over = True
            for process in self.processes:
                process.kill()
            self.loop.run(self.loop.time() + 10)
            self.redis.close()
        self._raise_errors()

    def _plan(self) -> None:
        rng, at = self.rng, self.loop.call_at
        for producer in self.producers:
            for _ in range(rng.choice([1, 1, 2, 4])):
                at(rng.uniform(0, self._trouble_s), producer.connect)
        self.noise.cut_before = rng.choice([0, 0, 0.01, 0.05])
        self.noise.cut_after = rng.choice([0, 0, 0.01, 0.05])
        self.noise.refuse = rng.choice([0, 0, 0, 0.01])
        self.noise.slow = rng.choice([0, 0.02, 0.2])
        for _ in range(rng.choice([0, 1, 2, 3, 5])):
            at(rng.uniform(0.05, self._trouble_s), self._trouble)

    def _trouble(self) -> None:
        process, wait_s = self.rng.choice([*self.processes, *self.listeners]), self.rng.choice([0.01, 0.1, 0.5, 1.2])
        what = self.rng.choice(["KILL", "STALL", "STALL", "CUT", "HANG", "FULL"])
        self.trace(what, process, wait_s)
        if what == "KILL":
            process.kill()
            self.loop.call_later(wait_s, process.start)
        elif what == "STALL":
            process.stalled_until = self.loop.time() + 2 * wait_s
            for producer in self.producers:  # they go on elsewhere, and what it holds comes late
                self.loop.call_later(wait_s, producer.connect)
        elif what == "FULL":
            self.redis.full = True
            self.loop.call_later(wait_s, setattr, self.redis, "full", False)
        elif process.wires:
            wire = self.rng.choice(process.wires)
            (wire.cut if what == "CUT" else wire.hang)()

    def _is_done(self) -> bool:
        is_acked = all(producer.acked == len(producer.lines) for producer in self.producers)
        return is_acked and len(self._released()) == len(self._order)

    def _released(self) -> list[bytes]:
        frames = [payload for channel, payload in self.redis.published if channel == KEYS.broadcast.encode()]
        return [line + b"\n" for frame in frames for line in frame.split(b"\n")[1:-1]]

    def _judge(self) -> None:
        wanted = [b"%d%b" % (at, line[1:]) for at, line in enumerate(self._order, 1)]
        if self._released() != wanted:
            raise WrongError(f"released {self._released()}, not {wanted}")
        for producer in self.producers:
            if producer.acked != len(producer.lines):
                raise WrongError(f"{producer.name}: {producer.acked} of {len(producer.lines)} are acknowledged")

    # What processes and wires call

    def trace(self, what: str, who: object, detail: object = "") -> None:
        if self._print_line:
            self._print_line(f"{self.loop.time():9.4f}  {what:<10}  {who!s:<11}  {detail}")

    def logged(self, process: Process, event: str, fields: dict[str, object]) -> None:
        self.trace("log", f"{process} {event}", fields)

    async def connect(self, owner: Process, timeout_s: float) -> RedisLink:
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

    def name(self, _: int) -> str:
        return f"{next(self._names):04x}"

    def asking(self, command: list[bytes]) -> list[bytes]:
        """A command on its way to Redis."""
        return command

    def saw(self, owner: Process, command: list[bytes], reply: object, answered_s: float) -> None:  # noqa: ARG002
        run, self.redis.commands[:] = self.redis.commands[:], []
        for each in run:
            if each[:2] == [b"XADD", KEYS.events.encode()]:
                self.trace("appended", owner, each[4])
                self._appended(each[4])
        if command[0] in (b"XADD", b"EVALSHA"):
            for process in self.processes:
                for wire in process.wires:
                    wire.publish()
                    wire.wake()

    def _appended(self, raw: bytes) -> None:
        for line in raw.splitlines(keepends=True):
            found = _LINE.fullmatch(line)
            if found is None or int(found[3]) != self.appended[found[2].decode()]:
                raise WrongError(f"{line!r} was appended, and {self.appended} were before")
            self.appended[found[2].decode()] += 1
            self._order.append(line)

    def _run_until(self, time_s: float) -> None:
        self.loop.run(time_s)
        self._raise_errors()

    def _raise_errors(self) -> None:
        if self.loop.errors:
            raise WrongError("; ".join(self.loop.errors))


def play(seed: int, print_line: Callable[[str], None] | None = None) -> None:
    """Play one schedule; `print_line` gets its trace. WrongError when a promise was broken."""
    SourcesWorld(seed, print_line).run()
