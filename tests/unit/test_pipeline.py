"""All pure parts in a row: any arrival order, any chunking, any mix gives the oracle's output."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from contract.events import parse
from fanout.merge import Broadcasts
from listener.framing import LineFramer
from sequencer.ordering import Ordering
from sequencer.routing import Routing
from simulator.oracle import Oracle
from simulator.payload import Sizes
from simulator.workload import Workload, blocks


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    mix = draw(st.tuples(*[st.integers(0, 5)] * 5).filter(any))
    first = draw(st.sampled_from([1, 8, 95, 99_990]))
    payload = draw(st.sampled_from([None, None, Sizes(0, 0), Sizes(0, 60), Sizes(300, 2000)]))
    seed = draw(st.integers(0, 10**6))
    work = Workload(draw(st.integers(1, 400)), draw(st.integers(1, 12)), seed, 20, mix, first)
    return replace(work, payload=payload)


@given(workloads(), st.booleans(), st.booleans(), st.integers(1, 3000), st.integers(1, 500))
def test_any_order_any_chunking_any_mix(work: Workload, wild: bool, crlf: bool, read_bytes: int, budget: int) -> None:
    end = b"\r\n" if crlf else b"\n"
    oracle = Oracle(range(1, work.users + 1), keep=True)
    arrival = b""
    for block in blocks(work):
        oracle.feed(block)
        arrival += block.arrival
    lines = [line + b"\n" for line in arrival.split(b"\n")[:-1]]
    if wild:
        random.Random(work.seed).shuffle(lines)
    data = b"".join(lines).replace(b"\n", end)
    received = run(data, work, read_bytes, budget)
    for user, expected in oracle.expected.items():
        assert received[b"%d" % user] == expected.bytes.replace(b"\n", end)


def run(data: bytes, work: Workload, read_bytes: int, budget: int) -> dict[bytes, bytes]:
    """Frame, parse, order, route and merge, in reads of `read_bytes` and batches of about `budget`."""
    users = [b"%d" % user for user in range(1, work.users + 1)]
    framer, ordering, routing = LineFramer(4096), Ordering(work.first, 1000), Routing()
    routing.join(b"n", users)
    for user in users:
        routing.follows.loaded(user)
    received = dict.fromkeys(users, b"")
    counts: Counter[str] = Counter()
    for start in range(0, len(data), read_bytes):
        assert ordering.accept(parse(framer.feed(data[start : start + read_bytes])), counts) == []
        while ordering.ready:
            events = ordering.release(budget)
            routed, _ = routing.route(events, budget)
            ordering.put_back(events[routed:])
            ordering.settle()
            messages, lines, _ = routing.collect()
            broadcasts, own = Broadcasts(lines), dict(messages)
            for user in users:
                received[user] += broadcasts.merged_with(own.get(user, b""))
    assert framer.close() == b""
    assert ordering.waiting == {}
    assert counts == Counter(received=work.events)
    return received
