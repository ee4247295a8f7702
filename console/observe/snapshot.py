"""What Redis says about a deployment at one moment: read in one round trip, and parsed. No judgement.

Every text in a snapshot is printable: it may come from anyone who can write to Redis.

Reading changes nothing. The commands go out together but are not one transaction, so that a look holds up no service:
figures of one snapshot can differ by what happened between two commands.
"""

from dataclasses import dataclass, field
from typing import Any

import redis

from contract.events import MAX_SEQUENCE
from contract.keys import Keys
from contract.reports import Heartbeat, Report
from runtime.printable import printable, printable_all
from runtime.redis.data import heartbeat_in, no_member, position_in, report_in

REJECTED_SHOWN = 10
"""The newest refused lines that a snapshot has."""
MEMORY_FIELDS = ("used_memory", "maxmemory", "maxmemory_policy")


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused line without its end; of a long one its beginning. Skipped numbers are `first-last`."""

    id: str
    time_ms: int
    reason: str
    line: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the overview is made of."""

    time_ms: int
    state: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Heartbeat] = field(default_factory=dict)
    services: dict[str, Report] = field(default_factory=dict)
    lease: str | None = None
    waiting: int = 0
    lowest_waiting: int | None = None
    events_entries: int = 0
    oldest_entry_ms: int | None = None
    rejected_entries: int = 0
    rejected: tuple[Rejection, ...] = ()
    memory: dict[str, str] = field(default_factory=dict)
    """Empty when the Redis user may not ask for it."""
    appends: bool | None = None
    """Whether Redis writes an append-only file; None when its user may not ask."""

    def number(self, name: str) -> int:
        """A number of the state hash; 0 when it is not there."""
        return int(self.state.get(name) or 0)


def read(client: "redis.Redis", keys: Keys) -> Snapshot:
    """Look at a deployment. redis.RedisError when the server does not answer or refuses, RedisDataError for junk."""
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.hgetall(keys.state)
    pipe.hgetall(keys.nodes)
    pipe.hgetall(keys.services)
    pipe.get(keys.lease)
    pipe.zcard(keys.waiting)
    pipe.zrange(keys.waiting, 0, 0, withscores=True)
    pipe.xlen(keys.events)
    pipe.xrange(keys.events, count=1)
    pipe.xlen(keys.rejected)
    pipe.xrevrange(keys.rejected, count=REJECTED_SHOWN)
    pipe.info("memory")
    pipe.info("persistence")
    commands = [args for args, _ in pipe.command_stack]
    *answers, memory, persistence = pipe.execute(raise_on_error=False)
    for command, answer in zip(commands, answers, strict=False):
        if isinstance(answer, Exception):
            answer.command = command  # type: ignore[attr-defined]
            raise answer
    (seconds, microseconds), state, nodes, services, lease, waiting, lowest, entries, oldest, refused, newest = answers
    position_in(keys.state, state)
    return Snapshot(
        time_ms=int(seconds) * 1000 + int(microseconds) // 1000,
        state=_texts(state),
        nodes={name: heartbeat_in(keys.nodes, name, report) for name, report in _named(nodes)},
        services={name: _printable(report_in(keys.services, name, report)) for name, report in _named(services)},
        lease=text_of(lease) if lease else None,
        waiting=waiting,
        lowest_waiting=_number_of(keys, *lowest[0]) if lowest else None,
        events_entries=entries,
        oldest_entry_ms=_milliseconds(oldest[0][0]) if oldest else None,
        rejected_entries=refused,
        rejected=tuple(rejection(entry_id, fields) for entry_id, fields in newest),
        # A restricted Redis user may not be allowed to ask; everything else is shown all the same.
        memory={} if isinstance(memory, Exception) else {name: str(memory.get(name, "")) for name in MEMORY_FIELDS},
        appends=None if isinstance(persistence, Exception) else bool(persistence.get("aof_enabled")),
    )


def rejection(entry_id: Any, fields: dict[Any, Any]) -> Rejection:
    """An entry of the `rejected` stream."""
    values = _texts(fields)
    line = fields.get(b"line", b"").removesuffix(b"\n").removesuffix(b"\r")
    return Rejection(text_of(entry_id), _milliseconds(entry_id), values.get("reason", ""), printable(line))


def text_of(value: Any) -> str:
    """Redis's bytes as text that can be shown."""
    return printable(value if isinstance(value, bytes) else str(value))


def _texts(pairs: dict[Any, Any]) -> dict[str, str]:
    return {text_of(name): text_of(value) for name, value in pairs.items()}


def _named(pairs: dict[Any, Any]) -> list[tuple[str, bytes]]:
    return [(text_of(name), value) for name, value in pairs.items()]


def _printable(report: Report) -> Report:
    return Report(report.time_ms, printable_all(report.facts))


def _number_of(keys: Keys, member: bytes, score: float) -> int:
    if not 0 < score <= MAX_SEQUENCE:
        raise no_member(keys.waiting, member, "an event line")
    return int(score)


def _milliseconds(entry_id: Any) -> int:
    return int(text_of(entry_id).partition("-")[0])
