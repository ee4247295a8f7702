"""Arbitrary bytes in arbitrary pieces, at the ports where strangers write.

Nothing raises, no more than one line is held, what is valid comes through exactly, and each refused piece is counted
once. What is valid is decided here field by field, without the grammar's regular expression.
"""

import asyncio
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.control import Position
from contract.entries import parse_entry
from fanout.clients.arrival import SAID_BYTES
from fanout.clients.registration import BARE_BYTES, PAIRS_BYTES
from fanout.clients.server import ClientServer
from fanout.clients.tcp import Client
from fanout.stats import FanoutStats
from listener.appender import Appender
from listener.dialogue import Desk, Greeted
from listener.intake import Intake
from listener.server import Source, Sources
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.proxy_protocol import LONGEST_BYTES, NotProxiedError, split
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.settings import load

pytestmark = pytest.mark.slow

MAX_LINE_BYTES = 1024
PROXY_LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 9099\r\n"

ids = st.integers(1, 10**20 - 1).map(lambda user: b"%d" % user)
numbers = st.integers(1, 10**16 - 1).map(lambda number: b"%d" % number)
bare_lines = st.one_of(
    st.tuples(numbers, st.just(b"B")),
    st.tuples(numbers, st.just(b"S"), ids),
    st.tuples(numbers, st.sampled_from([b"F", b"U", b"P"]), ids, ids),
).map(b"|".join)
payloads = st.binary(max_size=1100).map(lambda data: data.replace(b"\n", b"\r"))
valid_lines = st.one_of(bare_lines, st.tuples(bare_lines, payloads).map(b"|".join))
near_misses = st.lists(st.sampled_from([b"0", b"1", b"12", b"F", b"B", b"S", b"|", b"\r", b" ", b"\xb2"])).map(b"".join)
long_sizes = st.one_of(
    st.integers(MAX_LINE_BYTES - 3, MAX_LINE_BYTES + 3), st.integers(MAX_LINE_BYTES, 3 * MAX_LINE_BYTES)
)
long_lines = st.tuples(long_sizes, st.sampled_from([b"x", b"1", b"\r"]))
lines = st.one_of(valid_lines, near_misses, st.binary(max_size=40), long_lines.map(lambda given: given[1] * given[0]))
streams = st.tuples(st.lists(lines, max_size=30), st.sampled_from([b"\n", b"\r\n"])).map(
    lambda given: given[1].join(given[0])
)
cuts = st.lists(st.integers(1, 2000), max_size=40)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data cut at arbitrary places."""
    cut = []
    for size in sizes:
        cut.append(data[:size])
        data = data[size:]
    return [piece for piece in (*cut, data) if piece]


def is_number(text: bytes, most_digits: int) -> bool:
    return text.isdigit() and not text.startswith(b"0") and len(text) <= most_digits


def is_event(line: bytes) -> bool:
    """Whether a line is an event; without its LF it is none."""
    if not line.endswith(b"\n"):
        return False
    number, *rest = line.removesuffix(b"\n").split(b"|")
    wanted = {b"B": 0, b"S": 1, b"P": 2, b"F": 2, b"U": 2}.get(b"".join(rest[:1]).removesuffix(b"\r"))
    if wanted is None or len(rest) < 1 + wanted:
        return False
    fields, has_payload = rest[: 1 + wanted], len(rest) > 1 + wanted
    if not has_payload:
        fields[-1] = fields[-1].removesuffix(b"\r")
    return is_number(number, 16) and fields[0] in b"BSPFU" and all(is_number(user, 20) for user in fields[1:])


class Transport:
    """Records what is written and whether it was closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, _: str) -> Any:
        return None

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int) -> None:
        pass


