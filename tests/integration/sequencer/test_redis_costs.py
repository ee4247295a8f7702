"""What events cost in Redis, counted and not timed, so that a change that makes them dearer shows on any machine.

A fixed stream goes through the sequencer's parts and its commits to a real server, where each command and byte is
counted. Who finds a cheaper way records the new figures here.
"""

from pathlib import Path

from contract.events import parse
from runtime.redis.link import RedisLink, connect
from runtime.settings import KIB, Settings, load
from sequencer.batch import Batch
from sequencer.ordering import Ordering
from sequencer.routing import Routing
from sequencer.store import Store
from simulator.workload import Workload, blocks
from tests.support.programs import Program
from tests.support.servers import free_port, server_of

EVENTS = 100_000
USERS = [b"%d" % user for user in range(1, 101)]
BATCH_BYTES = 128 * KIB

RECORDED = {
    "commands for 1,000 events": 815.3,
    "bytes to Redis for an event": 8.10,
}
TOLERATED = 1.1


def batches() -> list[bytes]:
    """The raw bytes of each batch, as under load."""
    text = b"".join(block.arrival for block in blocks(Workload(EVENTS, 1_000, 666)))
    found, start = [], 0
    while start < len(text):
        end = text.rindex(b"\n", start, start + BATCH_BYTES) + 1
        found.append(text[start:end])
        start = end
    return found


async def counted(link: RedisLink) -> dict[str, int]:
    """What the server has counted since it started."""
    text = (await link.call("INFO", "everything")).decode()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    commands = [value for name, value in info.items() if name.startswith("cmdstat_")]
    calls = sum(int(value.split(",")[0].removeprefix("calls=")) for value in commands)
    return {
        "commands for 1,000 events": calls,
        "bytes to Redis for an event": int(info["total_net_input_bytes"]),
    }


async def sequence(link: RedisLink, settings: Settings) -> None:
    """All events, batch by batch, with a hundred users online on one node."""
    store, ordering, routing = Store(link, settings, "me"), Ordering(1, settings.reach), Routing()
    await store.prepare()
    await store.acquire()
    routing.join(b"node", USERS)
    for user in USERS:
        routing.follows.loaded(user)
    for number, raw in enumerate(batches(), 1):
        batch = Batch(ordering.next, b"%d-0" % number, raw_bytes=len(raw))
        ordering.accept(parse(raw), batch.counts)
        routing.route(ordering.release(EVENTS), settings.batch_deliveries)
        batch.next, batch.waiting = ordering.next, ordering.newly_waiting()
        batch.messages, batch.broadcasts, batch.changes = routing.collect()
        await store.commit(number, batch)
    assert ordering.next == EVENTS + 1


async def test_an_event_costs_no_more_than_recorded(program: Program, namespace: str, tmp_path: Path) -> None:
    port = free_port()
    with server_of(program, port, "--dir", str(tmp_path)):  # of its own, since everything that a server does is counted
        link = await connect(f"redis://127.0.0.1:{port}/0", 5.0, "test-costs")
        before = await counted(link)
        await sequence(link, load(namespace=namespace))
        after = await counted(link)
        link.close()
        await link.closed
    costs = {name: (after[name] - before[name]) / EVENTS * (1000 if "1,000" in name else 1) for name in before}
    for name, recorded in RECORDED.items():
        assert costs[name] <= TOLERATED * recorded, f"{name}: {costs[name]:.2f}, recorded {recorded}"
        assert costs[name] >= recorded / TOLERATED, f"{name}: {costs[name]:.2f} is less than {recorded}: record it"
