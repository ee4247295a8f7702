"""`parade up`: the whole system on this machine, until it is told to stop. `console/local/` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from console.local import up
from console.options import ClientPort, EventPort, Host, Namespace, WebPort, settings_of
from runtime.settings import environment_name


def up_command(
    fanouts: Annotated[int, typer.Option(min=1, max=64, help="fanout processes, sharing the client port")] = 2,
    listeners: Annotated[int, typer.Option(min=1, max=64, help="listeners, sharing the event port")] = 1,
    host: Host = None,
    event_port: EventPort = None,
    client_port: ClientPort = None,
    web_port: WebPort = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help=f"Redis or Valkey server \\[env: {environment_name('redis_url')}]",
            show_default="an embedded Valkey",
        ),
    ] = None,
    redis_port: Annotated[int, typer.Option(help="port of the embedded Valkey")] = up.EMBEDDED_PORT,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="where the embedded Valkey keeps its data", show_default="in memory only"),
    ] = None,
    namespace: Namespace = None,
) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Prints a line that begins with `ready` once event sources and clients are served. With --web-port the nodes take
    WebSockets and server-sent events on that port, and the listeners take events over HTTP on the port before it.
    """
    ports = {"event_port": event_port, "client_port": client_port, "web_port": web_port}
    settings = settings_of(host=host, redis_url=redis_url, namespace=namespace, **ports)
    given = "redis_url" in settings.model_fields_set
    system = up.System(settings, fanouts, listeners, None if given else redis_port, data_dir)
    up.run(system, _say)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
