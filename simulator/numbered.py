"""A simulation with several producers: Parade numbers their events, and the clients learn the numbers.

All clients opt in, so that OK tells when each is served; they cut their connections only with --resume. At the end each
producer's lines must be there in its order, each once, with numbers that leave nothing out and are given once; and each
client's lines must be those of the oracle, which is fed with all lines in the order of their numbers.
"""

import secrets
import selectors
import time

from rich.console import Console

from simulator import acknowledged, returning
from simulator.acknowledged import AckedSource
from simulator.ledger import ProducerLedger
from simulator.opening import Opening
from simulator.oracle import Oracle
from simulator.pieces import Piece, cut
from simulator.plan import Plan
from simulator.producers import Order, Producers
from simulator.receiving import Receiving, progress_on
from simulator.report import Report
from simulator.returning import Returners
from simulator.verdict import differences


class NumberedSimulation:
    """Runs a plan with producers once."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._progress = progress_on(console)
        self._producers = Producers(plan.work, plan.producers)
        self._run = secrets.token_hex(4)
        """Part of the producers' names, so that no run goes on with the counts of another."""

    def run(self) -> Report:
        """Run it. Raises ParadeError if the system can't be reached, or does not number events."""
        plan = self._plan
        first_user = plan.work.first_user
        answers = selectors.DefaultSelector()
        users = list(range(first_user, first_user + plan.clients))
        clients = Returners(plan.way, users, plan.timeout_s)
        sources = [self._source(producer, answers) for producer in range(plan.producers)]
        try:
            with self._progress:
                opening = Opening(plan, self._progress)
                opening.connect(clients)
                clients.also = [answers]
                first = opening.wait_until_answered(clients)
                for source in sources:
                    opening.open_acked(source)
                return self._measure(sources, clients, Order(self._producers, first), first)
        finally:
            clients.close()
            for source in sources:
                source.close()
            answers.close()

    def _source(self, producer: int, answers: selectors.BaseSelector) -> AckedSource:
        plan = self._plan
        ledger = ProducerLedger(f"sim-{self._run}-{producer}")
        return AckedSource((plan.host, plan.event_port), plan.timeout_s, ledger, answers)

    def _measure(self, sources: list[AckedSource], clients: Returners, order: Order, first: int) -> Report:
        plan, work = self._plan, self._plan.work
        clients.keep = plan.full
        clients.on_lines = lambda _, lines: order.learn(lines)
        if plan.resume:
            clients.begin(work.seed, first, order.end)
        began, cpu = time.monotonic(), time.process_time()
        self._send(sources, clients, order)
        cpu = time.process_time() - cpu
        oracle = Oracle([client.user for client in clients.all], keep=plan.full)
        for block in order.blocks():
            oracle.feed(block)
        expected = oracle.expected
        return Report(
            order.end - first, plan.clients, work.users, work.seed,
            sum(e.lines for e in expected.values()), sum(e.size for e in expected.values()),
            received_bytes=clients.total,
            seconds=round(max(clients.last_byte_s - began, 0.0), 3),
            simulator_cpu_s=round(cpu, 2),
            differences=[
                *differences(work, clients.all, expected, full=plan.full),
                *order.problems,
                *self._problems(sources, order),
            ],
            connections=returning.facts(clients),
            acknowledged=acknowledged.facts(sources),
        )  # fmt: skip

    def _send(self, sources: list[AckedSource], clients: Returners, order: Order) -> None:
        """Send everything; then the last line of all, and wait until every client has received it."""
        plan, producers = self._plan, self._producers
        interval_s = plan.work.max_batch * plan.producers / plan.rate if plan.rate else 0.0
        for producer, source in enumerate(sources):
            share = producers.share(producer)
            source.start(cut(0, share, plan.work.max_batch, producers.arrival(producer)), interval_s)
        receiving = Receiving(plan, self._console, self._progress, plan.work.events)
        receiving.run(clients, sources, lambda: float(all(source.is_done for source in sources)))
        share, last = producers.share(0), producers.last()
        sources[0].start([Piece(share, share + 1, f"*{last.text}".encode("latin-1"))])

        def done() -> float:
            number = order.last_number
            if not number or any(source.ledger.next < order.end for source in sources if source.ledger.is_open):
                return 0.0
            places = [client.cursor.place for client in clients.all]
            return sum(place is not None and place.number >= number for place in places) / len(places)

        receiving.run(clients, sources, done)

    def _problems(self, sources: list[AckedSource], order: Order) -> list[str]:
        found = [
            problem
            for producer, source in enumerate(sources)
            for problem in acknowledged.problems(f"producer {producer}", source)
        ]
        reached = max(source.ledger.next for source in sources)
        if reached != order.end:
            found.append(f"the deployment expects number {reached} next, and not {order.end}, at the end")
        return found
