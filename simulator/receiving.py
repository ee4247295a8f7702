"""The loop of a run: reads the clients, lets the sources send, until everything has come, or nothing comes any more."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from runtime.errors import ParadeError
from simulator.acknowledged import AckedSource
from simulator.clients import PAUSE_S, SHORT_PAUSE_S, Clients
from simulator.opening import lost
from simulator.plan import Plan
from simulator.returning import Returners
from simulator.source import Source

SURPLUS_WAIT_S = 0.3
"""How long to wait for surplus bytes after every expected byte has arrived."""


def progress_on(console: Console) -> Progress:
    """Progress bars; none unless it is a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Receiving:
    """One run of the loop, for so many events."""

    def __init__(self, plan: Plan, console: Console, progress: Progress, events: int) -> None:
        self._plan = plan
        self._console = console
        self._progress = progress
        self._events = events
        self._logged = 0.0

    def run(
        self, clients: Clients | Returners, sources: Sequence[Source | AckedSource], share: Callable[[], float]
    ) -> None:
        """Run until the share of what is expected is 1 and all sources are done, or nothing comes for too long.

        Raises ParadeError when a source can't go on.
        """
        task = self._progress.add_task("receiving", total=1.0)
        quiet_since = time.monotonic()
        shown = 0.0
        done = share()
        while done < 1 or not all(source.is_done for source in sources):
            due_s = min(source.due_s for source in sources)
            got = clients.receive(min(0.1, due_s - time.monotonic()))
            now = time.monotonic()
            for source in sources:
                source.send_due(now)
                if source.error is not None:
                    raise self._lost(source, source.error)
                if source.refusal:
                    raise ParadeError(source.refusal)
            if got:
                quiet_since = now
            if now - quiet_since > self._plan.timeout_s:
                return
            done = share()
            if now - shown > 0.2:
                self._progress.update(task, completed=done)
                shown = now
            self._log(done * self._events)
            time.sleep(PAUSE_S if clients.due_s is None else SHORT_PAUSE_S)
        self._wait_for_surplus(clients)
        self._progress.remove_task(task)

    def _wait_for_surplus(self, clients: Clients | Returners) -> None:
        """Wait a moment for what should not come, also for clients that are coming back."""
        latest = time.monotonic() + self._plan.timeout_s
        while isinstance(clients, Returners) and clients.absent and time.monotonic() < latest:
            clients.receive(0.05)
        end = time.monotonic() + SURPLUS_WAIT_S
        while time.monotonic() < end:
            clients.receive(0.05)

    def _lost(self, source: Source | AckedSource, problem: OSError) -> ParadeError:
        advice = "was the system stopped? See `parade status`"
        left_out = self._plan.work.leave_out
        if left_out is not None:
            advice = f"number {left_out} was left out, and events wait until it is skipped (`parade skip`)"
        return lost(self._plan, problem, f"{source.sent_events():,} of {self._events:,} events", advice)

    def _log(self, done: float) -> None:
        interval = self._plan.log_interval
        if interval and not self._console.is_terminal and done - self._logged >= interval:
            self._console.print(f"about {done:,.0f} of {self._plan.work.events:,} events")
            self._logged = done
