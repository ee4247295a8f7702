"""The `parade` command: its subcommands, and how it ends.

The work of a command is in its file of `console/commands/`. `parade listener`, `sequencer` and `fanout` become that
service and load nothing of the console.

Loading takes a third of a second, and Ctrl-C can come at any moment of it, also in the middle of a library that makes
its own error of it. So this file loads nothing else before it has seen to that.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from runtime.errors import INTERRUPTED

SERVICES = {
    "listener": "Take events from sources and append them to the stream in Redis.",
    "sequencer": "Put events into order and decide which users are notified; or stand by.",
    "fanout": "Serve user clients.",
}
DISTRIBUTION = "parade-fanout"


def main() -> None:
    """Run the command; an error is one line and an exit status, never a traceback."""
    _on_interrupt(_end)
    try:
        if sys.argv[1:2] and sys.argv[1] in SERVICES:
            _become(sys.argv.pop(1))
        else:
            _run_command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _on_interrupt(_end)  # while Python takes itself down


def version() -> str:
    """The version of the installed distribution, or words that say that there is none."""
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "(version unknown: it is not installed, but run from a folder)"


def _become(service: str) -> None:
    # Imported here and by name, so that the command loads no service and a service loads no other one.
    from runtime.service import run

    run(service, importlib.import_module(f"{service}.__main__").main, called=f"parade {service}")


def _run_command() -> None:
    # A service must not load the console (25 MiB), so it is loaded only here.
    from console.cli import app
    from console.options import notes
    from runtime.errors import ParadeError
    from runtime.printable import printable

    _on_interrupt(signal.default_int_handler)  # from here on there may be something to put in order
    try:
        app()
    except ParadeError as problem:
        notes.print(printable(f"parade: {problem}"), style="red", soft_wrap=True)
        sys.exit(problem.exit_status)


def _on_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell has it ignored by what runs in the background
        signal.signal(signal.SIGINT, handler)


def _end(_: int, __: FrameType | None) -> None:
    os._exit(INTERRUPTED)
