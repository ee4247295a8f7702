"""The part of Redis that Parade uses, in memory: commands, streams, pub/sub, expiry, and the real Lua scripts.

Rules kept here:

- Each command is one atomic step, and so is a script; a script that fails half-way leaves what it did.
- With its memory `full` it refuses what could need more, but not in a script that has written something already.
- An unknown command or option fails the schedule loudly; it is never taken for an error answer of Redis.
- Time is the caller's, in the expiry of keys, in TIME and in stream ids.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from zlib import crc32

from lupa.lua51 import LuaRuntime, lua_type

Reply = Any
"""bytes, int, None, Status, or a list of these."""
StreamId = tuple[int, int]
_lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)


class Status(bytes):
    """A simple string such as OK."""


class RefusedError(Exception):
    """An error answer of Redis."""


class Hash(dict[bytes, bytes]):
    pass


class SortedSet(dict[bytes, float]):
    pass


class Stream:
    """Entries in order of their ids."""

    def __init__(self) -> None:
        self.ids: list[StreamId] = []
        self.fields: list[list[bytes]] = []
        self.last: StreamId = (0, 0)

    def between(self, first: StreamId, last: StreamId, count: int) -> list[Reply]:
        start = bisect_left(self.ids, first)
        ids = [entry for entry in self.ids[start : start + count] if entry <= last]
        return [[b"%d-%d" % entry, self.fields[start + at]] for at, entry in enumerate(ids)]

    def __len__(self) -> int:
        return len(self.ids)


GROWING = {b"SET", b"HSET", b"HSETNX", b"HINCRBY", b"SADD", b"ZADD", b"XADD"}
"""Commands that Redis refuses while its memory is full (its flag `denyoom`)."""
SHRINKING = {b"DEL", b"HDEL", b"SREM", b"ZREM", b"ZREMRANGEBYSCORE", b"XTRIM", b"PEXPIRE", b"RENAME"}
TYPES = {bytes: b"string", Hash: b"hash", set: b"set", SortedSet: b"zset", Stream: b"stream"}
ENDLESS = 2**63


class Redis:
    """One server. `deliver(subscriber, message)` hands a pub/sub message to a subscriber."""

    def __init__(self, now: Callable[[], float], deliver: Callable[[Any, list[Reply]], None]) -> None:
        self.data: dict[bytes, Any] = {}
        self.published: list[tuple[bytes, bytes]] = []
        self.full = False
        self.run_id = b"5ca1ab1e"
        self.commands: list[list[bytes]] = []
        """All that was run since it was last cleared, in scripts or not. For the checks."""
        self._in_script = self._wrote = False
        self._expires: dict[bytes, float] = {}
        self._channels: dict[bytes, list[Any]] = {}
        self._scripts: dict[bytes, Any] = {}
        self._now = now
        self._deliver = deliver
        self._redis = _lua.table_from(
            {
                b"call": self._lua_call,
                b"pcall": self._lua_pcall,
                b"error_reply": lambda text: _lua.table_from({b"err": text}),
                b"status_reply": lambda text: _lua.table_from({b"ok": text}),
                b"sha1hex": lambda text: hashlib.sha1(text, usedforsecurity=False).hexdigest().encode(),
            }
        )

    def close(self) -> None:
        """Let go of everything: Python can't see that only Lua holds on to a server."""
        self._redis = None
        self.data.clear()
        self.commands.clear()

    def run(self, command: list[bytes]) -> Reply:
        """Run a command. RefusedError for an error answer."""
        handler = HANDLERS.get(command[0])
        if handler is None:
            raise NotImplementedError(f"the double has no command {command[:3]!r}")
        if self.full and command[0] in GROWING and not (self._in_script and self._wrote):
            raise RefusedError("OOM command not allowed when used memory > 'maxmemory'.")
        self._wrote = self._wrote or command[0] in GROWING or command[0] in SHRINKING
        self.commands.append(command)
        return handler(self, *command[1:])

    def get(self, key: str, kind: type) -> Any:
        """A value to look at; an empty one when there is none. For the checks."""
        return self._peek(key.encode(), kind)

    # Keys

    def _value(self, key: bytes) -> Any:
        if key in self._expires and self._expires[key] <= self._now():
            self._do_del(key)
        return self.data.get(key)

    def _peek(self, key: bytes, kind: type) -> Any:
        value = self._value(key)
        if value is None:
            return kind()
        if type(value) is not kind:
            raise RefusedError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def _open(self, key: bytes, kind: type) -> Any:
        value = self._peek(key, kind)
        self.data[key] = value
        return value

    def _do_del(self, *keys: bytes) -> int:
        for key in keys:
            self._expires.pop(key, None)
        return sum(self.data.pop(key, None) is not None for key in keys)

    def _do_type(self, key: bytes) -> Status:
        value = self._value(key)
        return Status(TYPES[type(value)] if value else b"none")

    def _do_exists(self, *keys: bytes) -> int:
        return sum(bool(self._value(key)) for key in keys)

    def _do_pexpire(self, key: bytes, milliseconds: bytes) -> int:
        if not self._value(key):
            return 0
        self._expires[key] = self._now() + int(milliseconds) / 1000
        return 1

    def _do_pttl(self, key: bytes) -> int:
        if not self._value(key):
            return -2
        return int((self._expires[key] - self._now()) * 1000) if key in self._expires else -1

    def _do_keys(self, pattern: bytes) -> list[bytes]:
        return [key for key in list(self.data) if self._value(key) and key.startswith(pattern.removesuffix(b"*"))]

    def _do_rename(self, key: bytes, new: bytes) -> Status:
        self.data[new] = self.data.pop(key)
        return Status(b"OK")

    def _do_time(self) -> list[bytes]:
        micros = int(self._now() * 1_000_000) + 1_700_000_000_000_000
        return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]

    def _do_info(self, section: bytes) -> bytes:
        if section == b"server":
            return b"# Server\r\nrun_id:%b\r\n" % self.run_id
        return b"# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\n"

    # Strings

    def _do_get(self, key: bytes) -> bytes | None:
        return self._peek(key, bytes) or None

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> Reply:
        if options == (b"NX",):
            return None if self._value(key) else self._do_set(key, value)
        if options and (options[0] != b"PX" or len(options) != 2):
            raise NotImplementedError(f"SET with {options!r}")
        self.data[key] = value
        self._expires.pop(key, None)
        if options:
            self._do_pexpire(key, options[1])
        return Status(b"OK")

    # Hashes

    def _do_hset(self, key: bytes, *pairs: bytes) -> int:
        value = self._open(key, Hash)
        before = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(value) - before

    def _do_hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        return 0 if field in self._peek(key, Hash) else self._do_hset(key, field, value)

    def _do_hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        value = int(self._peek(key, Hash).get(field, b"0")) + int(by)
        self._open(key, Hash)[field] = b"%d" % value
        return value

    def _do_hget(self, key: bytes, field: bytes) -> bytes | None:
        return self._peek(key, Hash).get(field)  # type: ignore[no-any-return]

    def _do_hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        value = self._peek(key, Hash)
        return [value.get(field) for field in fields]

    def _do_hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self._peek(key, Hash).items() for part in pair]

    def _do_hkeys(self, key: bytes) -> list[bytes]:
        return list(self._peek(key, Hash))

    def _do_hvals(self, key: bytes) -> list[bytes]:
        return list(self._peek(key, Hash).values())

    def _do_hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self._peek(key, Hash))

    def _do_hdel(self, key: bytes, *fields: bytes) -> int:
        value = self._peek(key, Hash)
        return sum(value.pop(field, None) is not None for field in fields)

    def _do_hscan(self, key: bytes, cursor: bytes, *count: bytes) -> list[Reply]:
        value = self._peek(key, Hash)
        cursor, found = _scanned(value, cursor, count)
        return [cursor, [part for field in found for part in (field, value[field])]]

    # Sets

    def _do_sadd(self, key: bytes, *members: bytes) -> int:
        value = self._open(key, set)
        before = len(value)
        value.update(members)
        return len(value) - before

    def _do_srem(self, key: bytes, *members: bytes) -> int:
        value = self._peek(key, set)
        before = len(value)
        value.difference_update(members)
        return before - len(value)

    def _do_smembers(self, key: bytes) -> list[bytes]:
        return sorted(self._peek(key, set))

    def _do_smismember(self, key: bytes, *members: bytes) -> list[int]:
        value = self._peek(key, set)
        return [int(member in value) for member in members]

    def _do_sscan(self, key: bytes, cursor: bytes, *count: bytes) -> list[Reply]:
        return list(_scanned(self._peek(key, set), cursor, count))

    def _do_scard(self, key: bytes) -> int:
        return len(self._peek(key, set))

    # Sorted sets

    def _do_zadd(self, key: bytes, *pairs: bytes) -> int:
        value = self._open(key, SortedSet)
        before = len(value)
        value.update(zip(pairs[1::2], map(float, pairs[::2]), strict=True))
        return len(value) - before

    def _do_zrange(self, key: bytes, first: bytes, last: bytes, *with_scores: bytes) -> list[bytes]:
        value = self._peek(key, SortedSet)
        members = sorted(value, key=lambda member: (value[member], member))[int(first) : int(last) + 1 or None]
        if not with_scores:
            return members
        return [part for member in members for part in (member, b"%.17g" % value[member])]

    def _do_zrem(self, key: bytes, *members: bytes) -> int:
        value = self._peek(key, SortedSet)
        return sum(value.pop(member, None) is not None for member in members)

    def _do_zcard(self, key: bytes) -> int:
        return len(self._peek(key, SortedSet))

    def _do_zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> int:
        if low != b"-inf" or not high.startswith(b"("):
            raise NotImplementedError(f"ZREMRANGEBYSCORE {low!r} {high!r}")
        value = self._peek(key, SortedSet)
        gone = [member for member, score in value.items() if score < float(high[1:])]
        for member in gone:
            del value[member]
        return len(gone)

    # Streams

    def _do_xadd(self, key: bytes, *arguments: bytes) -> bytes:
        options, kept = list(arguments), ENDLESS
        if options[:2] == [b"MAXLEN", b"~"]:
            kept = int(options[2])
            del options[:3]
        stream = self._peek(key, Stream)
        if options[0] == b"*":
            number = (int(self._now() * 1000) + 1_700_000_000_000, 0)
            if number <= stream.last:
                number = (stream.last[0], stream.last[1] + 1)
        else:
            number = _id(options[0], 0)
        if number <= stream.last:
            raise RefusedError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        self.data[key] = stream
        stream.last = number
        stream.ids.append(number)
        stream.fields.append(options[1:])
        if len(stream) > kept:
            del stream.ids[:-kept], stream.fields[:-kept]
        return b"%d-%d" % number

    def _do_xlen(self, key: bytes) -> int:
        return len(self._peek(key, Stream))

    def _do_xtrim(self, key: bytes, how: bytes, first_kept: bytes) -> int:
        if how != b"MINID":
            raise NotImplementedError(f"XTRIM {how!r}")
        stream = self._peek(key, Stream)
        count = bisect_left(stream.ids, _id(first_kept, 0))
        del stream.ids[:count], stream.fields[:count]
        return count

    def _do_xrange(self, key: bytes, first: bytes, last: bytes, *count: bytes) -> list[Reply]:
        limit = int(count[1]) if count else ENDLESS
        return self._peek(key, Stream).between(_id(first, 0), _id(last, ENDLESS), limit)  # type: ignore[no-any-return]

    def _do_xrevrange(self, key: bytes, last: bytes, first: bytes, *count: bytes) -> list[Reply]:
        found = self._peek(key, Stream).between(_id(first, 0), _id(last, ENDLESS), ENDLESS)
        return found[::-1][: int(count[1]) if count else None]  # type: ignore[no-any-return]

    def _do_xread(self, *arguments: bytes) -> Reply:
        """Without waiting: what BLOCK asks for is the connection's affair."""
        options = dict(zip(arguments[:-3:2], arguments[1:-3:2], strict=True))
        marker, key, after = arguments[-3:]
        if marker != b"STREAMS" or options.keys() - {b"COUNT", b"BLOCK"}:
            raise NotImplementedError(f"XREAD {arguments!r}")
        milliseconds, sequence = _id(after, 0)
        stream = self._peek(key, Stream)
        found = stream.between((milliseconds, sequence + 1), (ENDLESS, 0), int(options.get(b"COUNT", ENDLESS)))
        return [[key, found]] if found else None

    # Publish and subscribe

    def _do_publish(self, channel: bytes, payload: bytes) -> int:
        self.published.append((channel, payload))
        subscribers = self._channels.get(channel, ())
        for subscriber in subscribers:
            self._deliver(subscriber, [b"message", channel, payload])
        return len(subscribers)

    def _do_pubsub(self, what: bytes, *channels: bytes) -> list[Reply]:
        if what != b"NUMSUB":
            raise NotImplementedError(f"PUBSUB {what!r}")
        return [part for channel in channels for part in (channel, len(self._channels.get(channel, ())))]

    def subscribe(self, subscriber: Any, channels: list[bytes]) -> None:
        """Add a subscriber and confirm each channel."""
        for channel in channels:
            known = self._channels.setdefault(channel, [])
            if subscriber not in known:
                known.append(subscriber)
            self._deliver(subscriber, [b"subscribe", channel, 1])

    def unsubscribe(self, subscriber: Any, channels: list[bytes]) -> None:
        """Remove a subscriber and confirm each channel."""
        for channel in channels:
            if subscriber in self._channels.get(channel, ()):
                self._channels[channel].remove(subscriber)
            self._deliver(subscriber, [b"unsubscribe", channel, 0])

    def forget(self, subscriber: Any) -> None:
        """Its connection is gone."""
        for subscribers in self._channels.values():
            if subscriber in subscribers:
                subscribers.remove(subscriber)

    # Scripts

    def _do_script(self, what: bytes, text: bytes) -> bytes:
        if what != b"LOAD":
            raise NotImplementedError(f"SCRIPT {what!r}")
        sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self._scripts[sha] = _compiled(text)
        return sha

    def _do_evalsha(self, sha: bytes, count: bytes, *rest: bytes) -> Reply:
        if sha not in self._scripts:
            raise RefusedError("NOSCRIPT No matching script")
        keys, arguments = rest[: int(count)], rest[int(count) :]
        self._in_script, self._wrote = True, False
        try:
            return _from_lua(self._scripts[sha](_lua.table_from(keys), _lua.table_from(arguments), self._redis))
        finally:
            self._in_script = False

    def _lua_call(self, *command: Any) -> Any:
        reply = self.run([part if type(part) is bytes else b"%.17g" % part for part in command])
        return reply if type(reply) in (bytes, int) else _to_lua(reply)

    def _lua_pcall(self, *command: Any) -> Any:
        try:
            return self._lua_call(*command)
        except RefusedError as refusal:
            return _lua.table_from({b"err": str(refusal).encode()})


