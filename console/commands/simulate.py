"""`parade simulate`: the event source and the user clients; every byte is checked."""

import http.client
import json
import sys
import urllib.request
from typing import Annotated

import typer
from rich.console import Console

from console.observe import redis_calls
from console.options import Events, Host, Json, Namespace, RedisUrl, Seed, deployment, notes
from runtime.errors import ParadeError, RedisUnavailableError
from runtime.printable import printable
from runtime.service import raise_file_limit
from runtime.settings import Settings
from simulator.plan import Plan
from simulator.run import Simulation
from simulator.workload import Workload

DEFAULT_CLIENTS = 100
TIMEOUT_MS, LEFT_OUT_TIMEOUT_MS = 20_000, 300_000
"""How long a simulation waits for the next byte; a person needs longer to look and to skip."""
FRESH_USERS = 1000
"""Each simulation has new users, who follow no one yet: ids begin at 1 in a new deployment, and this many times the
first sequence number later."""

EventPort = Annotated[
    int | None,
    typer.Option(
        envvar=["eventListenerPort"], help="port for event sources", show_default="9090, or that of `parade up`"
    ),
]
ClientPort = Annotated[
    int | None,
    typer.Option(
        envvar=["clientListenerPort"], help="port for user clients", show_default="9099, or that of `parade up`"
    ),
]
Clients = Annotated[int, typer.Option(envvar="concurrencyLevel", min=1, help="user clients")]
Users = Annotated[
    int | None,
    typer.Option(envvar="numberOfUsers", min=1, help="users that events are about", show_default="10 for each client"),
]
MaxBatch = Annotated[
    int, typer.Option(envvar="maxEventSourceBatchSize", min=1, help="events shuffled and sent together")
]
Timeout = Annotated[
    int | None,
    typer.Option(
        envvar="timeout",
        min=1,
        help="longest wait for the next byte, in ms",
        show_default=f"{TIMEOUT_MS}, or {LEFT_OUT_TIMEOUT_MS} with --leave-out",
    ),
]
LogInterval = Annotated[
    int, typer.Option(envvar="logInterval", min=0, help="events between two lines of progress in a log; 0: none")
]
Mix = Annotated[str, typer.Option(help="weights of follows, unfollows, broadcasts, private, status")]
Rate = Annotated[
    float | None, typer.Option(min=1, help="events/s; measures latency", show_default="as fast as possible")
]
First = Annotated[
    int | None,
    typer.Option(min=1, help="first sequence number", show_default="what the deployment expects next, or 1"),
]
ListenerHealth = Annotated[
    str | None,
    typer.Option(
        envvar="PARADE_LISTENER_HEALTH",
        help="URL of a listener's health port, to ask for the next number there instead of in Redis",
    ),
]
LeaveOut = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="never send sequence number N, so that all wait for it: see `parade skip`"),
]
Full = Annotated[bool, typer.Option(help="keep all bytes and show the first difference")]


def simulate_command(
    host: Host = None,
    event_port: EventPort = None,
    client_port: ClientPort = None,
    events: Events = 10_000_000,
    clients: Clients = DEFAULT_CLIENTS,
    users: Users = None,
    seed: Seed = 666,
    max_batch: MaxBatch = 100,
    timeout: Timeout = None,
    log_interval: LogInterval = 0,
    mix: Mix = "1,1,1,1,1",
    rate: Rate = None,
    first: First = None,
    listener_health: ListenerHealth = None,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    leave_out: LeaveOut = None,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """Send events and be the user clients; check every byte that arrives.

    Exit status 1 on any difference. Start the system first, with `parade up`. The names of the original
    test program's environment variables (totalEvents, concurrencyLevel, …) are taken too.

    With --leave-out the stream stands still at that number: watch it with `parade top`, then give the number up
    with `parade skip`. What is checked then is everything but that event.
    """
    given = {"host": host, "event_port": event_port, "client_port": client_port}
    settings = deployment(**given, redis_url=redis_url, namespace=namespace)
    _check_file_limit(clients)
    start = first or _next_number(settings, listener_health)
    first_user = (start - 1) * FRESH_USERS + 1
    work = Workload(events, users or clients * 10, seed, max_batch, _mix(mix), start, first_user, leave_out)
    timeout_s = (timeout or (LEFT_OUT_TIMEOUT_MS if leave_out else TIMEOUT_MS)) / 1000
    where = (settings.host, settings.event_port, settings.client_port)
    plan = Plan(work, clients, *where, timeout_s, settings.reach, rate, full, log_interval)
    report = Simulation(plan, notes).run()
    if as_json:
        print(json.dumps(report.as_json(), indent=2))  # noqa: T201
    else:
        report.show(Console())
    sys.exit(0 if report.passed else 1)


def _check_file_limit(clients: int) -> None:
    limit = raise_file_limit()
    if clients + 50 > limit:
        raise ParadeError(f"{clients} clients need more open files than the limit of {limit}: raise `ulimit -Hn`")


def _next_number(settings: Settings, listener: str | None) -> int:
    """Where the deployment expects the next source to go on, as far as it can be asked."""
    try:
        found = _ask_listener(listener) if listener else redis_calls.position(settings)
    except RedisUnavailableError as problem:
        notes.print(printable(f"{problem}; starting at sequence number 1"), soft_wrap=True)
        return 1
    if found["backlog"] or found["waiting"]:
        raise ParadeError(
            f"{found['backlog']} bytes are not consumed yet and {found['waiting']} events wait for number "
            f"{found['next']}; a simulation needs a deployment at rest"
        )
    return found["next"]


def _ask_listener(url: str) -> dict[str, int]:
    if "@" in url:  # it would be sent nowhere, and shown in the error
        raise ParadeError("--listener-health takes no user and no password")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=5) as answer:  # noqa: S310 (the user's own URL)
            facts = json.load(answer)
        return {name: int(facts[name]) for name in ("next", "backlog", "waiting")}
    except (OSError, ValueError, KeyError, http.client.HTTPException) as problem:
        raise ParadeError(f"the listener's health at {url} does not say the next number: {problem}") from None


def _mix(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(","))
        if len(weights) != 5 or min(weights) < 0 or not any(weights):
            raise ValueError
    except ValueError:
        raise ParadeError(f"--mix {text}: give five weights, for example 1,1,1,1,1") from None
    return weights
