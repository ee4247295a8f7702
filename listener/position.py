"""Where the deployment stands, for a source that wants to continue after a break."""

from runtime.readiness import Facts
from runtime.redis.data import number_in
from runtime.redis.link import Calls
from runtime.settings import Settings


async def position(calls: Calls | None, settings: Settings) -> Facts:
    """`next` sequence number, `backlog` bytes that are not consumed yet, events `waiting` for a missing number.

    Nothing without a connection. RedisUnavailableError when Redis does not answer.
    """
    if calls is None:
        return {}
    key = settings.keys.state
    number, backlog = await calls.call("HMGET", key, "next", "backlog")
    waiting = await calls.call("ZCARD", settings.keys.waiting)
    return {
        "next": number_in(key, "next", number, settings.first_sequence),
        "backlog": number_in(key, "backlog", backlog, 0),
        "waiting": waiting,
    }
