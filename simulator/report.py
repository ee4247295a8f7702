"""The verdict of a simulation, for people and as JSON."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from rich.console import Console


@dataclass(slots=True)
class Report:
    """The result of a simulation. Times in seconds, latencies in milliseconds."""

    events: int
    clients: int
    users: int
    seed: int
    expected_notifications: int
    expected_bytes: int
    received_bytes: int = 0
    seconds: float = 0.0
    prepare_s: float = 0.0
    simulator_cpu_s: float = 0.0
    differences: list[str] = field(default_factory=list)
    latency_ms: dict[str, float] | None = None
    connections: dict[str, Any] | None = None
    """What became of the clients' connections, with --resume."""
    acknowledged: dict[str, Any] | None = None
    """What the sources were answered, with --acks."""

    @property
    def passed(self) -> bool:
        return not self.differences

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds if self.seconds and self.passed else 0.0

    @property
    def notifications_per_s(self) -> float:
        return self.expected_notifications / self.seconds if self.seconds and self.passed else 0.0

    def as_json(self) -> dict[str, Any]:
        """The report for a script, with derived values."""
        return asdict(self) | {
            "passed": self.passed,
            "events_per_s": round(self.events_per_s),
            "notifications_per_s": round(self.notifications_per_s),
        }

    def show(self, console: Console) -> None:
        """Print the report for a person."""
        if self.passed:
            console.print(
                f"[bold green]passed[/]  {self.clients:,} clients received all "
                f"{self.expected_notifications:,} notifications, byte for byte and in order",
                soft_wrap=True,
            )
            console.print(
                f"{self.events:,} events in {self.seconds:.2f} s: [bold]{self.events_per_s:,.0f} events/s[/], "
                f"{self.notifications_per_s:,.0f} notifications/s",
                soft_wrap=True,
            )
            if self.latency_ms is not None:
                console.print(f"latency from due time to arrival: {_figures(self.latency_ms)}", soft_wrap=True)
        else:  # without rates: what was measured is not what was sent
            console.print(f"[bold red]FAILED[/]  {len(self.differences):,} differences; the first ones:")
            for difference in self.differences[:5]:
                console.print(f"  {difference}", markup=False, emoji=False, highlight=False, soft_wrap=True)
        for line in [*_about_connections(self.connections), *_about_acknowledgements(self.acknowledged)]:
            console.print(line, markup=False, emoji=False, soft_wrap=True)


def _figures(milliseconds: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.1f} ms" for name, value in milliseconds.items())


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _about_connections(facts: dict[str, Any] | None) -> list[str]:
    if facts is None:
        return []
    cut = f"{sum(facts['cut'].values()):,} cut by the clients ({_counted(facts['cut'])})"
    ended = f"{facts['ended']:,} ended by the system, {facts['failed']:,} not made, {facts['refused']:,} refused"
    resets = sum(facts["resets"].values())
    lines = [f"connections: {cut}, {ended}; {facts['resumed']:,} resumed, {resets:,} answered with RESET"]
    if facts["goodbyes"]:
        lines.append(f"BYE before the end: {_counted(facts['goodbyes'])}")
    if facts["resets"]:
        lines.append(f"RESET because: {_counted(facts['resets'])}")
    return lines


def _about_acknowledgements(facts: dict[str, Any] | None) -> list[str]:
    if facts is None:
        return []
    text = (
        f"sources: {facts['lines']:,} of {facts['sent']:,} lines acknowledged over {facts['connections']:,} "
        f"connections, {facts['sent_again']:,} sent again"
    )
    if facts["latency_ms"]:
        text += f"; from due time to ACK: {_figures(facts['latency_ms'])}"
    return [text]


def percentiles(latencies_s: Sequence[float], weights: Sequence[int]) -> dict[str, float]:
    """p50, p90, p99 and max in milliseconds; each latency counts `weight` times. Empty without latencies."""
    if not latencies_s:
        return {}
    ordered = sorted(zip(latencies_s, weights, strict=True))
    totals = list(accumulate(weight for _, weight in ordered))
    figures = {f"p{p}": ordered[bisect_left(totals, totals[-1] * p / 100)][0] for p in (50, 90, 99)}
    return {name: round(value * 1000, 2) for name, value in (figures | {"max": ordered[-1][0]}).items()}
