"""The commands that look into a deployment, and `skip`: their options. Each one's work is in a file of its own."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from console.commands import graph, rejected, skip, status, tap, top
from console.options import INTERRUPTED, Json, Namespace, RedisUrl, deployment
from runtime import logs

app = typer.Typer()
PANEL = "Look inside a deployment (of --redis-url, or the `parade up` on this machine)"
ALL = 0


@app.command("status", rich_help_panel=PANEL)
def status_command(redis_url: RedisUrl = None, namespace: Namespace = None, as_json: Json = False) -> None:
    """One screen of truth: where the stream stands, who does the work, and what is wrong.

    Exit status 0 when all is well and 1 when something is wrong, so that it serves as a check. Each warning says
    what to do. Rates and latencies are those of about a second. Everything comes from Redis, so it works from any
    machine that reaches it, with --redis-url.
    """
    sys.exit(status.run(deployment(redis_url=redis_url, namespace=namespace), as_json=as_json))


@app.command("top", rich_help_panel=PANEL)
def top_command(
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="end after so long", show_default=f"`q` ends it; {top.SVG_S:g} with --svg"),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(dir_okay=False, help="draw the last screen into this file, without a terminal")
    ] = None,
) -> None:
    """The status live, twice a second, with the last minute of each rate; `q` quits."""
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if svg is not None:
        top.draw(settings, svg, seconds or top.SVG_S)
    elif top.run(settings, seconds):
        sys.exit(INTERRUPTED)


@app.command("tap", rich_help_panel=PANEL)
def tap_command(
    users: Annotated[list[str] | None, typer.Argument(metavar="USER", help="user ids, for example 50 51")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="all that is published, for whomever")] = False,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Follow what is published for users, in order, until Ctrl-C.

    Broadcasts are shown once, as for everyone. Nothing is published for users who are not connected. The tap only
    listens: when it can't keep up, Redis cuts it off and nobody else notices.

    With --json one object a line: `parade tap --all --json | jq -r 'select(.kind == "P").line'`.
    """
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if tap.run(settings, users or [], everyone=everyone, as_json=as_json):
        sys.exit(INTERRUPTED)


@app.command("rejected", rich_help_panel=PANEL)
def rejected_command(
    count: Annotated[int, typer.Option(min=0, help=f"newest entries to show; {ALL}: all that are kept")] = 20,
    export: Annotated[
        Path | None, typer.Option(dir_okay=False, help="write all entries to this file, as JSON lines")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on with what is refused from now on")] = False,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """List what was refused or skipped, and why; the oldest first.

    What is no printable text is shown as escapes, such as \\x1b. With --json, and in an exported file, `line_base64`
    has the exact bytes, line end included.

    With --json one object a line: `parade rejected --count 0 --json | jq -r .reason | sort | uniq -c`.
    """
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if export is not None:
        print(f"entries written to {export}: {rejected.export(settings, export):,}")  # noqa: T201
    elif rejected.run(settings, count, follow=follow, as_json=as_json):
        sys.exit(INTERRUPTED)


@app.command("graph", rich_help_panel=PANEL)
def graph_command(
    user: Annotated[str, typer.Argument(help="user id")],
    limit: Annotated[int, typer.Option(min=0, max=100_000, help="users to list of each kind")] = 20,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Who follows a user and whom the user follows: how many, and some of them, in no order."""
    graph.run(deployment(redis_url=redis_url, namespace=namespace), user, limit, as_json=as_json)


@app.command("skip", rich_help_panel=PANEL)
def skip_command(
    to: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="give up what is missing below N", show_default="the lowest number that waits"
        ),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Give up sequence numbers that will never come, so that what waits behind them goes on.

    Without --to these are the numbers up to the lowest one that waits: `parade status` says which. Returns when the
    sequencer has done it. If one of them comes after all, it is dropped and counted as late. What was given up is
    recorded: see `parade rejected`.
    """
    skip.run(deployment(redis_url=redis_url, namespace=namespace), to, as_json=as_json)


@app.command("dashboard", rich_help_panel=PANEL)
def dashboard_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port of the page")] = 9190,
    host: Annotated[str, typer.Option(help="address that the page is served on")] = "127.0.0.1",
    password: Annotated[
        str | None,
        typer.Option(
            envvar="PARADE_DASHBOARD_PASSWORD",
            help="what the browser has to send; as an option, others on this machine can see it",
            show_default="none",
        ),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
) -> None:
    """The same as a web page: the pipeline with its rates, charts, nodes, refused lines, and what is wrong.

    Nothing can be changed there. Without a password it answers to localhost and to IP addresses only, no names.
    """
    # Imported only where it is used: an HTTP server takes time to load.
    from console.web import server as dashboard

    find = partial(deployment, redis_url=redis_url, namespace=namespace)
    settings = find()  # a mistake in the options ends the command; what goes wrong later is shown on the page
    logs.configure("dashboard", settings.log_level)
    dashboard.run(dashboard.Place(host, port, password or None), find)
