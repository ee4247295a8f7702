"""Connects the source and the clients, and waits until every client is served."""

import time

from rich.progress import Progress

from runtime.errors import ParadeError
from simulator.acknowledged import AckedSource
from simulator.clients import Clients
from simulator.plan import Plan
from simulator.returning import Returners
from simulator.source import Source

PROBE_S = 0.05
"""Time between two broadcasts while waiting for every client to be served."""

SWAPPED = "are the ports swapped? See --event-port and --client-port"


def lost(plan: Plan, problem: OSError, sent: str, advice: str) -> ParadeError:
    """The source can't go on, after it has sent this much."""
    what = f"took nothing for {plan.timeout_s:g} s" if isinstance(problem, TimeoutError) else "closed the connection"
    return ParadeError(f"the event port, {plan.host}:{plan.event_port}, {what} after {sent}: {advice}")


class Opening:
    """Prepares the connections of a simulation."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress

    def connect(self, clients: Clients | Returners) -> None:
        """Connect every client. Raises ParadeError if one can't connect."""
        task = self._progress.add_task("connecting", total=self._plan.clients)
        count = 0

        def on_step(connected: int) -> None:
            nonlocal count
            count = connected
            self._progress.update(task, completed=connected)

        try:
            clients.connect(on_step)
        except OSError as problem:
            host, port = self._plan.client_address
            raise ParadeError(
                f"can't connect client {count + 1} to {host}:{port}: {problem}; is the system running (`parade up`)?"
            ) from None

    def open_source(self) -> Source:
        """Connect the event source. Raises ParadeError if it can't connect."""
        plan = self._plan
        try:
            return Source((plan.host, plan.event_port), plan.timeout_s)
        except OSError as problem:
            raise ParadeError(f"can't connect the event source to {plan.host}:{plan.event_port}: {problem}") from None

    def open_acked(self, source: AckedSource) -> AckedSource:
        """Connect a source and say HELLO. Raises ParadeError unless it is answered."""
        plan = self._plan
        try:
            source.open()
        except OSError as problem:
            raise ParadeError(
                f"the event port, {plan.host}:{plan.event_port}, does not acknowledge events: {problem}"
            ) from None
        return source

    def wait_until_answered(self, clients: Returners) -> int:
        """Wait until every client's registration is answered. Returns the number that the deployment expects next.

        Raises ParadeError.
        """
        task = self._progress.add_task("waiting until all are served", total=len(clients.all))
        deadline = time.monotonic() + self._plan.timeout_s
        while clients.absent:
            clients.receive(PROBE_S)
            refused = [client for client in clients.all if client.cursor.error]
            if refused:
                raise ParadeError(f"the client port refused user {refused[0].user}: {refused[0].cursor.error}")
            self._check_wires(clients)
            if time.monotonic() > deadline:
                waited = f"{clients.absent} of {len(clients.all)} clients got no answer to `after=now` within"
                raise ParadeError(f"{waited} {self._plan.timeout_s:g} s: does this deployment know it?")
            self._progress.update(task, completed=len(clients.all) - clients.absent)
        self._progress.remove_task(task)
        places = {client.cursor.place.number for client in clients.all if client.cursor.place is not None}
        if len(places) > 1:
            raise ParadeError(f"clients are answered positions from {min(places)} to {max(places)}: it is not at rest")
        return places.pop() + 1

    def wait_until_served(self, source: Source | AckedSource, clients: Clients) -> int:
        """Broadcast until every client has received one, which proves that it is served. Returns the next number.

        The protocol does not acknowledge a registration, so this is the only way to know. Raises ParadeError.
        """
        task = self._progress.add_task("waiting until all are served", total=len(clients.all))
        sent, number = b"", self._plan.work.first
        deadline = time.monotonic() + self._plan.timeout_s
        probe_at = 0.0
        silent = set(clients.all)
        while silent:
            now = time.monotonic()
            if source.refusal:
                raise ParadeError(source.refusal)
            closed = sum(client.closed for client in clients.all)
            if closed:
                raise ParadeError(f"{closed} of {len(clients.all)} clients were closed at once: see `parade status`")
            if now > deadline:
                raise ParadeError(self._not_served(len(silent), len(clients.all)))
            if now >= probe_at:
                line = b"%d|B\n" % number
                try:
                    source.send(line)
                except OSError as problem:
                    sent_so_far = f"{number - self._plan.work.first} broadcasts, before all clients were served"
                    raise lost(self._plan, problem, sent_so_far, SWAPPED) from None
                sent += line
                number += 1
                probe_at = now + PROBE_S
            if clients.receive(PROBE_S):
                silent = {client for client in silent if not client.size}
                self._progress.update(task, completed=len(clients.all) - len(silent))
        last = b"%d|B\n" % (number - 1)
        while not all(client.kept and client.kept[-1].endswith(last) for client in clients.all):
            if time.monotonic() > deadline or any(client.closed for client in clients.all):
                raise ParadeError("some clients received one broadcast but not the ones after it")
            clients.receive(PROBE_S)
        for client in clients.all:
            if not sent.endswith(client.received):
                raise ParadeError(f"user {client.user} received wrong broadcasts: {client.received[:200]!r}")
        self._progress.remove_task(task)
        return number

    def _check_wires(self, clients: Returners) -> None:
        """ParadeError when a client can't understand the answer, or has lost its only connection."""
        wrong = [client for client in clients.all if client.cursor.problems]
        if wrong:
            host, port = self._plan.client_address
            problem = wrong[0].cursor.problems[0]
            raise ParadeError(f"{host}:{port} does not speak {self._plan.transport} as it should: {problem}")
        closed = sum(client.closed for client in clients.all)
        if closed and not clients.returns:
            raise ParadeError(f"{closed} of {len(clients.all)} clients were closed at once: see `parade status`")

    def _not_served(self, silent: int, of: int) -> str:
        return (
            f"{silent} of {of} clients received nothing within {self._plan.timeout_s:g} s. "
            f"If the deployment does not expect sequence number {self._plan.work.first} next, "
            "give --first, or start over with `parade reset`; if it numbers the events itself, give --producers."
        )
