"""Arbitrary bytes in arbitrary pieces, at the ports where strangers write.

Nothing raises, no more than one line is held, what is valid comes through exactly, and each refused piece is counted
once. What is valid is decided here field by field, without the grammar's regular expression.
"""

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from contract.entries import parse_entry
from contract.events import MAX_LINE_BYTES
from fanout.clients.server import ClientServer
from fanout.clients.tcp import REGISTRATION_BYTES, Client
from fanout.stats import FanoutStats
from listener.appender import Appender
from listener.intake import Intake
from listener.server import Source, Sources
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.proxy_protocol import LONGEST_BYTES, NotProxiedError, split
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.settings import load

PROXY_LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 9099\r\n"

ids = st.integers(1, 10**20 - 1).map(lambda user: b"%d" % user)
numbers = st.integers(1, 10**16 - 1).map(lambda number: b"%d" % number)
valid_lines = st.one_of(
    st.tuples(numbers, st.just(b"B")),
    st.tuples(numbers, st.just(b"S"), ids),
    st.tuples(numbers, st.sampled_from([b"F", b"U", b"P"]), ids, ids),
).map(b"|".join)
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
    number, *rest = line.removesuffix(b"\n").removesuffix(b"\r").split(b"|")
    kind, users = rest[:1], rest[1:]
    wanted = {b"B": 0, b"S": 1, b"P": 2, b"F": 2, b"U": 2}.get(b"".join(kind))
    return is_number(number, 16) and len(users) == wanted and all(is_number(user, 20) for user in users)


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

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int) -> None:
        pass


@given(streams, cuts, st.booleans())
async def test_a_source_may_send_anything(data: bytes, sizes: list[int], proxied: bool) -> None:
    context = Context(load(proxy_protocol=proxied))
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


registrations = st.one_of(
    st.tuples(ids, st.sampled_from([b"\n", b"\r\n", b"", b" \n", b"\n1|B\n"])).map(b"".join),
    st.tuples(st.integers(0, 3), ids, st.just(b"\n")).map(lambda given: b"0" * given[0] + given[1] + given[2]),
    st.tuples(st.integers(REGISTRATION_BYTES - 3, REGISTRATION_BYTES + 3), st.booleans()).map(
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
        assert len(client._line) <= 2 * REGISTRATION_BYTES
        assert len(client._admission._line) < LONGEST_BYTES
    line, end, _ = data.partition(b"\n")
    user = line.removesuffix(b"\r")
    if end and len(line) < REGISTRATION_BYTES and is_number(user, 20):
        assert list(server.users.by_id) == [user]
        assert (transport.written, transport.closed) == ([], False)
    elif end or len(line) >= REGISTRATION_BYTES:
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
