"""A client's registration line: who it is, and where it goes on. Pure: bytes in, a verdict out.

    50                           bare: served from now on, and told nothing but its lines
    50 after=now                 from now on; the user's place is kept when it leaves
    50 after=9f31c2@70000        from behind that event on, if that can be

Rules kept here:

- The first line decides, however its bytes are cut; what follows it is the caller's.
- A bare line has at most `BARE_BYTES` with its end. One with a blank after the id may have pairs, and `PAIRS_BYTES`.
- A line without `after` is a bare one, whatever other pairs it has; unknown pairs are ignored (`contract/control.py`).
"""

import re
from dataclasses import dataclass

from contract.control import Position, split
from contract.events import is_user_id
from runtime.edge.admission import RefusedError

BARE_BYTES = 64
PAIRS_BYTES = 4 * 1024
"""Room for a token."""
NOW = b"now"

_may_have_pairs = re.compile(rb"[1-9][0-9]{0,19} ").match


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration line says."""

    user_id: bytes
    opted_in: bool = False
    """It knows what RESUMED, RESET, AT and BYE are, and its user's place is kept."""
    after: Position | None = None
    """Where it goes on; None: from now on."""


class Registration:
    """The registration of one connection, gathered from its bytes."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line = b""

    def __len__(self) -> int:
        return len(self._line)

    def feed(self, data: bytes) -> tuple[Registered, bytes] | None:
        """Take the next bytes: the registration and what came after its line, or None while that has not ended.

        RefusedError with the reason when it is not a registration line.
        """
        line, end, rest = (self._line + data).partition(b"\n")
        most = PAIRS_BYTES if _may_have_pairs(line) else BARE_BYTES
        if len(line) >= most:
            self._line = b""
            raise RefusedError(f"a registration line has at most {most} bytes")
        if not end:
            self._line = line
            return None
        self._line = b""
        return parse(line.removesuffix(b"\r")), rest


def parse(line: bytes) -> Registered:
    """Make sense of a registration line without its end. RefusedError with the reason when it makes none."""
    words, pairs = split(line)
    if words != [line.partition(b" ")[0]] or not is_user_id(words[0]):
        raise RefusedError("a user id is 1 to 20 digits without a leading zero")
    after = pairs.get(b"after")
    if after is None:
        return Registered(words[0])
    if after == NOW:
        return Registered(words[0], opted_in=True)
    try:
        return Registered(words[0], opted_in=True, after=Position.parse(after))
    except ValueError:
        raise RefusedError("after is `now` or <history>@<number>, as in after=9f31c2@70000") from None
