"""The loads to measure, and what each should reach on two cores shared with the load generator."""

from dataclasses import dataclass

from simulator.wire import SSE, TCP, TRANSPORTS, WS


@dataclass(frozen=True, slots=True)
class Case:
    """A load for `parade simulate`. `aim` is shown in the table; missing it is not an error."""

    name: str
    options: tuple[str, ...]
    clients: int = 100
    fanouts: int = 2
    aim: str = ""
    transport: str = TCP


def _load(events: int, *more: object) -> tuple[str, ...]:
    return ("--events", str(events), *map(str, more))


def _paced(rate: int, seconds: int) -> tuple[str, ...]:
    return _load(rate * seconds, "--rate", rate, "--max-batch", 20)


SPARSE = ("--mix", "1,0,0,1,0", "--users", 1_000_000)

NAMES = {TCP: "TCP", WS: "WebSocket", SSE: "server-sent events"}

TABLE = (
    Case("10,000,000 events, 100 clients", _load(10_000_000), aim="400,000 events/s"),
    Case("2,000,000 events, 100 clients", _load(2_000_000)),
    Case("2,000,000 events, 1,000 clients", _load(2_000_000), 1_000, aim="250,000 events/s"),
    Case("300,000 events, 10,000 clients", _load(300_000), 10_000, aim="80,000 events/s"),
    Case("5,000,000 sparse events, 10,000 clients", _load(5_000_000, *SPARSE), 10_000, aim="150,000 events/s"),
    Case("20,000 events/s", _paced(20_000, 10), aim="1.5 / 5 ms"),
    Case("100,000 events/s", _paced(100_000, 10), aim="3 / 10 ms"),
    Case("1 node, 1,000 clients", _load(1_000_000), 1_000, fanouts=1),
    Case("2 nodes, 1,000 clients", _load(1_000_000), 1_000, fanouts=2),
    Case("4 nodes, 1,000 clients", _load(1_000_000), 1_000, fanouts=4),
    *(Case(f"300,000 events, 200 clients, {NAMES[each]}", _load(300_000), 200, transport=each) for each in TRANSPORTS),
)

SWEEP = (
    *(Case(f"sweep: {n:,} clients", _load(events), n) for n, events in (
        (10, 2_000_000), (30, 2_000_000), (100, 2_000_000), (300, 2_000_000),
        (1_000, 1_000_000), (3_000, 600_000), (10_000, 300_000),
    )),
    *(Case(f"sweep: {rate:,} events/s", _paced(rate, 5)) for rate in (
        5_000, 10_000, 20_000, 50_000, 100_000, 150_000, 200_000, 300_000,
    )),
)  # fmt: skip
"""For the plots: throughput against clients, latency against rate."""
