"""What the commands ask of Redis."""

import contextlib
import re
from typing import Any

import redis

from contract.keys import Keys
from contract.reports import parse_heartbeat
from runtime.errors import ParadeError, RedisDataError
from runtime.printable import printable
from runtime.redis.blocking import connected
from runtime.redis.data import number_in
from runtime.settings import Settings


def lease_holder(settings: Settings) -> str | None:
    """The token of the sequencer that holds the lease; None when there is none."""
    with connected(settings) as client:
        holder = client.get(settings.keys.lease)
    return holder.decode(errors="surrogateescape") if isinstance(holder, bytes) else None


def fresh_nodes(settings: Settings, since_ms: int) -> int:
    """How many nodes have reported since a moment of Redis time."""
    with connected(settings) as client:
        reports: Any = client.hvals(settings.keys.nodes)
    fresh = 0
    for report in reports:
        with contextlib.suppress(ValueError):  # another program wrote it; the sequencer warns of that
            fresh += parse_heartbeat(report).time_ms >= since_ms
    return fresh


def now_ms(settings: Settings) -> int:
    """Redis time in milliseconds."""
    with connected(settings) as client:
        seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def position(settings: Settings) -> dict[str, int]:
    """`next` sequence number, `backlog` bytes that are not consumed yet, events `waiting` for a number."""
    keys = settings.keys
    with connected(settings) as client:
        found: Any = client.hmget(keys.state, "next", "backlog")
        waiting = int(client.zcard(keys.waiting))
    number, backlog = found
    return {
        "next": number_in(keys.state, "next", number, settings.first_sequence),
        "backlog": number_in(keys.state, "backlog", backlog, 0),
        "waiting": waiting,
    }


def nodes_of(client: "redis.Redis", keys: Keys, user: str) -> list[str]:
    """The nodes that a user is connected to."""
    nodes: Any = client.hkeys(keys.nodes)
    online = keys.online.encode()
    return [printable(node) for node in sorted(nodes) if client.sismember(online + node, user)]


def refuse_while_sequencing(settings: Settings) -> None:
    """Raise ParadeError while a sequencer holds the lease."""
    try:
        holder = lease_holder(settings)
    except RedisDataError:  # a malformed lease is held by no process, and a reason to reset
        return
    if holder:
        raise ParadeError(f"{holder} is sequencing; stop the system first")


def reset(settings: Settings) -> int:
    """Delete every key of the deployment; returns how many. ParadeError while a sequencer holds the lease."""
    refuse_while_sequencing(settings)
    deleted = 0
    with connected(settings) as client:
        pattern = literally(settings.keys.prefix) + "*"
        keys = []
        for key in client.scan_iter(match=pattern, count=1000):
            keys.append(key)
            if len(keys) == 1000:
                deleted += int(client.unlink(*keys))
                keys = []
        if keys:
            deleted += int(client.unlink(*keys))
    return deleted


def literally(text: str) -> str:
    """A pattern that matches this text and nothing else, where Redis takes patterns."""
    return re.sub(r"([\[\]*?\\^])", r"\\\1", text)
