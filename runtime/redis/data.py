"""Making sense of what Parade's keys hold. Pure.

Others can write to them: a slip in redis-cli, another program with the same namespace. What makes no sense is refused
with one line that names the key and the command that fixes it.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from contract.events import Event, parse
from contract.reports import Heartbeat, Report, parse_heartbeat, parse_report
from runtime.errors import RedisDataError

_NUMBER = re.compile(rb"[0-9]{1,16}")
"""What Parade counts stays below 2^53, so that Lua's numbers hold it exactly."""
_COUNT = re.compile(rb"-?[0-9]{1,18}")
_STREAM_ID = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")
_NAME = re.compile(rb"[0-9A-Za-z]{0,64}")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a deployment stands, as the state hash says it."""

    next: int | None
    """None in a deployment without a first batch."""
    batch: int
    cursor: bytes
    epoch: bytes
    skip_to: int
    history: bytes
    """Empty in a deployment without a first batch, and in one that an older version began."""


def position_in(key: str, state: Mapping[bytes, bytes]) -> Position:
    """Make sense of the state hash, all of it. RedisDataError for the first field that does not."""
    for name in sorted(state.keys() - {b"cursor", b"epoch", b"history"}):
        if not _COUNT.fullmatch(state[name]):
            raise junk_in_field(key, shown(name), state[name], "a number")
    next_number = number_in(key, "next", state.get(b"next"), 0)
    if b"next" in state and not next_number:
        raise junk_in_field(key, "next", state[b"next"], "a sequence number")
    return Position(
        next=next_number or None,
        batch=number_in(key, "batch", state.get(b"batch"), 0),
        cursor=stream_id_in(key, "cursor", state.get(b"cursor")),
        epoch=name_in(key, "epoch", state.get(b"epoch"), "the name of a term"),
        skip_to=number_in(key, "skip_to", state.get(b"skip_to"), 0),
        history=name_in(key, "history", state.get(b"history"), "the name of a history"),
    )


def event_in(key: str, line: bytes) -> Event:
    """A waiting event. RedisDataError when it is not one."""
    found = parse(line)
    if len(found) != 1 or not found[0][1]:
        raise no_member(key, line, "an event line")
    event: Event = found[0]
    return event


def number_in(key: str, field: str, value: bytes | None, otherwise: int) -> int:
    """A number of a hash; `otherwise` when it is not there. RedisDataError when it is not one."""
    if value is None:
        return otherwise
    if not _NUMBER.fullmatch(value):
        raise junk_in_field(key, field, value, "a number")
    return int(value)


def stream_id_in(key: str, field: str, value: bytes | None) -> bytes:
    """A stream id of a hash; `0-0` when it is not there. RedisDataError when it is not one."""
    if value is None:
        return b"0-0"
    if not _STREAM_ID.fullmatch(value):
        raise junk_in_field(key, field, value, "a stream id")
    return value


def name_in(key: str, field: str, value: bytes | None, wanted: str) -> bytes:
    """A name as it stands in frames; empty when it is not there. RedisDataError when it is not one."""
    if value is not None and not _NAME.fullmatch(value):
        raise junk_in_field(key, field, value, wanted)
    return value or b""


def heartbeat_in(key: str, node: str, text: bytes) -> Heartbeat:
    """A node's last heartbeat. RedisDataError when it is not one."""
    try:
        return parse_heartbeat(text)
    except ValueError:
        raise junk_in_field(key, node, text, "a node's report") from None


def report_in(key: str, service: str, text: bytes) -> Report:
    """A service's last report. RedisDataError when it is not one."""
    try:
        return parse_report(text)
    except ValueError:
        raise junk_in_field(key, service, text, "a service's report") from None


def wrong_type(key: str, found: str, wanted: str) -> RedisDataError:
    """The key is of a type that Parade never gave it."""
    return RedisDataError(key, f"is a {found} and not a {wanted}", f"delete it with: redis-cli DEL {quoted(key)}")


def no_member(key: str, member: bytes, wanted: str) -> RedisDataError:
    """A sorted set holds a member that Parade never put there."""
    text = shown(member)
    advice = f"delete it with: redis-cli ZREM {quoted(key)} {quoted(text)}"
    if not text.isprintable() or text.encode() != member:  # a member that can't be typed is found by its score
        look = f"see its score with: redis-cli ZRANGE {quoted(key)} 0 -1 WITHSCORES"
        advice = f"{look}, and delete it with: redis-cli ZREMRANGEBYSCORE {quoted(key)} <score> <score>"
    return RedisDataError(key, f"holds '{text}', which is not {wanted}", advice)


def shown(value: bytes | str, limit: int = 60) -> str:
    """The beginning of a value, for a message. The code that shows the message makes it printable."""
    text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
    return text[:limit] + ("…" if len(text) > limit else "")


def quoted(word: str) -> str:
    """A word for a command line that can be copied into a shell."""
    return shlex.quote(word)


def junk_in_field(key: str, field: str, value: bytes | None, wanted: str) -> RedisDataError:
    """A field of a hash holds a value that Parade never put there; None when the value is unknown."""
    name = shown(field)
    found = "something" if value is None else f"'{shown(value)}'"
    problem = f"has {found} in its field {name}, which is not {wanted}"
    mend = f"look with: redis-cli HGET {quoted(key)} {quoted(name)}"
    return RedisDataError(key, problem, f"{mend}, and delete it with HDEL in place of HGET")
