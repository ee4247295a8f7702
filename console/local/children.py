"""Child processes of `parade up`: started, watched, started again when they die, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime.errors import ParadeError
from runtime.retry import Backoff

LASTING_S = 10.0
"""A child that ran this long had started well, so its next restart is quick again."""


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this installation, and not one of the working directory."""
    return [sys.executable, "-P", "-m", name, *arguments]


@dataclass(slots=True)
class Child:
    """One process, its name in messages, and what a restart of it loses."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    loss: str = ""
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it with standard input held open: it stops when that ends."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=sys.stderr,
            env={**os.environ, **self.environment},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops them in order
        )

    async def stop(self, seconds: float) -> None:
        """Ask it to stop, and kill it after `seconds`."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(seconds):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


class Children:
    """All processes of one `up`, in the order of their start."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.all: list[Child] = []
        self._say = say
        self._watching: list[asyncio.Task[None]] = []
        self.started = False

    async def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        await child.start()
        self.all.append(child)
        self._watching.append(asyncio.create_task(self._watch(child)))

    def check(self) -> None:
        """ParadeError when a child has ended before the system was ready."""
        for task in self._watching:
            if task.done():
                task.result()

    async def stop(self, seconds: float) -> None:
        """Stop all services at the same time, then Redis, the first child, on which they depend."""
        for task in self._watching:
            task.cancel()
        first, services = self.all[:1], self.all[1:]
        await asyncio.gather(*(child.stop(seconds) for child in services))
        await asyncio.gather(*(child.stop(0.5) for child in first))
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def _watch(self, child: Child) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while child.process is not None:
            began = loop.time()
            status = await child.process.wait()
            ended = f"signal {-status}" if status < 0 else f"status {status}"
            if not self.started:
                raise ParadeError(f"the {child.name} ended with {ended} before the system was ready")
            if loop.time() - began > LASTING_S:
                backoff.reset()
            self._say(f"the {child.name} died with {ended}; starting it again{child.loss}")
            await asyncio.sleep(backoff.next_s())
            await child.start()
