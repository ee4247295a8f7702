"""One simulation: connect, wait until every client is served, prepare the events, send, receive, compare."""

import selectors
import time
from dataclasses import replace

from rich.console import Console

from runtime.errors import ParadeError
from simulator import acknowledged, returning
from simulator.acknowledged import AckedSource
from simulator.clients import Clients
from simulator.ledger import Ledger
from simulator.opening import Opening
from simulator.oracle import Oracle
from simulator.pieces import cut
from simulator.plan import Plan
from simulator.receiving import Receiving, progress_on
from simulator.report import Report, percentiles
from simulator.returning import Returners
from simulator.source import Arrival, Source, arrivals
from simulator.verdict import differences
from simulator.wire import TCP
from simulator.workload import Workload, blocks

FULL_LIMIT_BYTES = 1 << 30

NOTHING = (
    "the clients received nothing at all: is a sequencer running (`parade status`)? "
    "A deployment that numbers the events itself (PARADE_NUMBERING=parade) needs --producers"
)


class Simulation:
    """Runs a plan once."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._progress = progress_on(console)

    def run(self) -> Report:
        """Run it. Raises ParadeError if the system can't be reached or does not serve the clients."""
        plan = self._plan
        answers = selectors.DefaultSelector()
        # Before the clients connect: `select` takes only low file descriptors.
        source: AckedSource | Source | None = None
        clients = self._clients()
        try:
            with self._progress:
                opening = Opening(plan, self._progress)
                opening.connect(clients)
                source = self._open_source(opening, answers)
                clients.also = [answers]
                first = self._wait_until_served(opening, source, clients)
                return self._measure(source, clients, first)
        finally:
            clients.close()
            if source is not None:
                source.close()
            answers.close()

    def _clients(self) -> Clients | Returners:
        plan, users = self._plan, list(self._users())
        if plan.transport == TCP and not plan.resume:
            return Clients(plan.client_address, users, plan.timeout_s)
        return Returners(plan.way, users, plan.timeout_s, returns=plan.resume)

    def _users(self) -> range:
        first = self._plan.work.first_user
        return range(first, first + self._plan.clients)

    def _open_source(self, opening: Opening, answers: selectors.BaseSelector) -> AckedSource | Source:
        plan = self._plan
        if not plan.acks:
            return opening.open_source()
        address = (plan.host, plan.event_port)
        return opening.open_acked(AckedSource(address, plan.timeout_s, Ledger(), answers))

    def _wait_until_served(self, opening: Opening, source: AckedSource | Source, clients: Clients | Returners) -> int:
        if isinstance(clients, Clients):
            return opening.wait_until_served(source, clients)
        first = opening.wait_until_answered(clients)
        if first != self._plan.work.first:
            raise ParadeError(f"the deployment expects number {first} next: give --first {first}")
        if self._plan.resume:
            clients.begin(self._plan.work.seed, first, first + self._plan.work.events)
        return first

    def _measure(self, source: AckedSource | Source, clients: Clients | Returners, first: int) -> Report:
        plan = self._plan
        work = replace(plan.work, first=first)
        self._check_left_out(work)
        began = time.monotonic()
        oracle, arrival = self._prepare(work)
        prepared = time.monotonic()
        expected = oracle.expected
        report = Report(
            work.events - (work.leave_out is not None), plan.clients, work.users, work.seed,
            sum(e.lines for e in expected.values()), sum(e.size for e in expected.values()),
            prepare_s=round(prepared - began, 2),
        )  # fmt: skip
        if isinstance(clients, Clients):
            clients.forget()
        clients.keep = plan.full
        self._start(source, clients, work, arrival)
        cpu = time.process_time()
        receiving = Receiving(plan, self._console, self._progress, report.events)
        receiving.run(clients, [source], lambda: min(1.0, clients.total / max(1, report.expected_bytes)))
        report.differences = differences(work, clients.all, expected, full=plan.full)
        if report.expected_bytes and not clients.total and not _told(clients):
            raise ParadeError(NOTHING)
        report.simulator_cpu_s = round(time.process_time() - cpu, 2)
        report.seconds = round(max(clients.last_byte_s - source.started_s, 0.0), 3)
        report.received_bytes = clients.total
        if plan.rate:
            report.latency_ms = percentiles(clients.latencies, clients.weights)
        if isinstance(clients, Returners) and plan.resume:
            report.connections = returning.facts(clients)
        if isinstance(source, AckedSource):
            report.acknowledged = acknowledged.facts([source])
            report.differences += acknowledged.problems("the source", source, work.leave_out)
        return report

    def _start(
        self, source: AckedSource | Source, clients: Clients | Returners, work: Workload, arrival: Arrival
    ) -> None:
        rate = self._plan.rate
        interval_s = work.max_batch / rate if rate else 0.0
        if isinstance(source, AckedSource):
            source.start(cut(work.first, work.first + work.events, work.max_batch, arrival), interval_s)
        elif rate:
            source.start_paced(arrival, interval_s)
        else:
            source.start(arrival)
        if rate:
            clients.between = lambda now_s: source.send_due(now_s) if now_s >= source.due_s else None
            clients.due_s = lambda number: source.started_s + (number - work.first) // work.max_batch * interval_s

    def _check_left_out(self, work: Workload) -> None:
        number, last = work.leave_out, work.first + work.events - 1
        if number is None:
            return
        if not work.first <= number <= last:
            raise ParadeError(f"--leave-out {number}: this run sends numbers {work.first} to {last}")
        if last - number > self._plan.reach:
            raise ParadeError(
                f"--leave-out {number}: {last - number:,} events would wait behind it, and only {self._plan.reach:,} "
                "may (PARADE_REACH): send fewer with --events"
            )
        self._console.print(
            f"number {number} is left out: the stream stops there until `parade skip`",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

    def _prepare(self, work: Workload) -> tuple[Oracle, Arrival]:
        task = self._progress.add_task("preparing events", total=work.events)
        oracle = Oracle(self._users(), keep=self._plan.full)
        arrival = []
        for block in blocks(work):
            oracle.feed(block)
            arrival.append(arrivals(block))
            self._progress.advance(task, len(block.kinds))
            if self._plan.full and sum(e.size for e in oracle.expected.values()) > FULL_LIMIT_BYTES:
                raise ParadeError("--full would keep over 1 GiB: use fewer events or clients")
        self._progress.remove_task(task)
        return oracle, arrival


def _told(clients: Clients | Returners) -> bool:
    """Whether some client was told what makes no sense."""
    return isinstance(clients, Returners) and any(client.cursor.problems for client in clients.all)
