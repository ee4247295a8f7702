"""`parade status`: one look at a deployment, for people and for scripts."""

import json
import time

from rich.text import Text

from console.commands.render import flow, header, nodes, standing, warnings
from console.observe import redis_calls
from console.observe.compare import overview, read
from console.observe.overview import Overview
from console.terminal import terminal
from runtime.settings import Settings

BETWEEN_S = 1.2
"""Between the two looks that rates come from: every service reports once a second, so each does in between."""


def run(settings: Settings, *, as_json: bool) -> int:
    """Print it; returns the exit status."""
    seen = look(settings)
    if as_json:
        print(json.dumps(seen.as_json(), indent=2))  # noqa: T201
    else:
        console = terminal(soft_wrap=False)
        console.print(header(seen, settings), flow(seen), standing(seen), Text(), nodes(seen), sep="\n")
        if seen.warnings:
            console.print(Text(), *warnings(seen), sep="\n", soft_wrap=True)
    return 0 if seen.is_well else 1


def look(settings: Settings) -> Overview:
    """Two snapshots, about a second apart."""
    with redis_calls.connected(settings) as client:
        before = read(client, settings.keys)
        time.sleep(BETWEEN_S)
        return overview(read(client, settings.keys), before)
