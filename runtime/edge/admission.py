"""Whether a connection is let in: a slot of the process, the PROXY line where it is expected, a slot of its address.

Pure: addresses and bytes in, a verdict out.

Rules kept here:

- The slot of the process is taken before a byte is read, so a peer that sends nothing is counted too.
- The address that counts is the peer's own: that of the PROXY line where one is expected.
- Each slot is given back exactly once, however the connection ends.
"""

from collections import Counter
from dataclasses import dataclass

from runtime.edge import proxy_protocol

OWN_FILES = 64
"""Open files for Redis, the log, the ports and the event loop: about twenty, more while links are reopened."""
HEALTH_CONNECTIONS = 32
"""Connections of the health port: a balancer, Prometheus, a probe, and room for more."""
WEB_CONNECTIONS = 256
"""Connections of a listener's web port. One that waits for its request gives way to a new one."""
RESERVED_FILES = OWN_FILES + 2 * HEALTH_CONNECTIONS
"""Open files kept for everything but the connections of sources and clients. The health port has its share twice, since
connections that wait to be accepted are all accepted before one of them can be closed."""


class RefusedError(Exception):
    """The connection is not let in; the text is the reason, for the log and for a client."""


class ConnectionLimits:
    """Counts the connections of one process and of each address. With 0 an address has no limit."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.most = most
        self.connections = 0
        self._most_per_address = most_per_address
        self._of_address: Counter[str] = Counter()

    def enter(self) -> None:
        """Take a slot of the process; RefusedError when all are taken."""
        if self.connections >= self.most:
            raise RefusedError("too many connections")
        self.connections += 1

    def leave(self) -> None:
        """Give the slot back."""
        self.connections -= 1

    def enter_from(self, address: str) -> None:
        """Take a slot of an address; RefusedError when all are taken."""
        if self._most_per_address and self._of_address[address] >= self._most_per_address:
            raise RefusedError("too many connections from one address")
        self._of_address[address] += 1

    def connections_from(self, address: str) -> int:
        """How many connections an address has."""
        return self._of_address.get(address, 0)

    def leave_from(self, address: str) -> None:
        """Give the slot back; an address without connections is forgotten."""
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]


@dataclass(slots=True)
class Admission:
    """One connection's way in. `complete` says that it is in; `peer` names it in the log."""

    limits: ConnectionLimits
    proxied: bool
    peer: str = "unknown"
    complete: bool = False
    _line: bytes = b""
    _counted: bool = False
    _address: str | None = None

    @property
    def address(self) -> str:
        """The peer's address, once it is in."""
        return self._address or "unknown"

    def begin(self, peer_name: tuple[str, int] | None) -> None:
        """The connection was accepted from there (None: it has gone again). RefusedError when it is not let in."""
        address, port = peer_name[:2] if peer_name else ("unknown", 0)
        self.peer = f"{address}:{port}"
        self.limits.enter()
        self._counted = True
        if not self.proxied:
            self._enter_from(address)

    def feed(self, data: bytes) -> bytes:
        """The bytes that are the peer's own: those after the PROXY line. RefusedError as in `begin`."""
        if self.complete:
            return data
        self._line += data
        try:
            found = proxy_protocol.split(self._line)
        except proxy_protocol.NotProxiedError:
            raise RefusedError("this port takes connections from its load balancer only") from None
        if found is None:
            return b""
        (address, port), rest = found
        self.peer, self._line = f"{address}:{port}", b""
        self._enter_from(address)
        return rest

    def end(self) -> None:
        """The connection has ended, or was refused."""
        if self._counted:
            self.limits.leave()
            self._counted = False
        if self._address is not None:
            self.limits.leave_from(self._address)
            self._address = None

    def _enter_from(self, address: str) -> None:
        self.limits.enter_from(address)
        self._address = address
        self.complete = True


def connections_within(files: int) -> int:
    """How many connections an open-file limit allows, beside the files that the process itself needs."""
    return files - _reserved(files)


def health_connections_within(files: int) -> int:
    """How many connections of the health port an open-file limit allows."""
    return max(1, HEALTH_CONNECTIONS * _reserved(files) // RESERVED_FILES)


def web_connections_within(files: int) -> int:
    """How many connections of a listener's web port an open-file limit allows; as many more wait to be accepted."""
    return max(1, min(WEB_CONNECTIONS, connections_within(files) // 4))


def _reserved(files: int) -> int:
    return min(RESERVED_FILES, files // 2)
