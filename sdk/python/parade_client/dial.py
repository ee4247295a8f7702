"""Makes one connection after another to an address, with pauses between them, as long as there is patience."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from parade_client import tcp
from parade_client.connection import Connection
from parade_client.errors import UnreachableError
from parade_client.reconnect import Pauses
from parade_client.url import Address

PATIENCE_S = 30.0
"""How long there may be no answer, unless the application says something else."""
ANSWER_S = 15.0
"""The longest wait for a connection, and then for the server's answer."""

NO_ANSWER = "there was no answer"


class Dialer:
    """The connections of one peer. `patience_s`: how long there may be no answer; `math.inf`: for ever."""

    def __init__(self, address: Address, patience_s: float) -> None:
        if not patience_s > 0:
            raise ValueError(f"patience_s is the seconds for which there may be no answer, and not {patience_s}")
        self.address = address
        self._transport = _transport_of(address)
        self.patience_s = patience_s
        self._pauses = Pauses(random.SystemRandom().random)
        self._since: float | None = None
        self._next_try = 0.0
        self._problem = NO_ANSWER

    def answered(self) -> None:
        """The server has answered."""
        self._since = None
        self._pauses.answered()

    def ended(self, problem: str, max_wait_ms: int = 0) -> None:
        """The connection ended, or there was none."""
        self._problem = problem
        self._next_try = now() + self._pauses.next_s(max_wait_ms)

    async def dial(self) -> Connection | None:
        """Wait until the next try is due, and make it; None when it failed. Raises UnreachableError."""
        self._since = now() if self._since is None else self._since
        end = self._since + self.patience_s
        await asyncio.sleep(min(self._next_try, end) - now())
        if now() >= end:
            raise UnreachableError(
                f"no answer from {self.address} for {self.patience_s:g} s ({self._problem}): "
                "is it running, and is this the right port?"
            )
        try:
            return await self._transport(self.address, min(ANSWER_S, end - now()))
        except OSError as problem:
            # A last try that had little time says less than those before it.
            is_cut_short = now() >= end and self._problem != NO_ANSWER
            self.ended(self._problem if is_cut_short else str(problem))
            return None


def _transport_of(address: Address) -> Callable[[Address, float], Awaitable[Connection]]:
    if address.scheme == "parade":
        return tcp.connect
    try:
        from parade_client import websocket  # what it needs is an extra
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "websockets":
            raise
        raise ModuleNotFoundError(
            f"{address} needs the package websockets: pip install 'parade-client[websocket]'", name="websockets"
        ) from None
    return websocket.connect


def now() -> float:
    """The time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()
