"""Carries the lines of an outbox to the server, and the answers back, over one connection after another.

Rules kept here:

- What is sent, and sent again, is for the outbox to decide; here are the connections and the clock.
- A server that leaves lines unanswered for `SILENCE_S` is left for another connection.
- It goes on until it is cancelled, or can't: then it says why, once.
"""

import asyncio
from collections.abc import Callable

from parade_client.connection import Connection
from parade_client.dial import ANSWER_S, Dialer
from parade_client.errors import DeniedError
from parade_client.kept import Entry
from parade_client.lines import LASTING
from parade_client.outbox import Outbox

SILENCE_S = 30.0


class Courier:
    """The connections of one source. Set `to_send` when something was added to the outbox.

    `on_answers` is called with the lines that are done by each piece of answers, and `on_end` with what ended it all.
    """

    def __init__(
        self,
        dialer: Dialer,
        outbox: Outbox,
        on_answers: Callable[[list[Entry]], None],
        on_end: Callable[[Exception], None],
    ) -> None:
        self.to_send = asyncio.Event()
        self._dialer = dialer
        self._outbox = outbox
        self._on_answers, self._on_end = on_answers, on_end

    async def run(self) -> None:
        """Connect, and connect again."""
        try:
            while True:
                connection = await self._dialer.dial()
                if connection is not None:
                    self._dialer.ended(await self._converse(connection))
        except Exception as problem:
            self._on_end(problem)

    async def _converse(self, connection: Connection) -> str:
        """One connection, from HELLO to its end; returns why it ended."""
        sending: asyncio.Task[None] | None = None
        try:
            await connection.write(self._outbox.hello())
            sending = asyncio.get_running_loop().create_task(self._send(connection))
            return await self._listen(connection)
        except OSError as problem:
            return str(problem)
        finally:
            connection.cut()
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    async def _listen(self, connection: Connection) -> str:
        outbox = self._outbox
        while True:
            was_open, had_to_answer = outbox.is_open, outbox.awaits_answers
            data = await connection.read(SILENCE_S if was_open else ANSWER_S)
            if data is None and was_open and not had_to_answer:
                continue
            if not data:
                return outbox.parting or ("it was closed" if data is not None else "it was silent")
            settled = outbox.receive(data)
            if outbox.denial.startswith(LASTING):
                raise DeniedError(outbox.denial)
            if outbox.is_open and not was_open:
                self._dialer.answered()
            self.to_send.set()
            self._on_answers(settled)

    async def _send(self, connection: Connection) -> None:
        """Send what there is, as fast as the server takes it."""
        try:
            while True:
                self.to_send.clear()
                while data := self._outbox.take():
                    await connection.write(data)
                await self.to_send.wait()
        except OSError:
            connection.cut()  # who listens takes the last answers, and sees the end
