"""One run of one case on a fresh system."""

import json
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulator.wire import TCP
from tests.bench.cases import Case
from tests.bench.system_under_test import PARADE, Process, System, running

RUN_S = 600
SAMPLE_S = 0.5

Figures = dict[str, Any]


def run(case: Case, parade: Path = PARADE) -> Figures:
    """The simulator's report, plus CPU time, memory and progress of the system during the run.

    `parade`: the program that runs the system; the load always comes from this tree.
    """
    with running("--fanouts", str(case.fanouts), parade=parade, web=case.transport != TCP) as system:
        before = system.processes()
        options = ("--json", "--clients", str(case.clients), "--transport", case.transport, *case.options)
        command = [str(PARADE), "simulate", *system.ports, *options]
        with sampled(system) as samples:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RUN_S, check=False)
        if not done.stdout:
            sys.exit(f"the simulation of {case.name} failed")
        report: Figures = json.loads(done.stdout)
        report["processes"] = used_since(before, system.processes())
    report["cpu_us_per_event"] = round(sum(p["cpu_s"] for p in report["processes"]) / report["events"] * 1e6, 3)
    report["samples"] = samples
    return report


def used_since(before: list[Process], after: list[Process]) -> list[Figures]:
    """For each kind of process: their number, total CPU seconds and the largest peak of memory."""
    began = {process.pid: process.cpu_s for process in before}
    kinds: dict[str, list[Process]] = defaultdict(list)
    for process in after:
        kinds[process.name].append(process)
    return [
        {
            "name": name,
            "count": len(found),
            "cpu_s": round(sum(process.cpu_s - began.get(process.pid, 0.0) for process in found), 2),
            "peak_mib": round(max(process.peak_kib for process in found) / 1024, 1),
        }
        for name, found in kinds.items()
    ]


@contextmanager
def sampled(system: System) -> Iterator[list[tuple[int, float]]]:
    """(events released, CPU seconds of the system), sampled every half second during the block."""
    samples: list[tuple[int, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            cpu_s = sum(process.cpu_s for process in system.processes())
            samples.append((system.released(), round(cpu_s, 2)))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield samples
    finally:
        ended.set()
        watching.join()
