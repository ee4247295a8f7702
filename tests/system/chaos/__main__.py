"""`python -m tests.system.chaos`: random faults for as long as asked; exit status 1 when anything is wrong."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.system.chaos.report import Report
from tests.system.chaos.round import Plan, Round
from tests.system.chaos.scenarios import SCENARIOS, named, random_mix
from tests.system.chaos.stage import staged


def main() -> None:
    """Round after round until the time is over, or until one has found a difference."""
    options = _options()
    for name in [name for name in os.environ if name.startswith("PARADE_")]:
        del os.environ[name]  # the stage chooses its own settings
    folder = Path(tempfile.mkdtemp(prefix="parade-chaos-"))
    report = _soak(options, folder)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report)
    if report.differences:
        sys.exit(f"the log of the services is {folder}/log")
    shutil.rmtree(folder)


def _soak(options: argparse.Namespace, folder: Path) -> Report:
    """All rounds on one deployment: sequence numbers and graph go on from round to round."""
    report = Report(options.seed)
    deadline = time.monotonic() + options.minutes * 60
    followers: dict[int, set[int]] = {}
    with staged(folder, "chaos") as stage:
        while not report.rounds or (time.monotonic() < deadline and not report.differences):
            report.add(Round(stage, _plan(options, options.seed + report.rounds), followers).run())
            print(report.line(), file=sys.stderr, flush=True)
    return report


def _plan(options: argparse.Namespace, seed: int) -> Plan:
    if options.scenario:
        return named(options.scenario, seed)
    return random_mix(seed, options.events, options.faults)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="how long to go on; 0: one round")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="the first round's seed")
    parser.add_argument("--events", type=int, default=200_000, help="events in a round")
    parser.add_argument("--faults", type=int, default=12, help="faults in a round")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="this one instead of a random mix")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
