"""`python -m tests.sdk.soak --minutes 10`: both libraries, over each transport, while nodes and listeners are killed.

Four sources send broadcasts, and four subscribers take them: Python over TCP and WebSocket, JavaScript over
WebSocket, requests and server-sent events. Parade gives the numbers. All the while a node or a listener is killed with
SIGKILL, and another one starts. In the end each subscriber must have had every event once, in order, and each source's
in its order.

The exit status is 1 if anything was different.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random, SystemRandom

from parade_client import Broadcast, Event, Source, Subscriber
from tests.sdk.programs import begin, is_open, output, program
from tests.support.deployment import Deployment, running, wait_until
from tests.support.servers import free_port, system_server

LAST = "the last one"
PATIENCE_S = 120.0
BETWEEN_S = 1.0
"""The longest pause between two kills, besides waiting until events flow again."""
EVENTS_BETWEEN = 100
PAUSE_S = 0.005
"""Between two events of a source in Python."""


class Services:
    """A deployment whose nodes and listeners serve TCP and the web, each kind on ports of its own."""

    def __init__(self, system: Deployment) -> None:
        self._system = system
        self._web = {"fanout": free_port(), "listener": free_port()}
        self._tcp = {"fanout": system.client_port, "listener": system.event_port}
        (without_web,) = system.of("listener")
        for service in ("fanout", "fanout", "listener", "listener"):
            self.start(service)
        without_web.terminate()
        without_web.wait()

    def address(self, service: str, scheme: str) -> str:
        """Where a library reaches them."""
        ports = self._tcp if scheme == "parade" else self._web
        return f"{scheme}://127.0.0.1:{ports[service]}"

    def start(self, service: str) -> None:
        """Start a process; returns when its web port is open."""
        opened = f'"port": {self._web[service]}'
        before = self._system.log.read_text().count(opened)
        self._system.start(service, web_port=self._web[service])
        wait_until(lambda: self._system.log.read_text().count(opened) > before, f"a {service} serves", PATIENCE_S)

    def kill(self, service: str, chance: Random) -> None:
        """Kill one with SIGKILL, and start another one in its place once events flow, or at once."""
        victim = chance.choice(self._system.of(service))
        victim.kill()
        victim.wait()
        if chance.random() < 0.5:
            self.flow()
        self.start(service)

    def flow(self) -> None:
        """Wait until so many more events are released."""
        wanted = self._system.state("released") + EVENTS_BETWEEN
        wait_until(lambda: self._system.state("released") >= wanted, "events flow", PATIENCE_S)


class PythonSource:
    """Sends broadcasts as one producer until it is told to stop."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._source = Source(address, name, outbox_bytes=64 * 1024, patience_s=PATIENCE_S)
        self._stop = False

    async def run(self) -> int:
        """Returns how many were sent."""
        count = 0
        async with self._source:
            while not self._stop:
                count += 1
                await self._source.post(Broadcast(f"{self.name} {count}".encode()))
                await asyncio.sleep(PAUSE_S)
        return count

    def stop(self) -> None:
        """Send no more."""
        self._stop = True


async def followed(feed: Subscriber) -> list[str]:
    """Everything up to the last event."""
    found: list[str] = []
    async for event in feed:
        found.append(event.line.decode().strip() if isinstance(event, Event) else f"RESET {event.reason}")
        if found[-1].endswith(LAST):
            break
    return found


