"""One simulation: prepare, connect, wait until every client is served, send, receive, judge."""

import time
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from runtime.errors import ParadeError
from simulator.clients import PAUSE_S, SHORT_PAUSE_S, Client, Clients
from simulator.opening import Opening
from simulator.oracle import Expected, Oracle
from simulator.plan import Plan
from simulator.report import Report, percentiles
from simulator.source import Source, arrivals
from simulator.workload import Workload, blocks

LINGER_S = 0.3
"""How long to listen for bytes that should not come, after all expected ones have."""
FULL_LIMIT_BYTES = 1 << 30


class Simulation:
    """Runs a plan once."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def run(self) -> Report:
        """The verdict. ParadeError when the system can't be reached or does not serve the clients."""
        plan = self._plan
        clients = Clients((plan.host, plan.client_port), list(self._users()), plan.timeout_s)
        source: Source | None = None
        try:
            with self._progress:
                opening = Opening(plan, self._progress)
                opening.connect(clients)
                source = opening.open_source()
                first = opening.wait_until_served(source, clients)
                return self._measure(source, clients, first)
        finally:
            clients.close()
            if source is not None:
                source.close()

    def _users(self) -> range:
        first = self._plan.work.first_user
        return range(first, first + self._plan.clients)

    def _measure(self, source: Source, clients: Clients, first: int) -> Report:
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
        clients.forget()
        clients.keep = plan.full
        interval_s = work.max_batch / plan.rate if plan.rate else None
        if interval_s is None:
            source.start(arrival)
        else:
            source.start_paced(arrival, interval_s)
            clients.between = source.send_due
            clients.due_s = lambda number: source.started_s + (number - first) // work.max_batch * interval_s
        cpu = time.process_time()
        self._receive(source, clients, report)
        report.simulator_cpu_s = round(time.process_time() - cpu, 2)
        report.seconds = round(max(clients.last_byte_s - source.started_s, 0.0), 3)
        report.received_bytes = clients.total
        report.differences = _differences(work, source, clients, expected, full=plan.full)
        if plan.rate:
            report.latency_ms = percentiles(clients.latencies, clients.weights)
        return report

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
            f"number {number} is left out: the stream will stand still there until `parade skip`",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

    def _prepare(self, work: Workload) -> tuple[Oracle, list[tuple[bytes, list[int]]]]:
        task = self._progress.add_task("preparing events", total=work.events)
        oracle = Oracle(self._users(), keep=self._plan.full)
        arrival = []
        for block in blocks(work):
            oracle.feed(block)
            arrival.append(arrivals(block))
            self._progress.advance(task, len(block.kinds))
            if self._plan.full and sum(e.size for e in oracle.expected.values()) > FULL_LIMIT_BYTES:
                raise ParadeError("--full would keep over 1 GiB: take fewer events or clients")
        self._progress.remove_task(task)
        return oracle, arrival

    def _receive(self, source: Source, clients: Clients, report: Report) -> None:
        task = self._progress.add_task("receiving", total=report.expected_bytes)
        quiet_since = time.monotonic()
        shown = logged = 0.0
        while clients.total < report.expected_bytes:
            got = clients.receive(min(0.1, source.due_s - time.monotonic()))
            now = time.monotonic()
            source.send_due(now)
            if got:
                quiet_since = now
            if now - quiet_since > self._plan.timeout_s or source.error is not None:
                return
            if now - shown > 0.2:
                self._progress.update(task, completed=clients.total)
                shown = now
            logged = self._log(clients.total / report.expected_bytes * report.events, logged)
            time.sleep(PAUSE_S if clients.due_s is None else SHORT_PAUSE_S)
        end = time.monotonic() + LINGER_S
        while time.monotonic() < end:
            clients.receive(0.05)
        self._progress.remove_task(task)

    def _log(self, done: float, logged: float) -> float:
        interval = self._plan.log_interval
        if interval and not self._console.is_terminal and done - logged >= interval:
            self._console.print(f"about {done:,.0f} of {self._plan.work.events:,} events")
            return done
        return logged


def _differences(
    work: Workload, source: Source, clients: Clients, expected: dict[int, Expected], *, full: bool
) -> list[str]:
    compared = [_difference(client, expected[client.user], full) for client in clients.all]
    found = [difference for difference in compared if difference is not None]
    if work.leave_out is not None and found:
        waited = f"everything behind number {work.leave_out}, which was left out, has to be waited for until it is"
        found.insert(0, f"{waited} skipped (`parade skip`)")
    if source.error is not None:
        found.insert(0, f"the event source lost its connection: {source.error}")
    return found


def _difference(client: Client, expected: Expected, full: bool) -> str | None:
    if (client.size, client.checksum) == (expected.size, expected.checksum):
        return None
    text = f"user {client.user}: received {client.size:,} bytes of {expected.size:,}"
    if client.closed:
        text += ", then the connection was closed"
    if not full:
        return text + " (--full shows the first difference)"
    pairs = zip(client.received.splitlines(), expected.bytes.splitlines(), strict=False)
    for number, (got, wanted) in enumerate(pairs, 1):
        if got != wanted:
            return text + f"; line {number} is {got!r} instead of {wanted!r}"
    return text + "; one is the beginning of the other"
