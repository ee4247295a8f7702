"""Connects source and clients, and waits until every client is served."""

import time

from rich.progress import Progress

from runtime.errors import ParadeError
from simulator.clients import Clients
from simulator.plan import Plan
from simulator.source import Source

PROBE_S = 0.05
"""Time between two broadcasts while waiting for every client to be served."""


class Opening:
    """The beginning of a simulation."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress

    def connect(self, clients: Clients) -> None:
        """Connect every client. ParadeError when one can't."""
        task = self._progress.add_task("connecting", total=self._plan.clients)
        try:
            clients.connect(lambda count: self._progress.update(task, completed=count))
        except OSError as problem:
            raise ParadeError(
                f"can't connect client {len(clients.all) + 1} to {self._plan.host}:{self._plan.client_port}: "
                f"{problem}; is the system running (`parade up`)?"
            ) from None

    def open_source(self) -> Source:
        """Connect the event source. ParadeError when it can't."""
        plan = self._plan
        try:
            return Source((plan.host, plan.event_port), plan.timeout_s)
        except OSError as problem:
            raise ParadeError(f"can't connect the event source to {plan.host}:{plan.event_port}: {problem}") from None

    def wait_until_served(self, source: Source, clients: Clients) -> int:
        """Broadcast until every client has heard one: from then on each is served. Returns the next number.

        The protocol has no answer to a registration, so this is how a client can know.
        """
        task = self._progress.add_task("waiting until all are served", total=len(clients.all))
        sent, number = b"", self._plan.work.first
        deadline = time.monotonic() + self._plan.timeout_s
        probe_at = 0.0
        silent = set(clients.all)
        while silent:
            now = time.monotonic()
            if now > deadline:
                raise ParadeError(self._not_served(len(silent), len(clients.all)))
            if now >= probe_at:
                line = b"%d|B\n" % number
                source.send(line)
                sent += line
                number += 1
                probe_at = now + PROBE_S
            if clients.receive(PROBE_S):
                silent = {client for client in silent if not client.size}
                self._progress.update(task, completed=len(clients.all) - len(silent))
        last = b"%d|B\n" % (number - 1)
        while not all(client.kept and client.kept[-1].endswith(last) for client in clients.all):
            if time.monotonic() > deadline or any(client.closed for client in clients.all):
                raise ParadeError("some clients heard a broadcast, but not those after it")
            clients.receive(PROBE_S)
        for client in clients.all:
            if not sent.endswith(client.received):
                raise ParadeError(f"user {client.user} received wrong broadcasts: {client.received[:200]!r}")
        self._progress.remove_task(task)
        return number

    def _not_served(self, silent: int, of: int) -> str:
        return (
            f"{silent} of {of} clients received nothing within {self._plan.timeout_s:g} s. "
            f"If the deployment does not expect sequence number {self._plan.work.first} next, "
            "give --first, or start over with `parade reset`."
        )