class Fleet:
    """All subscribers and sources, by the names of library and transport."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._feeds: dict[str, asyncio.Task[list[str]]] = {}
        self._sources: dict[str, PythonSource] = {}
        self._sending: dict[str, asyncio.Task[int]] = {}
        self._programs: dict[str, asyncio.subprocess.Process] = {}

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Fleet"]:
        """All feeds are open, and all sources send."""
        async with AsyncExitStack() as stack:
            for user, transport in enumerate(("websocket", "sse"), 1):
                where = (self._services.address("fanout", "http"), str(user), transport)
                process = await stack.enter_async_context(program("follow.mjs", *where))
                await is_open(process, PATIENCE_S)
                self._feeds[f"js {transport}"] = asyncio.ensure_future(output_of(process))
            for user, scheme in enumerate(("parade", "ws"), 3):
                subscriber = Subscriber(self._services.address("fanout", scheme), user, patience_s=PATIENCE_S)
                feed = await stack.enter_async_context(subscriber)
                self._feeds[f"python {scheme}"] = asyncio.ensure_future(followed(feed))
            await self._send(stack)
            yield self

    async def _send(self, stack: AsyncExitStack) -> None:
        for scheme in ("parade", "ws"):
            sender = PythonSource(self._services.address("listener", scheme), f"python-{scheme}")
            self._sources[sender.name] = sender
            self._sending[sender.name] = asyncio.ensure_future(sender.run())
        for transport in ("websocket", "http"):
            name = f"js-{transport}"
            where = (self._services.address("listener", "http"), name, transport, f"the end of {name}")
            self._programs[name] = await stack.enter_async_context(program("publish.mjs", *where))
            await begin(self._programs[name])

    async def finish(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """How many events each source sent, and what each subscriber has received."""
        for sender in self._sources.values():
            sender.stop()
        sent = {name: await asyncio.wait_for(task, PATIENCE_S) for name, task in self._sending.items()}
        for name, process in self._programs.items():
            sent[name] = int((await output(process, PATIENCE_S))[-1])
        async with Source(self._services.address("listener", "parade"), "last", patience_s=PATIENCE_S) as source:
            await source.send(Broadcast(LAST.encode()))
        found = {name: await asyncio.wait_for(task, PATIENCE_S) for name, task in self._feeds.items()}
        return sent, found


async def output_of(process: asyncio.subprocess.Process) -> list[str]:
    """What a subscriber prints until it ends by itself."""
    assert process.stdout is not None
    return [line.decode().strip() async for line in process.stdout]


def differences(sent: dict[str, int], received: list[str]) -> list[str]:
    """What is wrong with the lines of one subscriber; the first few."""
    wrong = [line for line in received if line.startswith("RESET")]
    total = sum(sent.values()) + 1
    numbers = [int(line.partition("|")[0]) for line in received if not line.startswith("RESET")]
    if numbers != list(range(1, total + 1)):
        wrong.append(f"{len(numbers)} lines of {total}, from {numbers[:1]} to {numbers[-1:]}, or not in order")
    for name, count in sent.items():
        payloads = [line.split("|", 2)[2] for line in received if f"|{name} " in line]
        ends = [f"|the end of {name}" in line for line in received].count(True)
        if payloads != [f"{name} {number}" for number in range(1, count - ends + 1)] or ends != name.startswith("js"):
            wrong.append(f"{len(payloads)} lines of {name}, which sent {count}, or not in its order")
    return wrong[:10]


@dataclass
class Result:
    """What happened. `differences` of each subscriber."""

    seed: int
    killed: dict[str, int]
    sent: dict[str, int]
    differences: dict[str, list[str]]

    def line(self) -> str:
        """All in one line."""
        what = f"{sum(self.sent.values())} events, {sum(self.killed.values())} kills, seed {self.seed}"
        return f"{what}; {'there are differences' if self.differences else 'passed: no difference'}"


async def soak(system: Deployment, seconds: float, seed: int) -> Result:
    """Kill for so long; returns what happened."""
    chance = Random(seed)
    services = await asyncio.to_thread(Services, system)
    kills = {"fanout": 0, "listener": 0}
    deadline = time.monotonic() + seconds
    async with Fleet(services).at_work() as fleet:
        while time.monotonic() < deadline or not all(kills.values()):
            await asyncio.to_thread(services.flow)
            service = chance.choice(list(kills))
            await asyncio.to_thread(services.kill, service, chance)
            kills[service] += 1
            await asyncio.sleep(chance.random() * BETWEEN_S)
            say(f"{kills} killed, {system.state('released')} events")
        sent, received = await fleet.finish()
    wrong = {name: found for name, lines in received.items() if (found := differences(sent, lines))}
    return Result(seed, kills, sent, wrong)


def say(progress: str) -> None:
    """Progress, on a terminal or not."""
    print(progress, file=sys.stderr, flush=True)


def main() -> int:
    """Soak for the time of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long parts are killed")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="what is killed, and when")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="parade-soak-"))
    port = free_port()
    with (
        system_server(port, "--dir", str(folder)),
        running(f"redis://127.0.0.1:{port}/0", "soak", folder / "log", fanouts=0, numbering="parade") as system,
    ):
        result = asyncio.run(soak(system, options.minutes * 60, options.seed))
    print(json.dumps(asdict(result), indent=2) if options.json else result.line())
    if result.differences:
        print(result.differences, f"the log of the services is {folder}/log", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
