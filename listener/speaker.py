"""Says control lines to one source, and ends its connection in an orderly way.

Rules kept here:

- What is written is bounded: while the transport is full nothing is; `Acks` then keeps only what counts.
- The end is said before the connection ends. Closing while unread bytes are there would reset it, and the last lines
  would be lost on the way: so the sending side ends first, and what still comes is read and dropped for a moment.
"""

import asyncio

from listener.acks import Acks
from listener.stats import ListenerStats
from runtime.edge.peer_log import PeerLog

PART_S = 1.0
"""How long a source has for taking the last lines, and for ending its side."""


class Speaker:
    """One connection's way out. `acks` is what there is to say, once HELLO is answered."""

    def __init__(self, transport: asyncio.Transport, log: PeerLog, peer: str, stats: ListenerStats) -> None:
        self._transport = transport
        self._log = log
        self._peer = peer
        self._stats = stats
        self.acks: Acks | None = None
        self.is_parting = False
        """The last has been said."""
        self.is_choked = False
        """The transport takes nothing more for now."""

    def answer(self, line: bytes, acks: Acks) -> None:
        """Answer HELLO."""
        self.acks = acks
        self._transport.write(line)

    def say(self) -> None:
        """Say what there is to be said, if it can be."""
        if self.acks is not None and not self.is_choked and not self.is_parting and (said := self.acks.say()):
            self._stats.acks += said.count(b"ACK ")
            self._transport.write(said)

    def part(self, last: bytes, reason: str, has_ended: bool) -> None:
        """Say the last and end the connection: at once if the source has ended its side, else when it does."""
        self._log.info("source_parted", peer=self._peer, reason=reason)
        self._transport.write((self.acks.say() if self.acks else b"") + last)
        self.is_parting = True
        if has_ended:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(PART_S, self._transport.abort)
