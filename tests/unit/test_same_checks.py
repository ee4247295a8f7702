"""The same checks everywhere: `make check`, the hooks before a commit, and hosted CI on each supported Python."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def recipe(target: str) -> list[str]:
    """The commands of a target, without the tab."""
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip() for line in lines.splitlines()]


def test_the_hooks_are_the_commands_of_make_check() -> None:
    hooks = re.findall(r"^ *entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks == [command.replace("$(BIN)", ".venv/bin") for command in recipe("check")]


def test_hosted_ci_runs_targets_that_exist() -> None:
    targets = re.findall(r"- run: make (.*)$", WORKFLOW, re.MULTILINE)
    assert set(targets) == {"check", "test", "test-compose"}
    assert [target for target in targets if not recipe(target)] == []


def test_hosted_ci_runs_on_each_python_that_the_metadata_names() -> None:
    (matrix,) = re.findall(r"python: \[(.*?)\]", WORKFLOW)
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert [version.strip(' "') for version in matrix.split(",")] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
