"""`make bench`: runs the simulator against `parade up`, case by case; prints a table and writes bench.json.

Each run starts a new system. The load generator runs on the same cores as the system. Pass options in ARGS:
`make bench ARGS="--runs 3 --only 1,000"`; `--sweep` adds the cases for the plots (`make bench-plots`).
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from runtime.service import raise_file_limit
from tests.bench.author import author
from tests.bench.cases import SWEEP, TABLE, Case
from tests.bench.idle import idle
from tests.bench.measure import Figures, run
from tests.bench.summary import machine, summary, table

SPARE_FILES = 100
IDLE = 18_000
FOLLOWERS, ONLINE = 1_000_000, 10_000


def main() -> None:
    """Run the cases and report the results."""
    if sys.platform != "linux":
        sys.exit("the benchmark reads /proc, so it needs Linux")
    options = _options()
    limit, console = raise_file_limit(), Console(width=None if sys.stdout.isatty() else 160)
    cases = [case for case in TABLE + (SWEEP if options.sweep else ()) if options.only in case.name]
    results = []
    for case in cases:
        if case.clients + SPARE_FILES > limit:
            console.print(f"{case.name}: left out: it needs more open files than the hard limit of {limit}")
            continue
        results.append(summary(case, _runs(case, options.runs, console)))
    found: Figures = {"machine": machine(), "cases": results}
    if options.only in "idle":
        console.print("idle connections …", style="dim")
        found["idle"] = idle(min(IDLE, limit - SPARE_FILES))
    if options.only in "author":
        console.print("a much-followed author …", style="dim")
        found["author"] = [author(followers, ONLINE) for followers in (ONLINE, FOLLOWERS)]
    options.json.write_text(json.dumps(found, indent=2) + "\n")
    if results:
        console.print(table(results), highlight=False)
    for name in ("idle", "author"):
        if name in found:
            console.print(f"{name}: {found[name]}", highlight=False)
    console.print(f"written to {options.json}; on {found['machine']}", highlight=False)
    if not all(result["passed"] for result in results):
        sys.exit("a client did not receive what it should have")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each case; the medians are reported")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--sweep", action="store_true", help="also run the cases for the plots")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write the figures")
    return parser.parse_args()


def _runs(case: Case, count: int, console: Console) -> list[Figures]:
    runs = []
    for number in range(1, count + 1):
        console.print(f"{case.name}, run {number} of {count} …", style="dim")
        runs.append(run(case))
    return runs


if __name__ == "__main__":
    main()
