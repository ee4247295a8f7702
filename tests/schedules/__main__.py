"""`python -m tests.schedules --seed N` plays one schedule and prints its trace; `--count N` plays many."""

import argparse
import sys
import time

from tests.schedules.world import play


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this schedule and print its trace")
    parser.add_argument("--first", type=int, default=0, help="first of many schedules")
    parser.add_argument("--count", type=int, default=1000, help="how many schedules")
    options = parser.parse_args()
    if options.seed is not None:
        play(options.seed, print)
        return
    sys.exit(many(range(options.first, options.first + options.count)))


def many(seeds: range) -> int:
    """Play many schedules; returns how many went wrong."""
    began, wrong = time.perf_counter(), 0
    for seed in seeds:
        try:
            play(seed)
        except AssertionError as problem:
            wrong += 1
            print(f"seed {seed}: {problem}")
    seconds = time.perf_counter() - began
    print(f"{len(seeds)} schedules, {wrong} wrong, {seconds / len(seeds) * 1000:.1f} ms each")
    return wrong


if __name__ == "__main__":
    main()
