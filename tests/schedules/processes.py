"""The processes of a simulated deployment: the services' own code on simulated connections."""

import asyncio
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

from contract.keys import Keys
from fanout.clients.server import ClientServer
from fanout.clients.tcp import Client
from fanout.node import Node
from fanout.stats import FanoutStats
from listener.appender import Appender
from listener.intake import Intake
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.settings import Settings, load
from sequencer.candidate import Candidate
from sequencer.stats import SequencerStats
from tests.schedules.wire import Wire

KEYS = Keys("sim")
RECORDED = 2
"""Refused lines that a batch records."""
SLOW_UNSENT_BYTES = 5000
"""What a slow client leaves unsent: over the bound of a node, so that the node waits."""


@cache
def settings(**given: Any) -> Settings:
    """The settings of all processes. Short times make short schedules, and low limits are crossed all the time."""
    return load(
        namespace=KEYS.namespace,
        lease_s=1.0,
        tick_s=0.4,
        entry_bytes=1024,
        batch_bytes=1024,
        node_silence_s=1.1,
        node_patience_s=1.5,
        node_buffer_bytes=4096,
        client_stall_s=1.0,
        rejected_per_batch=RECORDED,
        joins_per_user=0,
        **given,
    )


RESTART_S = 0.5
POLL_S = 0.05
"""Slower polls than the services' own: fewer steps for a schedule."""


class _Log:
    """The services' log, into the trace."""

    def __init__(self, logged: Callable[[str, dict[str, object]], None]) -> None:
        self._logged = logged

    def debug(self, event: str, **fields: object) -> None:
        self._logged(event, fields)

    info = warning = error = debug


async def _suits(*_: object) -> None:
    """In place of the checks of a real server's configuration and rights."""


