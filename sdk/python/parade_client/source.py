"""A source: the connections of one sender of events, one after another, with acknowledgements.

    async with Source("parade://127.0.0.1:9090") as source:
        await source.send(Broadcast(b"hi", seq=1))      # returns when it is in Redis
        await source.post(Broadcast(b"hi", seq=2))      # returns when there is room for it
        await source.flush()                            # returns when all of it is in Redis

Rules kept here:

- One task of the caller's loop, the courier, sends and reads the answers, from `async with` to its end.
- Events that wait for room get it in the order in which they came.
- When the courier gives up, every call that waits, and each later one, raises its error.
"""

import asyncio
import re
from types import TracebackType

from parade_client import url
from parade_client.courier import Courier
from parade_client.dial import PATIENCE_S, Dialer
from parade_client.errors import OutboxFullError, RefusedError
from parade_client.events import Event
from parade_client.kept import Entry
from parade_client.outbox import Outbox
from parade_client.within import within

OUTBOX_BYTES = 4 * 1024 * 1024

_is_name = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch


class Source:
    """Sends events. Without `producer` each has a number; with it, each is taken once, whoever gives the numbers.

    `outbox_bytes`: how much is kept at most for what is not acknowledged; more has to wait. `patience_s`: how long
    there may be no answer from a server, and no room in the outbox, before an error is raised; `math.inf`: for ever.
    """

    def __init__(
        self,
        address: str,
        producer: str | None = None,
        *,
        outbox_bytes: int = OUTBOX_BYTES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if producer is not None and not _is_name(producer):
            raise ValueError(f"the name of a producer is 1 to 64 of A-Z a-z 0-9 . _ -, and not {producer!r}")
        self._patience_s = patience_s
        self._outbox = Outbox(producer or "", outbox_bytes)
        dialer = Dialer(url.parse(address, url.EVENT_PORT, "source"), patience_s)
        self._courier = Courier(dialer, self._outbox, self._hear, self._fail)
        self._receipts: dict[int, asyncio.Future[None]] = {}
        """By ordinal, of each line that is not done."""
        self._posted: set[int] = set()
        self._refusal: RefusedError | None = None
        """The first one of what was posted since the last flush."""
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._heard = asyncio.Event()
        """Set, and replaced, when the server has said something."""

    @property
    def received(self) -> int:
        """How many lines of this producer are taken, over all its connections: one that starts again goes on behind."""
        return self._outbox.received

    @property
    def gap(self) -> int | None:
        """The number that everything waits for, if the server has said so: send it, if it is yours."""
        return self._outbox.gap

    async def __aenter__(self) -> "Source":
        """Connect, and wait for OK."""
        if self._task is not None:
            raise RuntimeError("a Source can be opened once: make another one")
        self._task = asyncio.get_running_loop().create_task(self._courier.run())
        try:
            while not self._outbox.is_open:
                await self._heard.wait()
                self._check()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Without an error, wait until everything is in Redis."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self.close()

    async def send(self, event: Event) -> None:
        """Send an event; returns when it is in Redis. Raises RefusedError, and the other errors of `errors.py`.

        When this is cancelled while it waits for room nothing is sent, and later the event is sent all the same.
        """
        entry, receipt = await self._add(event)
        await asyncio.wait([receipt])
        if not entry.is_done:
            self._check()
        if entry.refusal:
            raise RefusedError(entry.refusal, entry.line)

    async def post(self, event: Event) -> None:
        """Send an event soon; returns when there is room for it. `flush` says what became of it."""
        entry, _ = await self._add(event)
        self._posted.add(entry.ordinal)

    async def flush(self) -> None:
        """Wait until everything that was posted or sent before is in Redis.

        Raises RefusedError for the first event that was posted since the last flush and refused.
        """
        if self._receipts:
            await asyncio.wait(list(self._receipts.values()))
        self._check()
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal

    async def close(self) -> None:
        """End the connection, and drop what is not acknowledged."""
        if self._failure is None:
            self._fail(RuntimeError("this source is closed: make another one"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _add(self, event: Event) -> tuple[Entry, "asyncio.Future[None]"]:
        if event.seq is None and not self._outbox.producer:
            raise ValueError(
                "an event without seq needs a producer, as in Source(..., producer='orders-7'): otherwise it could be "
                "taken twice when the connection breaks"
            )
        async with self._turn:
            self._check()
            while not self._outbox.has_room(event.line):
                await self._wait_for_room()
            entry = self._outbox.add(event.line, event.seq)
        receipt = self._receipts[entry.ordinal] = asyncio.get_running_loop().create_future()
        self._courier.to_send.set()
        return entry, receipt

    async def _wait_for_room(self) -> None:
        try:
            await within(self._patience_s, self._heard.wait())
        except asyncio.TimeoutError:
            missing = "" if self.gap is None else f", and number {self.gap} is missing: send it first"
            waited = f"no room in the outbox for {self._patience_s:g} s{missing}"
            raise OutboxFullError(f"{waited}; `parade status` says what the system waits for") from None
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._task is None:
            raise RuntimeError("this source is not open: use `async with Source(...) as source:`")

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        for receipt in self._receipts.values():
            receipt.set_result(None)
        self._receipts.clear()
        self._wake()

    def _wake(self) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    def _hear(self, settled: list[Entry]) -> None:
        """The server has said something, by which these lines are done."""
        for entry in settled:
            receipt = self._receipts.pop(entry.ordinal, None)
            if receipt is not None:
                receipt.set_result(None)
            if entry.ordinal in self._posted:
                self._posted.discard(entry.ordinal)
                if entry.refusal and self._refusal is None:
                    self._refusal = RefusedError(entry.refusal, entry.line)
        self._wake()
