"""`parade status`: one look at a deployment, for people and for scripts."""

import json
import sys
import time

from rich.text import Text

from console.commands.render import flow, header, nodes, standing, warnings
from console.observe.compare import overview
from console.observe.overview import Overview
from console.observe.snapshot import read
from console.options import Json, Namespace, RedisUrl, deployment
from console.terminal import terminal
from runtime.redis.blocking import connected
from runtime.settings import Settings

BETWEEN_S = 1.2
"""Time between the two looks that rates come from; every service reports in between, since it does each second."""


def status_command(redis_url: RedisUrl = None, namespace: Namespace = None, as_json: Json = False) -> None:
    """Show where the stream stands, who does the work, and what is wrong.

    Exit status 0 when all is well and 1 when something is wrong, so that it serves as a check. Each warning says
    what to do. Rates and latencies cover about one second. Everything comes from Redis, so it works from any
    machine that reaches it, with --redis-url.
    """
    sys.exit(run(deployment(redis_url=redis_url, namespace=namespace), as_json=as_json))


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
    with connected(settings) as client:
        before = read(client, settings.keys)
        time.sleep(BETWEEN_S)
        return overview(read(client, settings.keys), before)
