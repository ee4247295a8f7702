"""What the parts of a node ask of a client's connection, whatever it is made of."""

from collections.abc import Callable
from typing import Protocol

from fanout.clients.pressure import Lagging


class ServedClient(Lagging, Protocol):
    """One client connection (`connection.py`)."""

    user_id: bytes
    """Empty until it is registered."""
    write: Callable[[bytes], None]
    is_quiet: bool
    """Nothing was written to it since this was set; kept only for those that opted in."""
    is_behind: bool
    """It has not taken what was written to it."""

    @property
    def peer(self) -> str:
        """Its address and port, for the log."""

    @property
    def address(self) -> str:
        """The address that counts against limits."""

    def caught_up(self) -> None:
        """Treat it as a client that is not behind."""

    def close(self, reason: str = "", max_wait_ms: int = 0) -> None:
        """Close after the rest is sent, which ends with BYE and the reason if the client opted in."""

    def abort(self) -> None:
        """Close without sending the rest."""
