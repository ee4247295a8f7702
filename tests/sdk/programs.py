"""Programs for Node that use the JavaScript library."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAMS = Path(__file__).with_name("js")


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program, killed when the block ends."""
    pipe = subprocess.PIPE
    command = ["node", "--experimental-websocket", "--no-warnings", *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=PROGRAMS, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()  # wait() alone would wait for somebody to read


async def begin(process: asyncio.subprocess.Process) -> None:
    """Let a source begin."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def is_open(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """Wait until a subscriber says that its feed is open."""
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), patience_s) == b"open\n"


async def output(process: asyncio.subprocess.Process, patience_s: float) -> list[str]:
    """Everything that it prints, once its input has ended."""
    printed, _ = await asyncio.wait_for(process.communicate(b""), patience_s)
    assert process.returncode == 0, printed[-500:]
    return printed.decode().splitlines()
