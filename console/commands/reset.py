"""`parade reset`: deletes what a deployment keeps in Redis."""

from typing import Annotated

import typer

from console.observe import redis_calls
from console.options import Namespace, RedisUrl, deployment
from runtime.errors import ParadeError
from runtime.printable import printable
from runtime.redis.url import redacted


def reset_command(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask for confirmation")] = False,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
) -> None:
    """Delete everything that one deployment keeps in Redis. Refuses while a sequencer runs."""
    settings = deployment(redis_url=redis_url, namespace=namespace)
    redis_calls.refuse_while_sequencing(settings)
    if not yes:
        where = redacted(settings.redis_url)
        question = f"Delete every key that begins with {printable(settings.keys.prefix)} on {where}?"
        if not typer.confirm(question):
            raise ParadeError("nothing deleted")
    print(f"{redis_calls.reset(settings):,} keys deleted")  # noqa: T201
