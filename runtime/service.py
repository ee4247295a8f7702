"""A service's life, as every `__main__` needs it: settings, logging, event loop, signals, exit status."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import structlog
import uvloop

from runtime import logs, tasks
from runtime.context import Context
from runtime.errors import INTERRUPTED, ParadeError
from runtime.printable import printable
from runtime.readiness import Status
from runtime.settings import Settings, load_for_service

log = structlog.get_logger()

Main = Callable[[Context, asyncio.Event], Awaitable[None]]
"""A service: runs until the event is set, then stops in order within `shutdown_s`."""


def run(service: str, main: Main, called: str = "") -> None:
    """Run a service until SIGINT or SIGTERM. Ends the process: status 0, or 1 with one line that says why.

    `called` is the command that the user typed, if not `python -m <service>`.
    """
    try:
        settings = load_for_service(service, sys.argv[1:], called or f"python -m {service}")
        logs.configure(service, settings.log_level)
        raise_file_limit()
        uvloop.run(_until_stopped(main, settings))
    except ParadeError as problem:
        _end(service, str(problem), problem.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # before the handlers were in place
    except Exception as problem:  # none is expected: one line for the operator, the traceback in the log
        log.error("internal_error", exc_info=problem)
        _end(service, f"internal error: {type(problem).__name__}: {problem}", 1)


@asynccontextmanager
async def shown(service: str, context: Context, status: Status) -> AsyncIterator[None]:
    """Serve health and metrics while the context lasts, if the settings name a port for them."""
    if not context.settings.health_port:
        yield
        return
    # Imported only where it is used: an HTTP server costs 20 MiB.
    from runtime.health import served

    async with served(service, context, status):
        yield


async def until_one_ends(stop: asyncio.Event, *parts: "asyncio.Task[None]") -> Exception | None:
    """Wait until the service is told to stop, or until one of its parts ends by itself, which ends the service too.

    Returns what that part ended with, so that the service can raise it once everything is in order.
    """
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((stopping, *parts), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for part in parts:
        if part.done() and (problem := _ended_with(part, stop)) is not None:
            return problem
    return None


async def conclude(problem: Exception | None, part: "asyncio.Task[None]") -> None:
    """The service's last step: raise what ended it or its main part; a main part that still runs is cancelled."""
    if not part.done():
        await tasks.end([part])
    elif problem is None:
        part.result()
    if problem is not None:
        raise problem


def _ended_with(part: "asyncio.Task[None]", stop: asyncio.Event) -> Exception | None:
    problem = part.exception()
    if problem is None or isinstance(problem, Exception):
        return problem if problem or stop.is_set() else RuntimeError(f"{part.get_name()} ended")
    raise problem


def _end(service: str, line: str, status: int) -> NoReturn:
    print(printable(f"{service}: {' '.join(line.splitlines())}"), file=sys.stderr)  # noqa: T201
    sys.exit(status)


def raise_file_limit() -> int:
    """Raise the open-file limit as far as the hard limit allows; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def _until_stopped(main: Main, settings: Settings) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.stop_on_stdin_end:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    broken = _Broken(asyncio.current_task())
    loop.set_exception_handler(broken.handle)
    try:
        await main(Context(settings), stop)
    except asyncio.CancelledError:
        raise broken.problem or asyncio.CancelledError from None
    finally:
        log.info("stopped")


class _Broken:
    """An exception of a callback, which the event loop caught: it ends the service at once.

    What was left half done is unknown, so nothing more is written. In a callback of a connection it is different: the
    loop has closed that connection, and the rest of the service goes on.
    """

    def __init__(self, main: "asyncio.Task[None] | None") -> None:
        self._main = main
        self.problem: Exception | None = None

    def handle(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        if "handle" not in context or not isinstance(problem, Exception):
            log.error("internal_error", message=context.get("message"), exc_info=problem)
        elif self.problem is None and self._main is not None:
            self.problem = problem
            self._main.cancel()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The parent holds the other end: however it dies, this service ends too.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
        loop.call_soon_threadsafe(stop.set)