@given(streams, cuts, st.booleans())
async def test_a_source_may_send_anything(data: bytes, sizes: list[int], proxied: bool) -> None:
    context = Context(load(proxy_protocol=proxied, line_bytes=MAX_LINE_BYTES))
    sources, stats = Sources(context), ListenerStats()
    intake = Intake(context.settings.listener_buffer_bytes, sources.rest)
    appender = Appender(context, intake, Outage(context, Readiness()), stats)
    source = Source(sources, appender)
    source.connection_made(cast(asyncio.Transport, Transport()))
    for piece in pieces(PROXY_LINE * proxied + data, sizes):
        source.data_received(piece)
        assert len(source._framer._tail) < MAX_LINE_BYTES
        assert len(source._admission._line) < LONGEST_BYTES
    source.connection_lost(None)

    *whole, tail = [line + b"\n" for line in data.split(b"\n")]
    short = [line for line in whole if len(line) <= MAX_LINE_BYTES]
    entry = parse_entry(b"1-0", [b"raw", b"".join(iter(lambda: intake.take(1000), b""))])
    events, refused = entry.events()
    assert [event[0] for event in events if event[1]] == [line for line in short if is_event(line)]
    assert [line for _, line in refused] == [line for line in short if not is_event(line)]
    too_long = sum(len(line) > MAX_LINE_BYTES for line in (*whole, tail))
    unended = int(1 < len(tail) <= MAX_LINE_BYTES)
    reasons = [reason for reason, _ in appender._records]
    assert reasons == ["line too long"] * too_long + ["no line end before the source closed"] * unended


class Greeter:
    """Answers HELLO when it is told to."""

    problem = ""

    def __init__(self) -> None:
        self.waiting: list[Greeted] = []

    def greet(self, dialogue: Greeted) -> None:
        self.waiting.append(dialogue)

    def leave(self, dialogue: Greeted) -> None:
        if dialogue in self.waiting:
            self.waiting.remove(dialogue)

    def welcome(self) -> None:
        while self.waiting:
            self.waiting.pop().welcome(None, Position(b"h", 1), 0)


class Acknowledging:
    """A listener with one source that may say HELLO, and nothing that appends."""

    def __init__(self) -> None:
        context = Context(load(line_bytes=MAX_LINE_BYTES))
        sources, stats = Sources(context), ListenerStats()
        self.intake = Intake(context.settings.listener_buffer_bytes, sources.rest)
        self.appender = Appender(context, self.intake, Outage(context, Readiness()), stats)
        self.greeter, self.transport = Greeter(), Transport()
        desk = Desk(context.settings, self.appender, self.greeter, sources.log, stats)
        self.source = Source(sources, self.appender, desk)
        self.source.connection_made(cast(asyncio.Transport, self.transport))

    def taken(self) -> bytes:
        return b"".join(iter(lambda: self.intake.take(1000), b""))


@given(streams, cuts, st.lists(st.booleans(), max_size=40), st.integers(0, 10))
async def test_an_acknowledged_source_may_send_anything(
    data: bytes, sizes: list[int], choked: list[bool], answered_after: int
) -> None:
    listener = Acknowledging()
    listener.source.data_received(b"HELLO acks=1\n")
    for at, piece in enumerate(pieces(data, sizes)):
        if at == answered_after:
            listener.greeter.welcome()
        if at < len(choked):
            (listener.source.pause_writing if choked[at] else listener.source.resume_writing)()
        listener.source.data_received(piece)
    listener.greeter.welcome()
    listener.source.resume_writing()

    *whole, tail = [line + b"\n" for line in data.split(b"\n")]
    whole += [tail] * (len(tail) > MAX_LINE_BYTES)  # it is refused before its end comes
    answer, *told = b"".join(listener.transport.written).splitlines()
    words = [_word(line) for line in whole]
    assert answer == b"OK h@1 reach=1000000"
    assert told == [b"NAK %d %b" % (at, word) for at, word in enumerate(words, 1) if word]
    entry = listener.taken()
    assert entry == b"".join(line for line, word in zip(whole, words, strict=True) if not word)
    groups = listener.intake.groups(entry) if listener.intake.is_marked else []
    assert sum(group.lines for group in groups) <= len(whole)
    listener.source.connection_lost(None)
    reasons = [reason for reason, _ in listener.appender._records]
    assert reasons.count("line too long") == words.count(b"too-long")
    assert reasons.count("no line end before the source closed") == (1 < len(tail) <= MAX_LINE_BYTES)


def _word(line: bytes) -> bytes:
    if len(line) > MAX_LINE_BYTES:
        return b"too-long"
    number, bar, rest = line.partition(b"|")
    is_starred = number == b"*" and bar and is_event(b"1|" + rest)
    return b"" if is_event(line) else b"unnumbered" if is_starred else b"malformed"


