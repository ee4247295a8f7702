"""A subscriber: the connections of one user, one after another, as one feed of events.

    async with Subscriber("parade://127.0.0.1:9099", user=50) as feed:
        async for event in feed:
            ...

Rules kept here:

- Nothing runs beside the application: all is done in its own `await`, so what it does not take is not read, and a feed
  that is left alone costs nothing.
- An `await` that is cancelled loses nothing: the next one goes on where it was.
- A connection that is silent for `SILENCE_S` is over, since marks (AT) come at least every 10 s.
"""

import asyncio
from types import TracebackType

from parade_client import url
from parade_client.connection import Connection
from parade_client.cursor import Cursor, Reset
from parade_client.dial import ANSWER_S, PATIENCE_S, Dialer, now
from parade_client.errors import DeniedError, ProtocolError
from parade_client.events import MAX_ID, Event
from parade_client.lines import LASTING
from parade_client.within import within

SILENCE_S = 30.0
BYE_S = 5.0
"""How long the server has for closing after BYE."""


class Subscriber:
    """The feed of one user.

    `after`: a cursor that was stored, to go on behind it; None: begin now. `patience_s`: how long there may be no
    answer, at first and after each break, before UnreachableError is raised; `math.inf`: for ever.
    """

    def __init__(self, address: str, user: int, after: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        if not 1 <= user <= MAX_ID:
            raise ValueError(f"a user id has 1 to 20 digits and is not 0: {user}")
        self._dialer = Dialer(url.parse(address, url.CLIENT_PORT, "ws"), patience_s)
        self._cursor = Cursor(user, after)
        self._connection: Connection | None = None
        self._answer_due = 0.0
        self._is_closed = False
        self._reset: Reset | None = None
        """One that came when the feed was opened, until the application takes it."""
        self._before_reset: str | None = None

    @property
    def cursor(self) -> str | None:
        """Where the feed is: just behind what was taken last. Store it with the effect of an event, and give it back
        as `after`. None before the feed is open."""
        if self._reset is not None:
            return self._before_reset
        return str(self._cursor.place) if self._cursor.place else None

    async def __aenter__(self) -> "Subscriber":
        """Wait for the answer: what is sent from now on is received."""
        self._before_reset = self.cursor
        try:
            while not self._cursor.is_live:
                if self._cursor.waits:
                    item = self._take()
                    self._reset = item if isinstance(item, Reset) else None
                else:
                    await self._read()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> "Subscriber":
        return self

    async def __anext__(self) -> Event | Reset:
        """The next event, or Reset when some are missing. Raises the errors of `errors.py`."""
        if self._reset is not None:
            found, self._reset = self._reset, None
            return found
        while not self._is_closed:
            if self._cursor.waits:
                if (item := self._take()) is not None:
                    return item
            else:
                await self._read()
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the feed. The place is kept for a while, so that a later one can go on behind `cursor`."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def bye(self) -> None:
        """End the feed and give up its place: a later one begins anew."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.write(b"BYE\n")
            await within(BYE_S, _end_of(connection))
        except (OSError, asyncio.TimeoutError):
            pass  # the place is given up a little later
        finally:
            await connection.close()

    def _take(self) -> Event | Reset | None:
        was_live = self._cursor.is_live
        try:
            item = self._cursor.take()
            if self._cursor.denial.startswith(LASTING):
                raise DeniedError(self._cursor.denial)
        except (ProtocolError, DeniedError):
            self._give_up()
            raise
        if self._cursor.is_live and not was_live:
            self._dialer.answered()
        return item

    async def _read(self) -> None:
        """Read more, after having connected again if there is no connection."""
        connection = self._connection
        if connection is None:
            await self._connect()
            return
        data = await connection.read(SILENCE_S if self._cursor.is_live else max(0.0, self._answer_due - now()))
        if connection is not self._connection:
            return
        if not data:
            self._drop(self._cursor.parting or ("it was closed" if data is not None else "it was silent"))
            return
        try:
            self._cursor.put(data)
        except ProtocolError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self._drop("")
        self._is_closed = True

    def _drop(self, problem: str) -> None:
        if self._connection is not None:
            self._connection.cut()
        self._connection = None
        self._dialer.ended(problem, self._cursor.max_wait_ms)

    async def _connect(self) -> None:
        """Make the next try. Raises UnreachableError."""
        connection = await self._dialer.dial()
        if connection is None or self._is_closed:
            if connection is not None:
                connection.cut()
            return
        self._connection, self._answer_due = connection, now() + ANSWER_S
        try:
            await connection.write(self._cursor.hello())
        except OSError as problem:
            self._drop(str(problem))


async def _end_of(connection: Connection) -> None:
    while await connection.read(None):
        pass
