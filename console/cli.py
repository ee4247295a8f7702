"""The commands of `parade`, as `parade --help` lists them."""

from typing import Annotated

import typer

from console.app import SERVICES, version
from console.commands import dashboard, demo, graph, rejected, reset, simulate, skip, status, tap, top, up
from console.options import PANEL
from runtime.errors import ParadeError

SERVICES_PANEL = "Run one service (every setting is an option: `parade fanout --help`)"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
    help="Parade: ordered event fan-out for follow graphs, on Redis. Start with `parade demo`, then try `parade up` "
    "and, in other terminals, `parade top` and `parade simulate --rate 20000`.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"parade {version()}")  # noqa: T201
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


app.command("up")(up.up_command)
app.command("demo")(demo.demo_command)
app.command("simulate")(simulate.simulate_command)
app.command("reset")(reset.reset_command)
for name, command in (
    ("status", status.status_command),
    ("top", top.top_command),
    ("dashboard", dashboard.dashboard_command),
    ("tap", tap.tap_command),
    ("rejected", rejected.rejected_command),
    ("graph", graph.graph_command),
    ("skip", skip.skip_command),
):
    app.command(name, rich_help_panel=PANEL)(command)


def _listed(service: str, meaning: str) -> None:
    """List a service in `--help`; `console/app.py` starts it without loading this file."""

    @app.command(service, help=meaning, rich_help_panel=SERVICES_PANEL)
    def start() -> None:
        raise ParadeError(f"the service must be the first word: parade {service}")


for service, meaning in SERVICES.items():
    _listed(service, meaning)