HANDLERS: dict[bytes, Callable[..., Reply]] = {
    name.removeprefix("_do_").upper().encode(): handler
    for name, handler in vars(Redis).items()
    if name.startswith("_do_")
}


@cache
def _compiled(text: bytes) -> Any:
    return _lua.eval(b"function(KEYS, ARGV, redis) " + text + b"\nend")


def _scanned(members: Iterable[bytes], cursor: bytes, count: tuple[bytes, ...]) -> tuple[bytes, list[bytes]]:
    """As in Redis, what is there all the time is found, in an order of its own, some of it at a time."""
    if count[0] != b"COUNT":
        raise NotImplementedError(f"a scan with {count!r}")
    places = sorted((crc32(member) + 1, member) for member in members)
    rest = [place for place in places if place[0] >= int(cursor)]
    found, rest = rest[: int(count[1])], rest[int(count[1]) :]
    return b"%d" % (rest[0][0] if rest else 0), [member for _, member in found]


def _to_lua(reply: Reply) -> Any:
    # https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion
    if reply is None:
        return False
    if isinstance(reply, list):
        return _lua.table_from([_to_lua(part) for part in reply])
    if isinstance(reply, Status):
        return _lua.table_from({b"ok": bytes(reply)})
    return reply


def _from_lua(value: Any) -> Reply:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, int | float):
        return int(value)
    if lua_type(value) != "table":
        return value
    if (error := value[b"err"]) is not None:
        raise RefusedError(error.decode())
    if (status := value[b"ok"]) is not None:
        return Status(status)
    return [_from_lua(value[at]) for at in range(1, len(value) + 1)]


def _id(text: bytes, sequence: int) -> StreamId:
    if text in (b"-", b"+"):
        return (0, 0) if text == b"-" else (ENDLESS, ENDLESS)
    milliseconds, dash, rest = text.partition(b"-")
    return int(milliseconds), int(rest) if dash else sequence


def encode(reply: Reply) -> bytes:
    """The bytes that a server sends for a reply."""
    if isinstance(reply, Status):
        return b"+%b\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if reply is None:
        return b"*-1\r\n"
    if isinstance(reply, RefusedError):
        return b"-%b\r\n" % str(reply).encode()
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encode, reply)))