first_lines = st.lists(
    st.sampled_from(
        [b"HELLO", b" ", b"acks=1", b"acks=2", b"producer=", b"a.B-9_", b"/", b"\r", b"=", b"\xff", b"x=y"]
    ),
    max_size=9,
).map(b"".join)


@given(
    st.one_of(
        first_lines,
        first_lines.map(b"HELLO ".__add__),
        st.integers(4070, 4100).map(lambda n: b"HELLO acks=1 ".ljust(n, b"x")),
    ),
    cuts,
    st.booleans(),
)
async def test_a_first_line_may_be_anything(line: bytes, sizes: list[int], small: bool) -> None:
    listener = Acknowledging()
    for piece in pieces(line + b"\n1|B\n", [1] * 5000 if small else sizes):
        listener.source.data_received(piece)
    dialogues = list(listener.greeter.waiting)
    listener.greeter.welcome()
    said = b"".join(listener.transport.written)
    if not line.startswith(b"HELLO"):
        assert (said, dialogues, listener.taken()) == (b"", [], line + b"\n1|B\n")
        return
    words = line.removesuffix(b"\r").split(b" ")
    names = [word.partition(b"=") for word in words[1:]]
    producers, acks = ([value for name, _, value in names if name == wanted] for wanted in (b"producer", b"acks"))
    is_good = words[0] == b"HELLO" and all(equals for _, equals, _ in names) and acks[:1] == [b"1"]
    is_good = is_good and all(re.fullmatch(rb"[\w.-]{1,64}", name, re.ASCII) for name in producers[:1])
    if is_good and len(line) < 4096:
        assert (said, len(dialogues), listener.taken()) == (b"OK h@1 reach=1000000\n", 1, b"1|B\n")
    else:
        assert said.startswith(b"ERROR ")
        assert said.endswith(b"\n")
        assert (said.count(b"\n"), dialogues, listener.taken()) == (1, [], b"")


registrations = st.one_of(
    st.tuples(ids, st.sampled_from([b"\n", b"\r\n", b"", b" \n", b"\n1|B\n"])).map(b"".join),
    st.tuples(st.integers(0, 3), ids, st.just(b"\n")).map(lambda given: b"0" * given[0] + given[1] + given[2]),
    st.tuples(st.integers(BARE_BYTES - 3, BARE_BYTES + 3), st.booleans()).map(
        lambda given: b"1" * given[0] + b"\n" * given[1]
    ),
    st.binary(max_size=100),
    st.binary(min_size=60, max_size=300).map(lambda data: data.replace(b"\n", b"")),
)


@given(registrations, cuts, st.booleans(), st.booleans())
async def test_a_client_may_send_anything(data: bytes, sizes: list[int], small: bool, proxied: bool) -> None:
    context, transport = Context(load(proxy_protocol=proxied)), Transport()
    server = ClientServer(context, FanoutStats())
    client = Client(server)
    client.connection_made(cast(asyncio.Transport, transport))
    for piece in pieces(PROXY_LINE * proxied + data, [1] * 400 if small else sizes):
        client.data_received(piece)
        assert len(client._registration) <= PAIRS_BYTES
        assert len(client._admission._line) < LONGEST_BYTES
    line, end, _ = data.partition(b"\n")
    user = line.removesuffix(b"\r")
    if end and len(line) < BARE_BYTES and is_number(user, 20):
        assert list(server.users.by_id) == [user]
        assert (transport.written, transport.closed) == ([], False)
    elif end or len(line) >= BARE_BYTES:
        assert server.users.by_id == {}
        (answer,) = transport.written
        assert answer.startswith(b"ERROR ")
        assert answer.endswith(b"\n")
        assert transport.closed
    else:
        assert server.users.by_id == {}
        assert (transport.written, transport.closed) == ([], False)
    client.connection_lost(None)
    assert (server.users.by_id, server.clients, server.users.connections) == ({}, set(), 0)


said_parts = st.sampled_from([b"BYE", b"\n", b"\n", b"\r\n", b" ", b"x" * 70, b"B", b"YE", b"\r", b"\xff", b"BYE 7"])


