"""`parade rejected`: what was refused or skipped, listed, followed or exported."""

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from rich.console import Console
from rich.text import Text

from console.files import written_whole
from console.observe.snapshot import rejection
from console.options import Json, Namespace, RedisUrl, deployment
from console.terminal import terminal
from contract.frames import after
from contract.keys import Keys
from runtime.errors import INTERRUPTED
from runtime.redis.blocking import connected
from runtime.settings import Settings

PAGE = 1000
BLOCK_MS = 1000
ALL = 0

Entry = tuple[Any, dict[Any, Any]]
"""An entry of the stream, as Redis has it."""


def rejected_command(
    count: Annotated[int, typer.Option(min=0, help=f"newest entries to show; {ALL}: all that are kept")] = 20,
    export: Annotated[
        Path | None, typer.Option(dir_okay=False, help="write all entries to this file, as JSON lines")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="keep running and show new entries")] = False,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """List what was refused or skipped, and why; the oldest first.

    Bytes that are not printable text are shown as escapes, such as \\x1b. With --json, and in an exported file,
    `line_base64` has the exact bytes, line end included.

    With --json, one object per line: `parade rejected --count 0 --json | jq -r .reason | sort | uniq -c`.
    """
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if export is not None:
        print(f"entries written to {export}: {export_all(settings, export):,}")  # noqa: T201
    elif run(settings, count, follow=follow, as_json=as_json):
        sys.exit(INTERRUPTED)


def run(settings: Settings, count: int, *, follow: bool, as_json: bool) -> bool:
    """Show the newest `count` (0: all), and with `follow` what comes. Returns whether Ctrl-C ended it."""
    console = terminal()
    try:
        with connected(settings) as client:
            found = _newest(client, settings.keys, count) if count else list(_all(client, settings.keys))
            _show(found, console, as_json=as_json)
            if follow:
                start = found[-1][0] if found else _last_id(client, settings.keys)
                for new in _coming(client, settings.keys, start):
                    _show(new, console, as_json=as_json)
            elif not found and not as_json:
                console.print("nothing has been refused")
    except KeyboardInterrupt:
        return True
    return False


def export_all(settings: Settings, path: Path) -> int:
    """Write everything that is kept to a file, as JSON lines; returns how many. The file is whole or not there."""
    written = 0
    with connected(settings) as client, written_whole(path) as file:
        for each in _all(client, settings.keys):
            file.write(_json(each) + "\n")
            written += 1
    return written


def _newest(client: "redis.Redis", keys: Keys, count: int) -> list[Entry]:
    entries: Any = client.xrevrange(keys.rejected, count=count)
    return list(reversed(entries))


def _all(client: "redis.Redis", keys: Keys) -> Iterator[Entry]:
    """Page by page, the oldest first."""
    page: Any = client.xrange(keys.rejected, count=PAGE)
    while page:
        yield from page
        page = client.xrange(keys.rejected, after(page[-1][0]), count=PAGE)


def _last_id(client: "redis.Redis", keys: Keys) -> Any:
    newest = _newest(client, keys, 1)
    return newest[0][0] if newest else "0-0"


def _coming(client: "redis.Redis", keys: Keys, start: Any) -> Iterator[list[Entry]]:
    while True:
        answer: Any = client.xread({keys.rejected: start}, count=PAGE, block=BLOCK_MS)
        if answer:
            entries = answer[0][1]
            start = entries[-1][0]
            yield entries


def _show(found: Iterable[Entry], console: Console, *, as_json: bool) -> None:
    for entry in found:
        if as_json:
            print(_json(entry), flush=True)  # noqa: T201
        else:
            each = rejection(*entry)
            when = datetime.fromtimestamp(each.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            console.print(Text.assemble(f"{when}  ", (f"{each.reason:<46}", "yellow"), f"  {each.line}"))


def _json(entry: Entry) -> str:
    exact = base64.b64encode(entry[1].get(b"line", b"")).decode()
    return json.dumps(asdict(rejection(*entry)) | {"line_base64": exact})
