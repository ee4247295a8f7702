"""`make bench`: the simulator against `parade up`, case by case; a table, and bench.json.

Each case gets a system of its own. The load generator runs on the same cores as the system. Options go in
ARGS: `make bench ARGS="--runs 3 --only 100"`.
"""

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from contract.service import raise_file_limit
from tests.servers import free_port

PARADE = str(Path(sys.executable).with_name("parade"))
STEP_S = 600
IDLE = 15_000


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    name: str
    options: tuple[str, ...]
    clients: int = 100


CASES = [
    Case("100 clients", ("--events", "2000000")),
    Case("1,000 clients", ("--events", "2000000"), 1_000),
    Case("10,000 clients", ("--events", "300000"), 10_000),
    Case("20,000 events/s", ("--events", "200000", "--rate", "20000", "--max-batch", "20")),
    Case("100,000 events/s", ("--events", "1000000", "--rate", "100000", "--max-batch", "20")),
]


def main() -> None:
    """Run the cases and report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="runs of each case; the median counts")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write the figures")
    options = parser.parse_args()
    limit = raise_file_limit()
    console = Console(width=None if sys.stdout.isatty() else 120)
    results = []
    for case in CASES:
        if options.only not in case.name:
            continue
        if case.clients + 100 > limit:
            console.print(f"{case.name}: left out, the hard limit of {limit} open files does not suffice")
            continue
        console.print(f"{case.name} …", style="dim")
        runs = [run(case) for _ in range(options.runs)]
        results.append(summary(case, runs))
    idle = idle_connections(IDLE) if options.only in "idle" else None
    options.json.write_text(json.dumps({"machine": machine(), "cases": results, "idle": idle}, indent=2) + "\n")
    if results:
        console.print(table(results))
    if idle:
        console.print(f"idle: {idle}", highlight=False)
    console.print(f"written to {options.json}; on {machine()}", highlight=False)
    if not all(result["passed"] for result in results):
        sys.exit("a client received something else than it should have")


def run(case: Case) -> dict[str, Any]:
    """One run on a fresh system: the simulator's report, and what the system's processes used."""
    event_port, client_port, redis_port = (str(free_port()) for _ in range(3))
    ports = ["--event-port", event_port, "--client-port", client_port]
    command = [PARADE, "up", *ports, "--redis-port", redis_port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as up:
        try:
            assert up.stdout is not None
            assert up.stdout.readline().startswith("ready")
            simulate = [PARADE, "simulate", *ports, "--json", "--clients", str(case.clients), *case.options]
            output = subprocess.run(simulate, stdout=subprocess.PIPE, text=True, timeout=STEP_S, check=False).stdout
            report: dict[str, Any] = json.loads(output)
            report["processes"] = processes_of(up.pid)
        finally:
            up.terminate()
            up.wait(20)
    return report


def idle_connections(count: int) -> dict[str, Any]:
    """What `count` idle users on one node cost each process, in bytes a connection."""
    event_port, client_port, redis_port = (str(free_port()) for _ in range(3))
    ports = ["--event-port", event_port, "--client-port", client_port, "--redis-port", redis_port]
    with subprocess.Popen(
        [PARADE, "up", "--fanouts", "1", *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as up:
        connections = []
        try:
            assert up.stdout is not None
            assert up.stdout.readline().startswith("ready")
            before = {process["name"]: process["rss_kib"] for process in processes_of(up.pid)}
            began = time.monotonic()
            for user in range(1, count + 1):
                connections.append(socket.create_connection(("127.0.0.1", int(client_port))))
                connections[-1].sendall(b"%d\n" % user)
            with redis.Redis(port=int(redis_port)) as store:
                while _online(store) < count:
                    time.sleep(0.05)
            seconds = time.monotonic() - began
            after = {process["name"]: process["rss_kib"] for process in processes_of(up.pid)}
        finally:
            for connection in connections:
                connection.close()
            up.terminate()
            up.wait(20)
    cost = {name: round((after[name] - before[name]) * 1024 / count) for name in ("fanout", "sequencer", "redis")}
    return {"connections": count, "seconds_to_join": round(seconds, 1), "bytes_each": cost}


def _online(store: "redis.Redis") -> int:
    nodes: Any = store.hkeys("{parade}:nodes")
    return sum(int(store.scard(b"{parade}:online:" + node)) for node in nodes)


def processes_of(parent: int) -> list[dict[str, Any]]:
    """Name, CPU seconds and resident MiB of every process below `parent`."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,rss=,time=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 4) for line in listing.stdout.splitlines()]
    family, found = {parent}, []
    for _ in range(3):  # the embedded server is a grandchild
        family |= {int(pid) for pid, ppid, *_ in rows if int(ppid) in family}
    for pid, _, rss, cpu, args in rows:
        if int(pid) in family and int(pid) != parent:
            if args.startswith(("/bin/sh", "cat")):
                continue  # the guard of the embedded server
            name = next((part for part in ("listener", "sequencer", "fanout") if f"-m {part}" in args), "redis")
            hours, minutes, seconds = cpu.rpartition("-")[2].split(":")
            cpu_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
            found.append({"name": name, "cpu_s": cpu_s, "rss_kib": int(rss), "rss_mib": int(rss) // 1024})
    return found


def summary(case: Case, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median run's figures."""
    middle = sorted(runs, key=lambda report: float(report["events_per_s"]))[len(runs) // 2]
    rates = [report["events_per_s"] for report in runs]
    return {
        "case": case.name,
        "passed": all(report["passed"] for report in runs),
        "runs": len(runs),
        "events_per_s": statistics.median(rates),
        "events_per_s_range": [min(rates), max(rates)],
        "notifications_per_s": middle["notifications_per_s"],
        "latency_ms": middle["latency_ms"],
        "simulator_cpu_s": middle["simulator_cpu_s"],
        "seconds": middle["seconds"],
        "processes": middle["processes"],
    }


def table(results: list[dict[str, Any]]) -> Table:
    """For a person."""
    shown = Table("load", "passed", "events/s", "notifications/s", "p50 / p99 ms", "largest process", box=None)
    for result in results:
        latency = result["latency_ms"]
        largest = max(result["processes"], key=lambda process: int(process["rss_mib"]))
        shown.add_row(
            result["case"],
            "yes" if result["passed"] else "NO",
            f"{result['events_per_s']:,.0f}",
            f"{result['notifications_per_s']:,}",
            f"{latency['p50']} / {latency['p99']}" if latency else "",
            f"{largest['name']} {largest['rss_mib']} MiB",
        )
    return shown


def machine() -> str:
    """Where the figures come from."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{system}, Python {platform.python_version()}, {files} files"


if __name__ == "__main__":
    main()