@given(st.lists(said_parts, max_size=20).map(b"".join), cuts, st.booleans())
async def test_a_client_that_opted_in_may_say_anything(data: bytes, sizes: list[int], small: bool) -> None:
    context, transport = Context(load()), Transport()
    server = ClientServer(context, FanoutStats())
    client = Client(server)
    client.connection_made(cast(asyncio.Transport, transport))
    for piece in pieces(b"50 after=now\n" + data, [1] * 1500 if small else sizes):
        client.data_received(piece)
        assert len(client._said) <= SAID_BYTES
    lines = [line.removesuffix(b"\r").split(b" ")[0] for line in data.split(b"\n")[:-1]]
    assert transport.closed == (b"BYE" in lines)
    assert (transport.written, server.users.connections) == ([], int(not transport.closed))
    client.connection_lost(None)
    assert (server.users.by_id, server.clients, server.opted_in, server.users.ready) == ({}, set(), {}, {})


pairs = st.lists(
    st.sampled_from([b"after=now", b"after=9f31c2@7", b"after=", b"x=1", b"t=" + b"t" * 2050, b"x", b"=", b""]),
    max_size=3,
)


@given(ids, pairs, st.sampled_from([b"\n", b"\r\n", b""]), cuts, st.booleans())
async def test_a_registration_may_have_any_pairs(
    user: bytes, given_pairs: list[bytes], end: bytes, sizes: list[int], small: bool
) -> None:
    line = b" ".join([user, *given_pairs])
    context, transport = Context(load()), Transport()
    server = ClientServer(context, FanoutStats())
    client = Client(server)
    client.connection_made(cast(asyncio.Transport, transport))
    for piece in pieces(line + end, [1] * 5000 if small else sizes):
        client.data_received(piece)
        assert len(client._registration) < PAIRS_BYTES
    after = next((pair for pair in given_pairs if pair.startswith(b"after=")), b"")
    length = len(line) + len(end) - end.count(b"\n")
    if length >= (PAIRS_BYTES if given_pairs else BARE_BYTES):
        refused = True
    else:
        refused = bool(end) and (after == b"after=" or not all(b"=" in pair for pair in given_pairs))
    assert transport.closed == bool(transport.written) == refused
    registered = bool(end) and not refused
    assert list(server.users.by_id) == [user] * registered
    assert client.opted_in == (registered and bool(after))
    client.connection_lost(None)


proxy_parts = st.sampled_from([b"PROXY ", b"TCP4 ", b"UNKNOWN", b"192.0.2.7 ", b"80 ", b"80", b"\r\n", b"\xff", b" "])


@given(
    st.one_of(
        st.binary(max_size=200), st.lists(proxy_parts, max_size=30).map(lambda parts: b"PROXY " + b"".join(parts))
    )
)
def test_a_balancer_may_send_anything(data: bytes) -> None:
    outcomes: list[Any] = []
    for end in range(len(data) + 1):
        try:
            outcomes.append(split(data[:end]))
        except NotProxiedError:
            outcomes.append(None)
    found = [end for end, outcome in enumerate(outcomes) if outcome is not None]
    for end in found:
        assert outcomes[end] == (outcomes[found[0]][0], data[found[0] : end])
        assert found[0] <= LONGEST_BYTES


@given(st.lists(st.tuples(st.sampled_from([b"raw", b"node", b"join", b"leave", b"x"]), st.binary(max_size=60))))
def test_a_stream_entry_may_hold_anything(pairs: list[tuple[bytes, bytes]]) -> None:
    entry = parse_entry(b"1-0", [part for pair in pairs for part in pair])
    events, refused = entry.events()
    values = dict(pairs)
    if b"raw" in values:
        *ended, last = values[b"raw"].split(b"\n")
        whole = [line + b"\n" for line in ended] + [last] * bool(last)
        assert [event[0] for event in events if event[1]] == [line for line in whole if is_event(line)]
        assert [line for _, line in refused] == [line for line in whole if not is_event(line)]
    elif refused:
        assert (events, entry.node) == ([], b"")
    else:
        assert {b"node"} < values.keys()
