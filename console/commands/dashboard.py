"""`parade dashboard`: the overview as a web page."""

from functools import partial
from typing import Annotated

import typer

from console.options import Namespace, RedisUrl, deployment
from runtime import logs


def dashboard_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port of the page")] = 9190,
    host: Annotated[str, typer.Option(help="address that the page is served on")] = "127.0.0.1",
    password: Annotated[
        str | None,
        typer.Option(
            envvar="PARADE_DASHBOARD_PASSWORD",
            help="what the browser has to send; given as an option, others on this machine can see it",
            show_default="none",
        ),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
) -> None:
    """Serve a web page: the pipeline with its rates, charts, nodes, refused lines, and what is wrong.

    The page changes nothing. Without a password it is served under localhost and IP addresses only, not under names.
    """
    # Imported only where it is used: an HTTP server takes time to load.
    from console.web import server

    find = partial(deployment, redis_url=redis_url, namespace=namespace)
    settings = find()  # a mistake in the options ends the command; what goes wrong later is shown on the page
    logs.configure("dashboard", settings.log_level)
    server.run(server.Address(host, port, password or None), find)
