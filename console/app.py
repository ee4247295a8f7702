"""The `parade` command: its subcommands, and how it ends.

The work of a command is in its file of `console/commands/`. `parade listener`, `sequencer` and `fanout` become that
service and load nothing of the console.
"""

import importlib
import sys
from importlib import metadata

SERVICES = {
    "listener": "Take events from sources and append them to the stream in Redis.",
    "sequencer": "Put events into order and decide which users are notified; or stand by.",
    "fanout": "Serve user clients.",
}
DISTRIBUTION = "parade-fanout"


def main() -> None:
    """Run the command; an error is one line and an exit status, never a traceback."""
    if sys.argv[1:2] and sys.argv[1] in SERVICES:
        _become(sys.argv.pop(1))
    else:
        _run_command()


def version() -> str:
    """The version that is installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown: it runs from a folder and is not installed"


def _become(service: str) -> None:
    from runtime.service import run

    # Imported by its name here, and not at the top, so that each service loads what it needs itself and nothing else.
    run(service, importlib.import_module(f"{service}.__main__").main, called=f"parade {service}")


def _run_command() -> None:
    # A service must not load the console (25 MiB), so it is loaded only here.
    from console.cli import app
    from console.options import INTERRUPTED, notes
    from runtime.errors import ParadeError
    from runtime.printable import printable

    try:
        app()
    except ParadeError as problem:
        notes.print(printable(f"parade: {problem}"), style="red", soft_wrap=True)
        sys.exit(problem.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
