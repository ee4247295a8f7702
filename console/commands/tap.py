"""`parade tap`: what is published for users, decoded, in sequence order. Only listens; with `--at` it is their client.

A batch's lines are shown when the frame that closes it has come: user lines and broadcasts together, by number.
"""

import contextlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import redis
import typer
from rich.console import Console
from rich.text import Text

from console.hearing import Hearing
from console.observe import redis_calls
from console.options import Json, Namespace, RedisUrl, deployment
from console.terminal import terminal
from contract.events import is_user_id
from contract.frames import Frame, safe_batch
from contract.keys import Keys
from runtime.errors import INTERRUPTED, ParadeError
from runtime.printable import printable
from runtime.redis.blocking import connected
from runtime.redis.data import shown
from runtime.settings import Settings
from simulator import address
from simulator.address import Address

At = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="be the users' client there: HOST:PORT, ws://HOST:PORT, or http://HOST:PORT for server-sent events",
    ),
]
POLL_S = 1.0
EVERYONE = "*"
CUT_OFF = "Redis ended the tap: it could not keep up (name fewer users, or write to a file), or Redis went away"
KINDS = {"F": "follow", "U": "unfollow", "B": "broadcast", "P": "private message", "S": "status update"}
STYLES = {"F": "green", "B": "magenta", "P": "yellow", "S": "cyan"}


@dataclass(frozen=True, slots=True)
class Notification:
    """One line as it is published for a user; `user` is `*` for broadcasts."""

    user: str
    sequence: int
    kind: str
    origin: str
    line: str


def tap_command(
    users: Annotated[list[str] | None, typer.Argument(metavar="USER", help="user ids, for example 50 51")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="everything that is published")] = False,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Follow what is published for users, in order, until Ctrl-C.

    Broadcasts are shown once, as for everyone. Nothing is published for users who are not connected. The tap only
    listens: when it can't keep up, Redis disconnects it, and no client notices.

    With --at no access to Redis is needed: `parade tap 50 --at ws://parade.example:9098` connects as a client of
    user 50, from now on, and comes back where it was when its connection ends. That counts as the user being there.
    At the end it says BYE, which server-sent events can't: the user's place is kept for a while then.

    With --json, one object per line: `parade tap --all --json | jq -r 'select(.kind == "P").line'`.
    """
    if at is not None:
        if everyone or redis_url or namespace:
            raise ParadeError("--at is for the users that you name, and needs no --all, --redis-url or --namespace")
        _hear(address.parse(at, option="--at"), users or [], as_json=as_json)
        sys.exit(INTERRUPTED)
    settings = deployment(redis_url=redis_url, namespace=namespace)
    if run(settings, users or [], everyone=everyone, as_json=as_json):
        sys.exit(INTERRUPTED)


def _hear(at: Address, users: list[str], *, as_json: bool) -> None:
    """Show what a client of these users is sent, until Ctrl-C."""
    if not users:
        raise ParadeError("name the users to be a client of, for example `parade tap 50 --at ws://parade.example:9098`")
    _check(users)
    console = terminal()

    def on_news(text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201

    def on_lines(user: str, lines: bytes) -> None:
        _show(decoded(user, lines), console, as_json=as_json)

    with contextlib.suppress(KeyboardInterrupt):
        Hearing(at, list(dict.fromkeys(users)), on_lines, on_news).run()


def _check(users: list[str]) -> None:
    for user in users:
        if not is_user_id(user.encode(errors="surrogateescape")):
            raise ParadeError(f"'{user}' is not a user id: 1 to 20 digits without a leading zero")


def run(settings: Settings, users: list[str], *, everyone: bool, as_json: bool) -> bool:
    """Show until Ctrl-C; returns True then. ParadeError when Redis goes away or has cut the tap off."""
    if bool(users) == everyone:
        raise ParadeError("name the users to follow, or follow all with --all")
    _check(users)
    console = terminal()
    try:
        with connected(settings) as client:
            _say_who_is_away(client, settings.keys, users)
            with client.pubsub() as channels:  # type: ignore[no-untyped-call]
                _subscribe(channels, settings.keys, users)
                try:
                    _follow(channels, settings.keys, console, as_json=as_json)
                except redis.ConnectionError as problem:
                    raise ParadeError(f"{CUT_OFF} ({problem})") from None
    except KeyboardInterrupt:
        return True
    return False


def decoded(user: str, lines: bytes) -> list[Notification]:
    """The lines of one message."""
    return [_notification(user, line) for line in lines.removesuffix(b"\n").split(b"\n")]


def _notification(user: str, raw: bytes) -> Notification:
    line = printable(raw.removesuffix(b"\r"))
    sequence, kind, origin, *_ = [*line.split("|"), "", ""]
    if not (sequence.isascii() and sequence.isdecimal()):
        return Notification(user, 0, "", "", line)  # published by another program
    return Notification(user, int(sequence), kind, origin, line)


def _say_who_is_away(client: "redis.Redis", keys: Keys, users: list[str]) -> None:
    away = [user for user in users if not redis_calls.nodes_of(client, keys, user)]
    if away:
        names = ", ".join(away)
        print(f"not connected, so only broadcasts are published for now: {names}", file=sys.stderr)  # noqa: T201


def _subscribe(channels: Any, keys: Keys, users: list[str]) -> None:
    if users:
        channels.subscribe(keys.broadcast, *(keys.user + user for user in users))
    else:
        channels.subscribe(keys.broadcast)
        channels.psubscribe(redis_calls.literally(keys.user) + "*")


def _follow(channels: Any, keys: Keys, console: Console, *, as_json: bool) -> None:
    batch: list[Notification] = []
    while True:
        message = channels.get_message(ignore_subscribe_messages=True, timeout=POLL_S)
        if message is None:
            continue
        channel, data = message["channel"], message["data"]
        try:
            if channel != keys.broadcast.encode():
                batch += decoded(printable(channel.removeprefix(keys.user.encode())), data)
                continue
            if safe_batch(data) is not None:
                continue
            batch += decoded(EVERYONE, Frame.decode(data).lines)
        except ValueError:
            print(printable(f"another program publishes on {shown(channel)}: {shown(data)}"), file=sys.stderr)  # noqa: T201
        else:
            _show(sorted(batch, key=lambda each: each.sequence), console, as_json=as_json)
            batch = []


def _show(batch: list[Notification], console: Console, *, as_json: bool) -> None:
    if not batch:
        return
    if as_json:
        print("\n".join(json.dumps(asdict(each)) for each in batch), flush=True)  # noqa: T201
    elif console.is_terminal:
        console.print(Text("\n").join(Text(text_of(each), STYLES.get(each.kind, "")) for each in batch))
    else:
        print("\n".join(map(text_of, batch)), flush=True)  # noqa: T201


def text_of(each: Notification) -> str:
    """For a person: number, for whom, what it is, and the line itself."""
    whom = "everyone" if each.user == EVERYONE else each.user
    what = KINDS.get(each.kind, "no event") + (f" of {each.origin}" if each.origin else "")
    return f"{each.sequence:>12}  for {whom:<12} {what:<32} {each.line}"