class Process:
    """One process that can be started, killed, told to stop, and stalled."""

    def __init__(self, world: Any, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self.settings = settings(**options)
        self._wires: list[Wire] = []
        self.stalled_until = 0.0
        self.world = world
        self.task: asyncio.Task[None] | None = None
        self.stop = asyncio.Event()

    def __str__(self) -> str:
        return self.name

    @property
    def wires(self) -> list[Wire]:
        """Its connections that are open at the server."""
        self._wires = [wire for wire in self._wires if wire.open]
        return self._wires

    @property
    def alive(self) -> bool:
        return self.task is not None

    def context(self) -> Context:
        """The process's way to the outside: into the world, with time, names and log from there."""
        return Context(
            self.settings,
            log=_Log(partial(self.world.logged, self)),
            open_link=lambda _, timeout_s, __: self.world.connect(self, timeout_s),
            random_hex=self.world.name,
            least_poll_s=POLL_S,
        )

    def connected(self, wire: Wire) -> None:
        self._wires.append(wire)

    def start(self) -> None:
        if not self.alive and not self.world.over:
            self.stop = asyncio.Event()
            self.stalled_until = 0.0
            self.task = self.world.loop.create_task(self.main())
            self.task.add_done_callback(self._ended)

    def kill(self) -> None:
        """SIGKILL: from this moment on nothing of it reaches anybody."""
        if self.task is not None:
            task, self.task = self.task, None
            for wire in self.wires:
                wire.abort()
            task.cancel()

    async def main(self) -> None:
        raise NotImplementedError

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.task is task:  # it stopped because it was told to; something starts it again
            self.task = None
            self.world.loop.call_later(RESTART_S, self.start)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.world.loop.errors.append(f"{self.name} died: {problem!r}")


class SequencerProcess(Process):
    async def main(self) -> None:
        context = self.context()
        self._candidate = Candidate(context, Outage(context, Readiness()), SequencerStats(), check=_suits)
        await self._candidate.run(self.stop)

    @property
    def left_behind(self) -> dict[bytes, str]:
        """The nodes that it does not wait for now, and why."""
        term = self._candidate._term
        return term.commits.standings.left_behind if term else {}


class ListenerProcess(Process):
    """A listener and the source behind it, which sends everything again to a new process."""

    def __init__(self, world: Any, name: str, options: dict[str, Any]) -> None:
        super().__init__(world, name, options)
        self.sent: list[bytes] = []
        self.appender: Appender | None = None

    async def main(self) -> None:
        context, intake = self.context(), Intake(self.settings.listener_buffer_bytes, lambda _: None)
        self.appender = Appender(context, intake, Outage(context, Readiness()), ListenerStats())
        for chunk in self.sent:
            intake.put(chunk)
        await self.appender.run()

    def send(self, chunk: bytes) -> None:
        self.sent.append(chunk)
        if self.appender is not None:
            self.appender.accept(chunk)


class NodeProcess(Process):
    def __init__(self, world: Any, name: str, options: dict[str, Any]) -> None:
        super().__init__(world, name, options)
        self.id = b""
        self.server: ClientServer | None = None
        self.connections: list[Connection] = []

    def start(self) -> None:
        if not self.alive and not self.world.over:
            self.server = ClientServer(self.context(), FanoutStats())
        super().start()

    async def main(self) -> None:
        # The order of fanout/__main__.py: connections end first, then the node leaves.
        assert self.server is not None
        context, leave = self.context(), asyncio.Event()
        node = Node(context, self.server, Outage(context, Readiness()), self.server.stats)
        serving = asyncio.ensure_future(node.run(leave))
        try:
            await self.stop.wait()
            await self.server.drain(self.server.spread(0.1), 0.5)
            leave.set()
            await asyncio.wait([serving], timeout=1.0)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()

    def kill(self) -> None:
        super().kill()
        self.server = None
        for connection in list(self.connections):
            connection.end()

    @property
    def accepts(self) -> bool:
        return self.server is not None and not self.stop.is_set()


class _Client(Client):
    """Hashes by number, so that a node goes through its clients in the same order every time."""

    def __init__(self, server: ClientServer, number: int) -> None:
        super().__init__(server)
        self._number = number

    def __hash__(self) -> int:
        return self._number


class Connection:
    """A user client's connection, seen as the transport of the node's Client; keeps what it received."""

    def __init__(self, world: Any, node: NodeProcess, user: int, pairs: bytes = b"") -> None:
        self.user = user
        self.node = node
        self._last_node_id = b""
        self.opened_at_batch = world.witness.batches[-1].number
        self.written_at_opening = world.witness.written_by(node.id)
        self.received: list[bytes] = []
        self.open = True
        self.slow = False
        self._world = world
        assert node.server is not None
        self._client = _Client(node.server, world.loop.numbered())
        self._client.connection_made(cast(asyncio.Transport, self))
        node.connections.append(self)
        self._client.data_received(b"%d%b\r\n" % (user, pairs))

    def __str__(self) -> str:
        return f"connection of {self.user} at {self.node}, opened at batch {self.opened_at_batch}"

    @property
    def node_id(self) -> bytes:
        return self.node.id if self.open else self._last_node_id

    def end(self) -> None:
        """The client goes away, or its node has died."""
        if self.open:
            self._closed()

    def pause(self, slow: bool) -> None:
        """The client stops or goes on reading."""
        if self.open and slow != self.slow:
            self.slow = slow
            (self._client.pause_writing if slow else self._client.resume_writing)()

    def _closed(self) -> None:
        self.open = False
        self._last_node_id = self.node.id
        self.node.connections.remove(self)
        self._world.trace("closed", self.node, self)
        self._world.loop.call_soon(self._client.connection_lost, None)

    # The transport of the node's Client

    def write(self, data: bytes) -> None:
        if self.open:
            self.received.append(data)
            self._world.trace("wrote", self.node, (self.user, data))

    def abort(self) -> None:
        if self.open:
            self._closed()
            self._world.come_back(self)

    close = abort

    def is_closing(self) -> bool:
        return not self.open

    def get_write_buffer_size(self) -> int:
        return SLOW_UNSENT_BYTES if self.slow else 0

    def get_extra_info(self, _: str) -> Any:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Returner:
    """A user that goes on where it was: what is judged is what it has got over all its connections."""

    def __init__(self, user: int) -> None:
        self.user = user
        self.parts: list[tuple[int, bytes]] = []
        """(number, the lines behind it) from the beginning, and from each RESET on."""
        self.resets: list[bytes] = []
        self.live = False
        self._history, self._number = b"", -1

    @property
    def cursor(self) -> bytes:
        return b"%b@%d" % (self._history, self._number) if self.parts else b"now"

    def take(self, line: bytes) -> None:
        """The next line of its connection."""
        word, _, rest = line.partition(b" ")
        if word in (b"OK", b"RESUMED", b"RESET"):
            self._begin(word, *rest.split(b" "))
        elif word == b"AT":
            self._goes_on(int(rest))
        elif word != b"BYE":
            self._goes_on(int(line.partition(b"|")[0]) - 1)
            self._number += 1
            number, lines = self.parts[-1]
            self.parts[-1] = number, lines + line + b"\n"

    def _begin(self, word: bytes, position: bytes, *reason: bytes) -> None:
        self.resets += reason
        if self.live or (word == b"RESUMED" and position != self.cursor):
            raise AssertionError(f"user {self.user} at {self.cursor!r} is told {word!r} {position!r}")
        self.live = True
        self._history, _, number = position.partition(b"@")
        if word != b"RESUMED":
            self._goes_on(int(number))
            self.parts.append((int(number), b""))

    def _goes_on(self, number: int) -> None:
        if number < self._number or not self.live:
            raise AssertionError(f"user {self.user} at {self.cursor!r} goes on at {number}")
        self._number = number


class ReturningConnection(Connection):
    """One of its connections."""

    def __init__(self, world: Any, node: NodeProcess, returner: Returner) -> None:
        self.returner = returner
        returner.live = False
        super().__init__(world, node, returner.user, b" after=" + returner.cursor)

    def write(self, data: bytes) -> None:
        if self.open:
            super().write(data)
            for line in bytes(data).split(b"\n")[:-1]:
                self.returner.take(line)

    def _closed(self) -> None:
        super()._closed()
        self.returner.live = False
        self._world.returns(self.returner)

    def abort(self) -> None:
        self.end()

    close = abort
