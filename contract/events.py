"""The event grammar, as one regular expression.

Rules kept here:

- A line is an event or it is refused whole.
- The bytes of a line are never changed: a notification is the line as the source sent it.
- Equal ids are equal bytes (no leading zero), so ids need no normalising anywhere.

    <seq>|F|<from>|<to>   follow            <seq>|B           broadcast
    <seq>|U|<from>|<to>   unfollow          <seq>|S|<from>    status update
    <seq>|P|<from>|<to>   private message

Lines end with LF or CRLF. The sequence number is 1 to 2^53-1, the largest range that the score of a
Redis sorted set (a double) holds exactly; a user id has 1 to 20 decimal digits.
"""

import re
from typing import Final

MAX_SEQUENCE: Final = 2**53 - 1
MAX_LINE_BYTES: Final = 1024
"""Longer lines are refused unread. The longest event has 62 bytes; the rest makes refused lines recognisable."""
SAMPLE_BYTES: Final = 64
"""How much of a refused line is kept for the record."""

_ID = rb"[1-9][0-9]{0,19}"
_LINE = (
    rb"(([1-9][0-9]{0,15})\|"
    rb"(?:B|S\|(%(id)b)|P\|%(id)b\|(%(id)b)|([FU])\|(%(id)b)\|(%(id)b))\r?\n)"
    rb"|[^\n]*\n|[^\n]+\Z" % {b"id": _ID}
)

Event = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""(line, sequence number, author of a status update, receiver of a private message,
F or U of a change to the graph, its follower, its followee). What does not apply is empty, so a
broadcast has its first two fields only, and a line that is not an event has none."""

parse = re.compile(_LINE).findall
"""Every line of a chunk as an Event; one call in C for a whole chunk (0.2 µs an event, against 0.4 µs
for splitting each line). A line that is not an event comes out as seven empty fields."""

is_user_id = re.compile(_ID).fullmatch


def malformed(chunk: bytes) -> list[bytes]:
    """The lines of `chunk` that are not events, as received. For the few chunks that have any."""
    return [match[0] for match in re.finditer(_LINE, chunk) if not match[2]]
