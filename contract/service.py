"""What every service's `__main__` shares: settings, logging, event loop, signals and exit status."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from contract import logs
from contract.errors import ParadeError
from contract.readiness import Readiness
from contract.settings import Settings, load_for_service

Main = Callable[[Settings, Readiness, asyncio.Event], Awaitable[None]]
"""A service: runs until the event is set, then stops in order within `shutdown_s`."""


def run(service: str, main: Main) -> None:
    """Run a service until SIGINT or SIGTERM. Ends the process: status 0, or 1 with one line that says why."""
    try:
        settings = load_for_service(service, sys.argv[1:])
        logs.configure(service, settings.log_level)
        raise_file_limit()
        uvloop.run(_until_stopped(service, main, settings))
    except ParadeError as problem:
        print(f"{service}: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(problem.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)  # before the handlers were in place


def raise_file_limit() -> int:
    """Raise the open-file limit as far as the hard limit allows; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def _until_stopped(service: str, main: Main, settings: Settings) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.stop_on_stdin_end:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    readiness = Readiness()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if settings.health_port:
                # Imported only where it is used: an HTTP server costs 20 MiB.
                from contract.health import served

                await stack.enter_async_context(served(service, settings, readiness))
            await main(settings, readiness, stop)
    finally:
        structlog.get_logger().info("stopped")


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The parent holds the other end; when it dies, however it dies, this service does not stay behind.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
        loop.call_soon_threadsafe(stop.set)


class Backoff:
    """Delays between tries: doubling from 50 ms to 2 s, back to the start after a success."""

    FIRST_S, LAST_S = 0.05, 2.0

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._next_s = self.FIRST_S

    def next_s(self) -> float:
        """The delay before the next try, in seconds."""
        delay, self._next_s = self._next_s, min(self._next_s * 2, self.LAST_S)
        return delay


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep, but wake at once when the service is told to stop; True when it was."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
