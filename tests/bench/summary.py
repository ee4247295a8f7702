"""Medians over the runs of a case, as JSON and as a table."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.cases import Case
from tests.bench.measure import Figures

RATES = ("events_per_s", "notifications_per_s", "seconds", "simulator_cpu_s", "cpu_us_per_event")


def summary(case: Case, runs: Sequence[Figures]) -> Figures:
    """The medians over the runs, with ranges and the samples of the first run."""
    latencies = [each["latency_ms"] for each in runs if each["latency_ms"]]
    return {
        "case": case.name,
        "aim": case.aim,
        "clients": case.clients,
        "fanouts": case.fanouts,
        "passed": all(each["passed"] for each in runs),
        "runs": len(runs),
        "events": runs[0]["events"],
        "notifications": runs[0]["expected_notifications"],
        "range": [min(_each(runs, "events_per_s")), max(_each(runs, "events_per_s"))],
        "latency_ms": {name: statistics.median(_each(latencies, name)) for name in latencies[0]} if latencies else None,
        "processes": [_processes(group) for group in zip(*(each["processes"] for each in runs), strict=True)],
        "samples": runs[0]["samples"],
    } | {name: statistics.median(_each(runs, name)) for name in RATES}


def _each(reports: Sequence[Figures], name: str) -> list[float]:
    return [report[name] for report in reports]


def _processes(runs: Sequence[Figures]) -> Figures:
    return runs[0] | {name: statistics.median(_each(runs, name)) for name in ("cpu_s", "peak_mib")}


def table(results: Sequence[Figures]) -> Table:
    """A table for people."""
    shown = Table(box=None, header_style="bold")
    shown.add_column("load")
    for name in ("events/s", "M notifications/s", "p50 / p99 ms", "aim", "CPU s (processes)", "largest process"):
        shown.add_column(name, justify="right")
    for result in results:
        latency, processes = result["latency_ms"], result["processes"]
        largest = max(processes, key=lambda process: float(process["peak_mib"]))
        shown.add_row(
            result["case"] if result["passed"] else f"[red]{result['case']}: WRONG BYTES[/]",
            f"{result['events_per_s']:,.0f}",
            f"{result['notifications_per_s'] / 1e6:,.1f}",
            f"{latency['p50']:.1f} / {latency['p99']:.1f}" if latency else "",
            result["aim"],
            ", ".join(f"{name} {cpu_s:.1f}" for name, cpu_s in _cpu_times(result)),
            f"{largest['name']} {largest['peak_mib']:.0f} MiB",
        )
    return shown


def _cpu_times(result: Figures) -> list[tuple[str, float]]:
    """CPU seconds of each kind of process, with the load generator last."""
    times = [(_named(process), process["cpu_s"]) for process in result["processes"]]
    return [*times, ("simulator", result["simulator_cpu_s"])]


def _named(process: Figures) -> str:
    return f"{process['count']} {process['name']}s" if process["count"] > 1 else str(process["name"])


def machine() -> dict[str, Any]:
    """The machine and the revision that were measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
    }
