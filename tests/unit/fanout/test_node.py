"""A node's tries to reach Redis: ever longer pauses while it is away, however well it served before."""

import asyncio

from fanout.clients.server import ClientServer
from fanout.node import Node
from fanout.session import NodeSession
from fanout.stats import FanoutStats
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.redis.link import RedisLink
from runtime.settings import load
from tests.schedules.loop import VirtualLoop


class Attempts:
    """A Redis that is away, and the times at which a connection to it was tried."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.times_s: list[float] = []

    async def open_link(self, *_: object) -> RedisLink:
        self.times_s.append(self._loop.time())
        raise RedisUnavailableError("away")

    def debug(self, event: str, **fields: object) -> None:
        """Nothing is logged."""

    info = warning = error = debug


def test_the_pauses_grow_while_redis_is_away_also_after_clients_were_served() -> None:
    loop = VirtualLoop()
    attempts = Attempts(loop)

    async def run() -> None:
        context, stats = Context(load(), log=attempts, open_link=attempts.open_link), FanoutStats()
        clients = ClientServer(context, stats)
        node = Node(context, clients, Outage(context, Readiness()), stats)
        node._session = NodeSession(context, clients, stats)
        await node.run(asyncio.Event())

    task = loop.create_task(run())
    loop.run(10)
    task.cancel()
    loop.run(11)
    pauses = [round(later - earlier, 3) for earlier, later in zip(attempts.times_s, attempts.times_s[1:], strict=False)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
