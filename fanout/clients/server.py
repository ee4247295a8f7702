"""All clients of this process, however they are connected: limits, slow clients, draining."""

import asyncio
import contextlib
import random
from collections import Counter
from math import ceil

from contract.control import Position
from fanout.clients.newcomer import Newcomer
from fanout.clients.offenders import Offenders
from fanout.clients.served import ServedClient
from fanout.clients.spread import Rush, Spread, drained
from fanout.clients.users import Users
from fanout.stats import FanoutStats
from runtime.context import Context
from runtime.edge.admission import RefusedError
from runtime.edge.listen import limits_of, peer_log
from runtime.edge.rates import RateLimit

DRAIN, REBALANCE, STOPPING, SLOW = "drain", "rebalance", "stopping", "slow"
"""Why a connection is ended, as BYE says it."""


class TooManyAtOnceError(RefusedError):
    """More clients come than the node takes at a time."""

    def __init__(self, max_wait_ms: int) -> None:
        super().__init__(f"too many clients come at once, wait {ceil(max_wait_ms / 1000)} s")
        self.max_wait_ms = max_wait_ms


class ClientServer:
    """All clients of this process. `users` is replaced when the node begins a new session."""

    def __init__(self, context: Context, stats: FanoutStats) -> None:
        self.settings = settings = context.settings
        self.stats = stats
        self.users = Users(settings.linger_s)
        self.changed = asyncio.Event()
        """Set when a user came or left; `fanout/upstream/presence.py` waits for it."""
        self.wake = asyncio.Event()
        """Set when there may be something to do for newcomers; `fanout/resume.py` waits for it."""
        self.clients: set[ServedClient] = set()
        self.broadcast = b""
        """What the batch that is being written has for all, for those who encode it: once is enough."""
        self.opted_in: dict[ServedClient, None] = {}
        """Those that opted in, and are live."""
        self.behind: set[ServedClient] = set()
        self.aside: Counter[str] = Counter()
        """How many clients of each address are set aside."""
        self.offenders = Offenders()
        self.limits = limits_of(settings.client_connections, settings.client_connections_per_address)
        self.log = peer_log(context.log)
        self._now_s = context.now_s
        self._rush = Rush(settings.client_joins_per_s)
        self._joins_of_users = RateLimit(settings.joins_per_user)
        self._joins_of_addresses = RateLimit(settings.joins_per_address)
        self._empty = asyncio.Event()

    def may_join(self, user_id: bytes, address: str) -> None:
        """RefusedError when the user, or users from this address, come more often than they may, or too many at once.

        A further connection of a user who has one here is no join.
        """
        if wait_ms := self._rush.wait_ms(self._now_s()):
            raise TooManyAtOnceError(wait_ms)
        user = self.users.by_id.get(user_id)
        if user is not None and user.is_here:
            return
        now_s = self._now_s()
        if not self._joins_of_users.allows(user_id, now_s):
            raise RefusedError("this user comes and goes too often, wait a second")
        if not self._joins_of_addresses.allows(address, now_s):
            raise RefusedError("too many users come from one address, wait a second")

    def make_live(self, newcomer: Newcomer) -> None:
        """A client that opted in has everything that was written; batches are written to it from the next one on."""
        self.users.make_live(newcomer)
        self.opted_in[newcomer.connection] = None

    def tell_position(self, position: Position) -> None:
        """The history has been renewed, and nothing is missing: positions have another name from here on."""
        for client in self.opted_in:
            client.write(b"RESUMED %b\n" % bytes(position))

    def discard(self, client: ServedClient) -> None:
        """A connection has ended."""
        self.clients.discard(client)
        if not self.clients:
            self._empty.set()

    # Slow clients

    def close_slow(self, client: ServedClient, reason: str) -> None:
        """Close a client that does not keep up."""
        unsent, again = client.unsent_bytes(), client.standing.offender
        self.log.warning("slow_client_closed", peer=client.peer, reason=reason, unsent_bytes=unsent, again=again)
        self.stats.slow_clients_closed[reason] += 1
        self._remember(client)
        client.caught_up()  # checked no more, however long its transport takes to end
        client.abort()

    def slow_client_left(self, client: ServedClient) -> None:
        """A client that was set aside has ended its connection itself."""
        unsent, again = client.unsent_bytes(), client.standing.offender
        self.log.info("slow_client_left", peer=client.peer, unsent_bytes=unsent, again=again)
        self.stats.slow_clients_left += 1
        self._remember(client)

    def counts_again(self, address: str) -> None:
        """One client of the address is no longer set aside."""
        self.aside[address] -= 1
        if not self.aside[address]:
            del self.aside[address]

    def _remember(self, client: ServedClient) -> None:
        address = client.address
        counts = (self.aside[address], self.limits.connections_from(address))
        self.offenders.add(client.user_id, address, *counts, self._now_s())

    # All of them

    def observe(self) -> None:
        """Bring the stats of the clients up to date."""
        stats, users = self.stats, self.users
        stats.peers = self.log.by_reason()
        stats.newcomers = sum(len(user.newcomers) for user in users.by_id.values())
        stats.opted_in = stats.newcomers + len(self.opted_in)
        stats.connections, stats.lingering_users = users.connections, users.lingering
        stats.users = len(users.by_id) - users.lingering
        stats.unsent_bytes = sum(client.unsent_bytes() for client in self.behind)
        stats.slow_clients, stats.clients_set_aside = len(self.behind), self.aside.total()
        stats.slow_offenders = self.offenders.count(self._now_s())

    def close_some(self, count: int, max_wait_ms: int) -> None:
        """End a few connections that are up to date, so that they come back to another node."""
        served = [client for client in self.clients if client.user_id and not client.unsent_bytes()]
        for client in random.sample(served, min(count, len(served))):
            client.close(REBALANCE, max_wait_ms)

    def begin_anew(self) -> None:
        """Close every registered client, since it may have missed lines, and begin without users."""
        for client in list(self.clients):
            if client.user_id:
                client.abort()
        self.users = Users(self.settings.linger_s)

    def abort(self) -> None:
        """Cut off all connections, and write the rest of the log."""
        for client in list(self.clients):
            client.abort()
        self.log.close()

    def spread(self, least_s: float) -> Spread:
        """Over how long `drain` ends all connections, if it is to take so long at least; 0: at once."""
        settings = self.settings
        return drained(len(self.clients), least_s, settings.drain_most_s, settings.drain_per_s)

    async def drain(self, spread: Spread, patience_s: float) -> None:
        """End all connections, spread over time; returns when they are gone, or `patience_s` after that."""
        began_s, total, seconds = self._now_s(), len(self.clients), spread.seconds
        reason = DRAIN if seconds else STOPPING
        self._empty.clear()
        for count, client in enumerate(list(self.clients), 1):
            client.close(reason, spread.max_wait_ms)
            await asyncio.sleep(max(0.0, began_s + seconds * count / total - self._now_s()))
        if self.clients:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._empty.wait()
