"""Client library of Parade: subscribers that resume, and sources with acknowledgements.

    subscriber.py   Subscriber: the feed of one user, over all its connections
    source.py       Source: sends events, and says when they are in Redis
    sync.py         the same two without asyncio
    events.py       the five kinds of events, and their lines (pure)
    errors.py       what can go wrong, and what to do about it (pure)
    cursor.py       what a subscriber says and what its answers mean (pure)
    outbox.py       what a source says and what its answers mean (pure)
    way.py          the lines of one connection, and which of them an answer speaks of (pure)
    kept.py         the lines that a source may have to send again (pure)
    lines.py        cuts bytes into lines, and reads control lines (pure)
    reconnect.py    how long to wait before the next connection (pure)
    courier.py      carries what is in an outbox, over one connection after another
    dial.py         one connection after another, as long as there is patience
    connection.py   what a connection does, over any transport
    tcp.py          a connection over TCP
    websocket.py    a connection over WebSocket
    within.py       a wait with a deadline
    url.py          parade://host:9099, ws://host:9098 (pure)

The protocol is specified in Parade's `docs/protocol.md`. No module has state of its own, and nothing starts a thread.
"""

from parade_client.cursor import Reset
from parade_client.errors import (
    DeniedError,
    FencedError,
    LostError,
    OutboxFullError,
    ParadeClientError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)
from parade_client.events import Broadcast, Event, Follow, PrivateMessage, StatusUpdate, Unfollow, parse_event
from parade_client.source import Source
from parade_client.subscriber import Subscriber

__all__ = [
    "Broadcast",
    "DeniedError",
    "Event",
    "FencedError",
    "Follow",
    "LostError",
    "OutboxFullError",
    "ParadeClientError",
    "PrivateMessage",
    "ProtocolError",
    "RefusedError",
    "Reset",
    "Source",
    "StatusUpdate",
    "Subscriber",
    "Unfollow",
    "UnreachableError",
    "parse_event",
]
