"""`make mutants`: makes small changes to the pure modules, one at a time; the tests should fail for each.

A mutant is a module with one operator, number, condition or statement changed. A mutant that survives, because no test
notices it, shows what the tests don't check. Each module in `table.py` is tested by its unit, property and model tests;
they must kill 95 % of the mutants that change behaviour. Mutants that don't are listed in `equivalent.toml`, with a
short reason and by the text of their line, so that an entry still matches when the line moves. Entries that match
nothing, or whose mutant dies, are reported as out of date.

    make mutants                               all modules: about a quarter of an hour on one core
    make mutants MODULE=fanout/merge           one module, by a part of its path
    make mutants MODULE=merge ARGS="--workers 2"

Exit status 1 when a module has less than 95 %. No file is changed (`trial.py`), so stopping it leaves nothing behind.
"""

import argparse
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.mutations import Mutant, mutants
from tests.mutants.table import TABLE, Target
from tests.mutants.trial import baseline, prepare, trials

WANTED = 0.95
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Verdict:
    """The result for a module's mutants."""

    path: str
    killed: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    outdated: set[Key] = field(default_factory=set)
    """Entries of the list that match no survivor."""

    @property
    def share(self) -> float:
        """The share of killed mutants among those that change behaviour."""
        return self.killed / max(1, self.killed + len(self.survivors))

    @property
    def passed(self) -> bool:
        return self.share >= WANTED and not self.outdated


def main() -> None:
    """Check the chosen modules, one after another."""
    options = _options()
    chosen = [target for target in TABLE if options.module.removesuffix(".py") in target.path]
    if not chosen:
        sys.exit(f"no module of the table has {options.module!r} in its path")
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    prepare()
    listed = _listed()
    verdicts = [_check(target, listed, options, console) for target in chosen]
    console.print(_summary(verdicts))
    sys.exit(not all(verdict.passed for verdict in verdicts))


def _check(target: Target, listed: set[Key], options: argparse.Namespace, console: Console) -> Verdict:
    source = Path(target.path).read_text()
    found = mutants(target.path, source, target.functions)
    seconds = baseline(target, source)
    console.print(f"{target.path}: {len(found)} mutants, {seconds:.1f} s per run without a change", style="dim")
    verdict = Verdict(target.path, outdated={key for key in listed if key[0] == target.path})
    place = ""
    for mutant, survived in trials(target, found, options.workers, 5 + 10 * seconds):
        if not survived:
            verdict.killed += 1
        elif mutant.keys & listed:
            verdict.equivalent += 1
            verdict.outdated -= mutant.keys
        else:
            verdict.survivors.append(mutant)
            if place != mutant.place:
                place = mutant.place
                console.print(place, markup=False)
            console.print(f"    + {mutant.becomes}", markup=False)
    for _, _, line, becomes in sorted(verdict.outdated):
        console.print(f"{EQUIVALENT.name} is out of date: {line} → {becomes}", style="red", markup=False)
    return verdict


def _listed() -> set[Key]:
    """The mutants listed in equivalent.toml."""
    modules = tomllib.loads(EQUIVALENT.read_text())
    entries = [(path, entry) for path, listed in modules.items() for entry in listed]
    return {(path, entry.get("in", ""), entry["line"], to) for path, entry in entries for to in entry["becomes"]}


def _summary(verdicts: list[Verdict]) -> Table:
    table = Table("module", "mutants", "equivalent", "killed", "survived", "share")
    for verdict in verdicts:
        killed, survived = verdict.killed, len(verdict.survivors)
        numbers = (killed + survived + verdict.equivalent, verdict.equivalent, killed, survived)
        style = "" if verdict.passed else "red"
        table.add_row(verdict.path, *map(str, numbers), f"{verdict.share:.1%}", style=style)
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module", nargs="?", default="", help="part of the path of the modules to mutate")
    parser.add_argument("--workers", type=int, default=1, help="mutants tested at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
