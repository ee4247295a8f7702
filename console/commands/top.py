"""`parade top`: the overview live in a terminal, with the last minute of each rate; or drawn into an SVG file.

Rules kept here:

- However it ends (`q`, Ctrl-C, a signal, an error), the terminal is as it was before.
- While Redis is away it keeps running: the last figures stay, with the problem above them.
"""

import io
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import redis
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.commands.render import header, nodes, size, sparkline, standing, warnings
from console.files import written_whole
from console.observe.compare import overview
from console.observe.overview import Overview
from console.observe.snapshot import Snapshot, read
from console.options import Namespace, RedisUrl, deployment
from console.terminal import terminal
from runtime.errors import INTERRUPTED, ParadeError, RedisUnavailableError
from runtime.printable import printable
from runtime.redis.blocking import connected, told
from runtime.settings import Settings

EVERY_S = 0.5
ANSWER_S = 1.5
"""How long Redis may take before the screen says so; keys are not read meanwhile."""
COMPARED = 4
"""Looks between the two that a rate comes from: 2 s, so that each service has reported in between."""
HISTORY = 120
"""A minute of looks."""
FIXED_LINES = 20
"""Lines of the screen that are neither nodes nor warnings."""
LABELS_WIDTH = 30
"""Columns left of a drawn line: its name and its last value."""
SVG_S = 10.0
SVG_SIZE = (100, 32)
QUIT = (b"q", b"Q", b"\x04")


class History:
    """The last snapshots, and the last minute of what is drawn as a line."""

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque(maxlen=COMPARED + 1)
        self.lines: dict[str, deque[float]] = {}

    def add(self, snapshot: Snapshot) -> Overview:
        """What this snapshot shows, compared with an earlier one."""
        before = self._snapshots[0] if self._snapshots else None
        self._snapshots.append(snapshot)
        seen = overview(snapshot, before)
        rates = seen.rates
        if rates is not None:
            self._draw("events in", rates.received)
            self._draw("released", rates.released)
            self._draw("notifications", rates.notifications)
            self._draw("bytes out", rates.bytes_out)
            self._draw("latency p50", seen.latency_p50_ms or 0.0)
            self._draw("latency p99", seen.latency_p99_ms or 0.0)
        return seen

    def _draw(self, name: str, value: float) -> None:
        self.lines.setdefault(name, deque(maxlen=HISTORY)).append(value)


def top_command(
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="seconds until it ends", show_default=f"`q` ends it; {SVG_S:g} with --svg"),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(dir_okay=False, help="draw the last screen into this file, without a terminal")
    ] = None,
) -> None:
    """Show the status live, twice a second, with the last minute of each rate; `q` quits."""
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if svg is not None:
        draw(settings, svg, seconds or SVG_S)
    elif run(settings, seconds):
        sys.exit(INTERRUPTED)


def run(settings: Settings, seconds: float | None) -> bool:
    """Draw until `q`, or until the time is over. Returns whether Ctrl-C ended it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ParadeError("`parade top` needs a terminal; for a script or a pipe there is `parade status --json`")
    console = terminal(soft_wrap=False)
    settings = settings.model_copy(update={"redis_timeout_s": ANSWER_S})
    try:
        with connected(settings) as client:
            read(client, settings.keys)  # without Redis at the start it is an error, not a screen
            with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
                for each in _pictures(client, settings, console, lambda: pressed(EVERY_S), seconds):
                    live.update(each, refresh=True)
    except KeyboardInterrupt:
        return True
    return False


def draw(settings: Settings, path: Path, seconds: float) -> None:
    """Watch for `seconds`, then draw what a terminal would show into an SVG file."""
    width, height = SVG_SIZE
    canvas = Console(
        record=True, file=io.StringIO(), width=width, height=height, force_terminal=True, color_system="truecolor",
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    last: RenderableType = Text()
    with connected(settings) as client:
        read(client, settings.keys)
        for last in _pictures(client, settings, canvas, _not_pressed, seconds):  # noqa: B007 (the last one is drawn)
            pass
    canvas.print(last)
    with written_whole(path) as file:
        file.write(_without_fonts(canvas.export_svg(title="parade top")))


def _without_fonts(svg: str) -> str:
    # The picture asks a server for its font otherwise; any monospaced one will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def _not_pressed() -> bytes:
    time.sleep(EVERY_S)
    return b""


def _pictures(
    client: "redis.Redis", settings: Settings, console: Console, key: Callable[[], bytes], seconds: float | None
) -> Iterator[RenderableType]:
    """One picture after another, until a key quits or the time is over."""
    history, seen = History(), None
    end = time.monotonic() + seconds if seconds else None
    while end is None or time.monotonic() < end:
        problem = ""
        try:
            seen = history.add(read(client, settings.keys))
        except redis.RedisError as error:
            problem = f"Redis does not answer: {told(error, settings)}"
        except RedisUnavailableError as error:
            problem = str(error)
        yield picture(seen, history, problem, settings, console)
        if key() in QUIT:
            return


def picture(
    seen: Overview | None, history: History, problem: str, settings: Settings, console: Console
) -> RenderableType:
    """One screen; `problem` says why its figures are old."""
    away = [Text(printable(problem), "bold red")] if problem else []
    if seen is None:
        return Group(*away)
    # On a small screen the warnings stay and the list of nodes is cut.
    most_nodes = max(1, console.height - FIXED_LINES - 2 * len(seen.warnings) - len(away))
    wrong = [*away, *warnings(seen)]
    lines, parts = _lines(history, console.width), (standing(seen), Text(), nodes(seen, most_nodes))
    return Group(header(seen, settings, answers=not problem), *wrong, Text(), lines, Text(), *parts)


def _lines(history: History, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, min_width=12)
    table.add_column(no_wrap=True, style="green")
    for name, values in history.lines.items():
        table.add_row(name, _figure(name, values[-1]), sparkline(list(values), min(HISTORY, width - LABELS_WIDTH)))
    return table


def _figure(name: str, value: float) -> str:
    if name.startswith("latency"):
        return f"{value:,.1f} ms" if value else "-"
    return f"{size(value)}/s" if name == "bytes out" else f"{value:,.0f}/s"


@contextmanager
def _keys() -> Iterator[Callable[[float], bytes]]:
    """Keys as they are pressed, without Enter and without showing them; yields a call that waits for one."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}

    def pressed(wait_s: float) -> bytes:
        deadline = time.monotonic() + wait_s
        while (left_s := deadline - time.monotonic()) > 0:
            if select.select([terminal], [], [], left_s)[0]:
                key = os.read(terminal, 1)
                if not key or key in QUIT:
                    return QUIT[0]
        return b""

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    # As an exception it passes through the `finally` that restores the terminal.
    sys.exit(128 + number)
