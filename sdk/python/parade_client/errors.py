"""What can go wrong. Each error says what to do, and all of them are `ParadeClientError`.

UnreachableError   no server answered for `patience_s`        start it, or wait, and open again with what you stored
DeniedError        the server does not serve this peer        correct what the reason names
RefusedError       an event was not taken                     correct the event, or the deployment's setting
OutboxFullError    nothing was acknowledged for `patience_s`  send what is missing, or look at `parade status`
FencedError        another sender uses the producer's name    give each sender a name of its own
LostError          Redis lost what this source has forgotten  send again what your own store has
ProtocolError      the server broke the protocol              report it; open again with what you stored
"""


class ParadeClientError(Exception):
    """The base of all errors of this library."""


class ProtocolError(ParadeClientError):
    """The server said what the protocol does not allow, such as a number that came before."""


class UnreachableError(ParadeClientError):
    """No server answered for as long as the caller has patience."""


class DeniedError(ParadeClientError):
    """The server does not serve this peer, and trying again would not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server refuses this connection: {reason}")
        self.reason = reason


class RefusedError(ParadeClientError):
    """An event was not taken. `reason` is the server's word, and `line` the line as it was sent."""

    ADVICE = {  # noqa: RUF012 (a constant)
        "malformed": "the deployment does not know such events",
        "too-long": "make the payload shorter, or raise PARADE_LINE_BYTES",
        "numbered": "leave seq out: this deployment numbers the events (PARADE_NUMBERING=parade)",
        "unnumbered": "give seq: in this deployment the sources number the events",
        "skipped": "its number was given up (parade skip) before it came",
    }

    def __init__(self, reason: str, line: bytes) -> None:
        advice = self.ADVICE.get(reason, "docs/protocol.md has the reasons")
        super().__init__(f"{line[:80]!r} was refused as {reason}: {advice}")
        self.reason = reason
        self.line = line


class OutboxFullError(ParadeClientError):
    """There was no room in the outbox for as long as the caller has patience."""


class FencedError(ParadeClientError):
    """A later connection of the same producer has taken over."""


class LostError(ParadeClientError):
    """Redis came back with older data than what this source still has. `wanted`: where to go on.

    It is a number for a source that numbers its events, and for a producer the count of its lines that are taken.
    """

    def __init__(self, wanted: int, what: str) -> None:
        super().__init__(what)
        self.wanted = wanted
