"""`parade rejected`: what was refused or skipped, listed, followed or exported."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from rich.console import Console

from console import redis_calls
from console.snapshot import Rejection, rejection
from contract.errors import ParadeError
from contract.frames import after
from contract.keys import Keys
from contract.settings import Settings

PAGE = 1000
BLOCK_MS = 1000


def run(settings: Settings, count: int, *, follow: bool, as_json: bool) -> bool:
    """Show the newest `count` (0: all), and with `follow` what comes. Returns whether Ctrl-C ended it."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with redis_calls.connected(settings) as client:
            found = _newest(client, settings.keys, count) if count else list(_all(client, settings.keys))
            _show(found, console, as_json=as_json)
            if follow:
                start = found[-1].id if found else _last_id(client, settings.keys)
                for new in _coming(client, settings.keys, start):
                    _show(new, console, as_json=as_json)
            elif not found and not as_json:
                console.print("nothing has been refused")
    except KeyboardInterrupt:
        return True
    return False


def export(settings: Settings, path: Path) -> int:
    """Write everything that is kept to a file, as JSON lines; returns how many. The file is whole or not there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    written = 0
    try:
        with redis_calls.connected(settings) as client, partial.open("w") as file:
            for each in _all(client, settings.keys):
                file.write(_json(each) + "\n")
                written += 1
        partial.replace(path)
    except OSError as problem:
        raise ParadeError(f"can't write {path}: {problem.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return written


def _newest(client: "redis.Redis", keys: Keys, count: int) -> list[Rejection]:
    entries: Any = client.xrevrange(keys.rejected, count=count)
    return [rejection(*entry) for entry in reversed(entries)]


def _all(client: "redis.Redis", keys: Keys) -> Iterator[Rejection]:
    """Page by page, the oldest first."""
    page: Any = client.xrange(keys.rejected, count=PAGE)
    while page:
        yield from (rejection(*entry) for entry in page)
        page = client.xrange(keys.rejected, after(page[-1][0]), count=PAGE)


def _last_id(client: "redis.Redis", keys: Keys) -> str:
    newest = _newest(client, keys, 1)
    return newest[0].id if newest else "0-0"


def _coming(client: "redis.Redis", keys: Keys, start: str) -> Iterator[list[Rejection]]:
    while True:
        answer: Any = client.xread({keys.rejected: start}, count=PAGE, block=BLOCK_MS)
        if answer:
            entries = answer[0][1]
            start = entries[-1][0].decode()
            yield [rejection(*entry) for entry in entries]


def _show(found: Iterable[Rejection], console: Console, *, as_json: bool) -> None:
    for each in found:
        if as_json:
            print(_json(each), flush=True)  # noqa: T201
        else:
            when = datetime.fromtimestamp(each.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            console.print(f"{when}  [yellow]{each.reason:<46}[/]  ", end="")
            console.print(each.line, markup=False)


def _json(each: Rejection) -> str:
    return json.dumps(asdict(each))
