"""The library against a deployment whose nodes and listeners are killed: every event once, judged by what was sent.

Listener and nodes are killed with SIGKILL while events flow, several times. A subscriber must never see RESET.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from parade_client import Broadcast, Event, Follow, PrivateMessage, Source, StatusUpdate, Subscriber
from tests.support.deployment import Deployment, running, wait_until
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

ROUNDS = 4
EVENTS_A_ROUND = 300
PATIENCE_S = 120.0
USERS = (50, 51, 52)
LAST = b"the last one"


def event_of(at: int, seq: int | None) -> Event:
    """The events that are sent: follows, and something for each user, some and all. `at` counts from 1 on."""
    if at <= 2:
        return Follow(USERS[at - 1], 9, b"%d" % at, seq=seq)
    user = USERS[at % len(USERS)]
    kinds = (
        PrivateMessage(9, user, b"%d" % at, seq=seq),
        Broadcast(b"%d" % at, seq=seq),
        StatusUpdate(9, b"%d" % at, seq=seq),
    )
    return kinds[at // 3 % 3]


def is_for(user: int, event: Event) -> bool:
    """Whether a user is notified: the first two follow 9, whose updates they get."""
    match event:
        case PrivateMessage():
            return event.recipient == user
        case StatusUpdate():
            return user in USERS[:2]
        case Broadcast():
            return True
    return False


async def followed(feed: Subscriber) -> list[Event]:
    """Everything up to the last event."""
    found: list[Event] = []
    async for event in feed:
        assert isinstance(event, Event), f"{event} after {found[-1:]}"
        found.append(event)
        if event.payload == LAST:
            break
    return found


class Sender:
    """Sends events until it is told to stop; `sent` has them in order."""

    def __init__(self, source: Source, has_numbers: bool) -> None:
        self.sent: list[Event] = []
        self.stop = False
        self._source, self._has_numbers = source, has_numbers

    async def run(self) -> None:
        while not self.stop:
            await self._post(event_of(len(self.sent) + 1, self._seq()))
            await asyncio.sleep(0.002)
        await self._post(Broadcast(LAST, seq=self._seq()))
        await self._source.flush()

    def _seq(self) -> int | None:
        return len(self.sent) + 1 if self._has_numbers else None

    async def _post(self, event: Event) -> None:
        await self._source.post(event)
        self.sent.append(event)

    async def flows(self, system: Deployment) -> None:
        """Wait until so many more events are released."""
        wanted = system.state("released") + EVENTS_A_ROUND
        await asyncio.to_thread(wait_until, lambda: system.state("released") > wanted, "events flow", PATIENCE_S)


class Ports:
    """Where nodes and listeners of a deployment serve the library."""

    def __init__(self, system: Deployment, transport: str) -> None:
        self._web = {"fanout": free_port(), "listener": free_port()} if transport == "websocket" else {}
        self._tcp = {"fanout": system.client_port, "listener": system.event_port}

    def address(self, service: str) -> str:
        """The address for the library."""
        if self._web:
            return f"ws://127.0.0.1:{self._web[service]}"
        return f"parade://127.0.0.1:{self._tcp[service]}"

    def start(self, system: Deployment, service: str) -> None:
        """Start a process; returns when it serves."""
        opened = f'"port": {self._web.get(service, self._tcp[service])}'
        before = system.log.read_text().count(opened)
        system.start(service, web_port=self._web.get(service, 0))
        wait_until(lambda: system.log.read_text().count(opened) > before, f"a {service} listens")


def kill_one(system: Deployment, service: str, ports: Ports) -> None:
    """Kill a process of a service, and start another one in its place."""
    victim = system.of(service)[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    ports.start(system, service)


@asynccontextmanager
async def feeds(address: str) -> AsyncIterator[list[Subscriber]]:
    """A feed of each user."""
    found = [Subscriber(address, user, patience_s=PATIENCE_S) for user in USERS]
    try:
        for each in found:
            await each.__aenter__()
        yield found
    finally:
        for each in found:
            await each.close()


async def everything(
    system: Deployment, ports: Ports, producer: str | None
) -> tuple[list[Event], dict[int, list[Event]]]:
    """What was sent, and what each user has received, while parts are killed."""
    async with feeds(ports.address("fanout")) as open_feeds:
        following = [asyncio.ensure_future(followed(each)) for each in open_feeds]
        async with Source(ports.address("listener"), producer, outbox_bytes=64 * 1024, patience_s=PATIENCE_S) as source:
            sender = Sender(source, has_numbers=producer is None)
            sending = asyncio.ensure_future(sender.run())
            for _ in range(ROUNDS):
                for service in ("fanout", "listener"):
                    await sender.flows(system)
                    await asyncio.to_thread(kill_one, system, service, ports)
            sender.stop = True
            await asyncio.wait_for(sending, PATIENCE_S)
            if producer is not None:
                assert source.received == len(sender.sent)
        found = await asyncio.wait_for(asyncio.gather(*following), PATIENCE_S)
    return sender.sent, dict(zip(USERS, found, strict=True))


def assert_each_once(sent: list[Event], user: int, received: list[Event], key: Callable[[Event], object]) -> None:
    owed = [key(event) for event in sent if is_for(user, event)]
    assert [key(event) for event in received] == owed
    numbers = [event.seq or 0 for event in received]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(("numbering", "transport"), [("sources", "tcp"), ("parade", "tcp"), ("parade", "websocket")])
async def test_every_event_comes_once_while_nodes_and_listeners_are_killed(
    numbering: str, transport: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    producer = "orders-7" if numbering == "parade" else None
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0, numbering=numbering) as system:
        ports = Ports(system, transport)
        (without_web,) = system.of("listener")
        for service in ("fanout", "fanout", "listener"):
            ports.start(system, service)
        without_web.terminate()
        without_web.wait()
        sent, received = await everything(system, ports, producer)
        for user, events in received.items():
            if producer is None:
                assert_each_once(sent, user, events, lambda event: event.line)
            else:
                assert_each_once(sent, user, events, lambda event: re.sub(rb"^(\d+|\*)", b"", event.line))
        assert system.state("released") == len(sent) > ROUNDS * 2 * EVENTS_A_ROUND
