"""`python -m tests.system.chaos`: random faults for a given time; exit status 1 if anything goes wrong."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.system.chaos.round import Plan, Round
from tests.system.chaos.scenarios import SCENARIOS, named, random_mix
from tests.system.chaos.stage import staged
from tests.system.chaos.totals import Totals


def main() -> None:
    """Run rounds until the time is up or one has found a difference."""
    options = _options()
    for name in [name for name in os.environ if name.startswith("PARADE_")]:
        del os.environ[name]  # the stage chooses the settings
    folder = Path(tempfile.mkdtemp(prefix="parade-chaos-"))
    totals = _soak(options, folder)
    print(json.dumps(totals.as_dict(), indent=2) if options.json else totals)
    if totals.differences:
        sys.exit(f"the log of the services is {folder}/log")
    shutil.rmtree(folder)


def _soak(options: argparse.Namespace, folder: Path) -> Totals:
    """Run all rounds on one deployment: sequence numbers and graph continue from round to round."""
    totals = Totals(options.seed)
    deadline = time.monotonic() + options.minutes * 60
    followers: dict[int, set[int]] = {}
    with staged(folder, "chaos") as stage:
        while not totals.rounds or (time.monotonic() < deadline and not totals.differences):
            totals.add(Round(stage, _plan(options, options.seed + totals.rounds), followers).run())
            print(totals.line(), file=sys.stderr, flush=True)
    return totals


def _plan(options: argparse.Namespace, seed: int) -> Plan:
    if options.scenario:
        return named(options.scenario, seed)
    return random_mix(seed, options.events, options.faults)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="how long to run; 0: one round")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="seed of the first round")
    parser.add_argument("--events", type=int, default=200_000, help="events per round")
    parser.add_argument("--faults", type=int, default=12, help="faults per round")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="run this scenario instead of a random mix")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
