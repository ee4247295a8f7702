"""`parade simulate`: the event source and the user clients; every byte is checked."""

import json
import sys
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from console import target
from console.options import Events, Host, Json, Namespace, RedisUrl, Seed, WebPort, notes
from contract.events import BARE_BYTES
from runtime.errors import ParadeError
from runtime.service import raise_file_limit
from runtime.settings import environment_name
from simulator.numbered import NumberedSimulation
from simulator.payload import MOST, Sizes
from simulator.plan import Plan
from simulator.run import Simulation
from simulator.wire import TCP, TRANSPORTS
from simulator.workload import Workload

DEFAULT_CLIENTS = 100
TIMEOUT_MS, LEFT_OUT_TIMEOUT_MS = 20_000, 300_000
"""Longest wait for the next byte; with --leave-out a person needs time to look and to skip."""
FRESH_USERS = 1000
"""User ids set aside for each sequence number before the first one, so that each simulation has new users, who follow
no one yet."""

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
EventsAt = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="event port of a deployment elsewhere; Redis is not asked, the port itself says the next number",
    ),
]
ClientsAt = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="client port of a deployment elsewhere: HOST:PORT, ws://HOST:PORT, or http://HOST:PORT for sse",
        show_default="the host of --events-at",
    ),
]
Transport = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(TRANSPORTS),
        help="how clients connect: tcp; ws, a WebSocket; or sse, server-sent events; the last two use the web port",
        show_default=f"{TCP}, or what --clients-at says",
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
    int, typer.Option(envvar="logInterval", min=0, help="events between two progress lines in the log; 0: no lines")
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
Payload = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="size of each event's payload, text or raw bytes: 200, or 20:2000"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="clients cut their connections at random, and come back where they were")
]
Acks = Annotated[
    bool,
    typer.Option("--acks", help="the source waits for acknowledgements, and sends again what a broken connection lost"),
]
ProducersOption = Annotated[
    int | None,
    typer.Option(
        "--producers", min=1, metavar="N", help="N sources without numbers, for PARADE_NUMBERING=parade; with --acks"
    ),
]
Full = Annotated[bool, typer.Option(help="keep all bytes and show the first difference")]


def simulate_command(
    host: Host = None,
    event_port: EventPort = None,
    client_port: ClientPort = None,
    web_port: WebPort = None,
    transport: Transport = None,
    events_at: EventsAt = None,
    clients_at: ClientsAt = None,
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
    payload: Payload = None,
    resume: Resume = False,
    acks: Acks = False,
    producers: ProducersOption = None,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """Send events and be the user clients; check every byte that arrives.

    Exit status 1 on any difference. Start the system first, with `parade up`. The environment
    variables of the original test program (totalEvents, concurrencyLevel, …) are read too.

    With --leave-out the stream stands still at that number: watch it with `parade top`, then give the number up
    with `parade skip`. Everything but that event is checked.

    With --resume each client registers with `after=now`, cuts its connection a few times (also in the middle of
    a line, by a TCP reset, or without a sign) and comes back with its cursor. Nodes may be killed meanwhile: all
    lines of a client, over all its connections, must be those it is owed, each once. A RESET is a difference.

    With --acks the source says HELLO, and every event must be acknowledged. Listeners may be killed meanwhile.

    With --producers Parade numbers the events: each must get one number, and each producer's events must come in
    its order, each once. All clients then register with `after=now`, and --acks is understood.

    With --transport ws or sse the clients come over HTTP, to the web port (`parade up --web-port 9098`). What they are
    sent must be right in its form too: messages, ids, Close. They register with `after=now`; with --resume they
    come back as above, over sse with Last-Event-ID.

    A deployment elsewhere needs no access to its Redis:

    parade simulate --events-at parade.example:9090 --clients-at ws://parade.example:9098
    """
    given = {"host": host, "event_port": event_port, "client_port": client_port, "web_port": web_port}
    given |= {"redis_url": redis_url, "namespace": namespace}
    found = target.find(given, events_at, clients_at, transport)
    settings, peer = found.settings, found.clients
    _check_file_limit(clients)
    start, reach = (first, settings.reach) if first else found.numbers(listener_health)
    first_user = (start - 1) * FRESH_USERS + 1
    work = Workload(events, users or clients * 10, seed, max_batch, _mix(mix), start, first_user, leave_out)
    work = replace(work, payload=_sizes(payload, settings.line_bytes) if payload else None)
    timeout_s = (timeout or (LEFT_OUT_TIMEOUT_MS if leave_out else TIMEOUT_MS)) / 1000
    where = (settings.host, settings.event_port, peer.port)
    plan = Plan(work, clients, *where, timeout_s, reach, rate, full, log_interval, resume, acks)
    plan = replace(plan, client_host=peer.host, transport=peer.transport, path=peer.path)
    plan = replace(plan, producers=_producers(producers, work))
    report = (NumberedSimulation if producers else Simulation)(plan, notes).run()
    if as_json:
        print(json.dumps(report.as_json(), indent=2))  # noqa: T201
    else:
        report.show(Console())
    sys.exit(0 if report.passed else 1)


def _producers(count: int | None, work: Workload) -> int:
    if count and work.leave_out is not None:
        raise ParadeError("--leave-out needs numbers of the source's own, and --producers sends none")
    if count and count > work.users:
        raise ParadeError(f"--producers {count}: there must be as many users (--users {work.users}) at least")
    return count or 0


def _check_file_limit(clients: int) -> None:
    limit = raise_file_limit()
    if clients + 50 > limit:
        raise ParadeError(f"{clients} clients need more open files than the limit of {limit}: raise `ulimit -Hn`")


def _sizes(text: str, line_bytes: int) -> Sizes:
    least, _, most = text.partition(":")
    try:
        found = Sizes(int(least), int(most or least))
    except ValueError:
        found = Sizes(1, 0)
    if not 0 <= found.least <= found.most <= MOST:
        raise ParadeError(f"--payload {text}: give a size in bytes, or the least and the most, for example 20:2000")
    if found.most > line_bytes - BARE_BYTES:
        raise ParadeError(
            f"--payload {text}: lines would have up to {found.most + BARE_BYTES:,} bytes, and listeners refuse those "
            f"over {line_bytes:,}: set {environment_name('line_bytes')} for them, and for this command"
        )
    return found


def _mix(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(","))
        if len(weights) != 5 or min(weights) < 0 or not any(weights):
            raise ValueError
    except ValueError:
        raise ParadeError(f"--mix {text}: give five weights, for example 1,1,1,1,1") from None
    return weights
