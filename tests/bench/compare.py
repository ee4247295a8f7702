"""`make bench-compare BASE=<revision>`: runs two revisions alternately (A B A B) and compares their figures.

The base revision gets a separate tree and environment under `build/`. Both serve the same load, from this tree's
simulator. On a noisy machine CPU seconds are more reliable than events/s.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runtime.service import raise_file_limit
from tests.bench.cases import SWEEP, TABLE, Case
from tests.bench.measure import Figures, run
from tests.bench.system_under_test import PARADE

BUILD = Path("build")
FIGURES = ("events_per_s", "cpu_us_per_event", "p50", "p99", "peak_mib")


def main() -> None:
    """Compare the revisions case by case."""
    options = _options()
    raise_file_limit()
    console = Console(width=None if sys.stdout.isatty() else 120)
    base = installed(options.base)
    cases = [case for case in TABLE + SWEEP if options.only in case.name]
    if not cases:
        sys.exit(f"no case has {options.only!r} in its name")
    for case in cases:
        console.print(table(case, options.base, *alternating(case, base, options.runs)), highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__)
    parser.add_argument("base", help="the revision to compare with")
    parser.add_argument("--runs", type=int, default=5, help="runs of each revision")
    parser.add_argument(
        "--only", default="2,000,000 events, 100 clients", help="run only cases whose name contains this"
    )
    return parser.parse_args()


def installed(revision: str) -> Path:
    """The `parade` program of a revision."""
    name = subprocess.check_output(["git", "rev-parse", "--short", f"{revision}^{{commit}}"], text=True).strip()
    tree = BUILD / f"bench-{name}"
    if not tree.exists():
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", tree, name], check=True)
    subprocess.run(["make", "--no-print-directory", "-C", tree, "install", f"PYTHON={sys.executable}"], check=True)
    return (tree / ".venv/bin/parade").absolute()


def alternating(case: Case, base: Path, count: int) -> tuple[list[Figures], list[Figures]]:
    """Runs of the base and of this tree, alternately."""
    pairs = [(run(case, base), run(case, PARADE)) for _ in range(count)]
    return [before for before, _ in pairs], [after for _, after in pairs]


def table(case: Case, base: str, before: list[Figures], after: list[Figures]) -> Table:
    """The medians of both, and the median and range of the ratios of the pairs."""
    shown = Table("", base, "this tree", "ratio", "of the pairs", title=case.name, box=None, title_justify="left")
    for name in FIGURES:
        pairs = [(figure(one, name), figure(two, name)) for one, two in zip(before, after, strict=True)]
        known = [(one, two) for one, two in pairs if one and two]
        if known:
            ratios = [two / one for one, two in known]
            medians = [f"{statistics.median(side):,.6g}" for side in zip(*known, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            shown.add_row(name, *medians, f"{statistics.median(ratios):.3f}", spread)
    return shown


def figure(report: Figures, name: str) -> float | None:
    """One of FIGURES; None if the case does not measure it."""
    if name in ("p50", "p99"):
        return float(report["latency_ms"][name]) if report["latency_ms"] else None
    if name == "peak_mib":
        return max(float(process["peak_mib"]) for process in report["processes"])
    return float(report[name])


if __name__ == "__main__":
    main()
