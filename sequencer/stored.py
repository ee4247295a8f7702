"""Reads what is in Redis, piece by piece, so that no answer is huge: what the last commit left, and what waits."""

from contract.events import Event
from contract.frames import stream_id
from contract.histories import server_in
from contract.keys import Keys
from runtime.redis.checks import parse_info
from runtime.redis.data import event_in, number_in, shown
from runtime.redis.link import Calls, Reply

CHUNK = 1000
"""Waiting events, and users, in one answer."""


async def last_in_journal(calls: Calls, keys: Keys) -> int:
    """The number of the last batch in the journal; 0 when it is empty."""
    last = await calls.call("XREVRANGE", keys.deliveries, "+", "-", "COUNT", 1)
    return stream_id(last[0][0])[0] if last else 0


async def has_entries_to(calls: Calls, keys: Keys, cursor: bytes, last: bytes) -> bool:
    """Whether the stream has all entries after a cursor, which is that of the state, up to the last one named."""
    return last == cursor or bool(await calls.call("XRANGE", keys.events, last, last))


async def waiting_events(calls: Calls, keys: Keys) -> list[Event]:
    """The events ahead of a gap."""
    waiting: list[Event] = []
    while lines := await calls.call("ZRANGE", keys.waiting, len(waiting), len(waiting) + CHUNK - 1):
        waiting += [event_in(keys.waiting, line) for line in lines]
    return waiting


async def online_users(calls: Calls, keys: Keys) -> dict[bytes, list[bytes]]:
    """The nodes and their users."""
    nodes = await calls.call("HKEYS", keys.nodes)
    return {node: await calls.call("SMEMBERS", keys.online.encode() + node) for node in nodes}


async def kept_since(calls: Calls, keys: Keys) -> dict[bytes, int]:
    """The users whose place is kept, and the number from which routing has been unbroken for each."""
    since: dict[bytes, int] = {}
    cursor = b"0"
    while True:
        cursor, flat = await calls.call("HSCAN", keys.since, cursor, "COUNT", CHUNK)
        since |= {user: number_in(keys.since, shown(user), number, 0) for user, number in pairs(flat).items()}
        if cursor == b"0":
            return since


async def away_for_s(calls: Calls, keys: Keys) -> dict[bytes, float]:
    """For how many seconds yet each user stays away, the shortest time first."""
    deadlines: dict[bytes, bytes] = {}
    while some := await calls.call("ZRANGE", keys.away, len(deadlines), len(deadlines) + CHUNK - 1, "WITHSCORES"):
        deadlines |= pairs(some)
    seconds, microseconds = await calls.call("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) / 1000
    return {user: (float(deadline_ms) - now_ms) / 1000 for user, deadline_ms in deadlines.items()}


async def server(calls: Calls) -> str:
    """The run id of this server."""
    return parse_info(await calls.call("INFO", "server")).get("run_id", "")


async def last_server(calls: Calls, keys: Keys) -> tuple[str, bytes]:
    """The run id of the server on which the last term committed, and the epoch of that term."""
    run_id, epoch = server_in(await calls.call("GET", keys.server) or b"")
    return run_id.decode(errors="replace"), epoch


async def backlog(calls: Calls, keys: Keys) -> tuple[int, int, float]:
    """What no batch has consumed yet: bytes, entries, and the age of the oldest entry in seconds."""
    held = number_in(keys.state, "backlog", await calls.call("HGET", keys.state, "backlog"), 0)
    entries = await calls.call("XLEN", keys.events)
    oldest = await calls.call("XRANGE", keys.events, "-", "+", "COUNT", 1)
    if not oldest:
        return held, entries, 0.0
    seconds, microseconds = await calls.call("TIME")
    return held, entries, max(0.0, int(seconds) + int(microseconds) / 1e6 - stream_id(oldest[0][0])[0] / 1000)


async def memory(calls: Calls) -> tuple[int, int]:
    """Memory that Redis uses and that it may use (0: no limit), in bytes."""
    info = parse_info(await calls.call("INFO", "memory"))
    return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))


def pairs(flat: list[Reply]) -> dict[bytes, bytes]:
    """An answer of `name, value, name, value, …`."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
