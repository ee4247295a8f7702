"""`parade graph`: who follows a user and whom the user follows."""

import json
from typing import Annotated, Any

import redis
import typer
from rich.text import Text

from console.observe import redis_calls
from console.observe.snapshot import text_of
from console.options import Json, Namespace, RedisUrl, deployment
from console.terminal import terminal
from contract.events import is_user_id
from runtime.errors import ParadeError
from runtime.redis.blocking import connected
from runtime.settings import Settings

SCAN = 100


def graph_command(
    user: Annotated[str, typer.Argument(help="user id")],
    limit: Annotated[
        int, typer.Option(min=0, max=100_000, help="most followers, and most followed users, to list")
    ] = 20,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Show who follows a user and whom the user follows: how many, and some of them, in no particular order."""
    run(deployment(redis_url=redis_url, namespace=namespace), user, limit, as_json=as_json)


def run(settings: Settings, user: str, limit: int, *, as_json: bool) -> None:
    """Print it. ParadeError when it is not a user id."""
    if not is_user_id(user.encode(errors="surrogateescape")):
        raise ParadeError(f"'{user}' is not a user id: 1 to 20 digits without a leading zero")
    keys = settings.keys
    with connected(settings) as client:
        nodes = redis_calls.nodes_of(client, keys, user)
        sides = {
            name: _some(client, prefix + user, limit)
            for name, prefix in (("followers", keys.followers), ("following", keys.following))
        }
    if as_json:
        print(json.dumps({"user": user, "connected_to": nodes} | sides, indent=2))  # noqa: T201
        return
    console = terminal()
    console.print(f"user {user} is " + (f"connected to {', '.join(nodes)}" if nodes else "not connected"))
    for name, side in sides.items():
        more = side["count"] - len(side["users"])
        listed = " ".join(side["users"]) + (f" … and {more:,} more" if more else "")
        console.print(Text(name, "dim"), f" {side['count']:,}" + (f": {listed}" if side["users"] else ""))


def _some(client: "redis.Redis", key: str, limit: int) -> dict[str, Any]:
    """How many members a set has, and at most `limit` of them: a set can have millions."""
    users: dict[str, None] = {}  # a scan can return a member twice
    cursor, done = 0, False
    while len(users) < limit and not done:
        cursor, page = client.sscan(key, cursor, count=SCAN)
        users |= dict.fromkeys(map(text_of, page))
        done = not cursor
    return {"count": int(client.scard(key)), "users": list(users)[:limit]}
