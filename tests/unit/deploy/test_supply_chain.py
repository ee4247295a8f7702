"""Everything that an installation downloads is in a lock file with its hash, including the build backend."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
LOCKS = {path.name: path.read_text() for path in (ROOT / "requirements").glob("*.lock")}
NOTHING_DOWNLOADED = {"--no-index", "--no-deps"}


def installs(text: str) -> list[str]:
    """Each command in which pip installs, downloads or builds something."""
    lines = text.replace("\\\n", " ").splitlines()
    commands = [part.strip() for line in lines for part in re.split(r"&&|;", line) if not line.startswith("#")]
    return [each for each in commands if re.search(r"(pip[\d.]*|\$\(PIP\))\s+(install|wheel|download)\b", each)]


def pins(lock: str) -> dict[str, Version]:
    """The names and versions in a lock file."""
    return {name: Version(version) for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)}


@pytest.mark.parametrize("file", ["Makefile", "deploy/Dockerfile"])
def test_nothing_is_installed_without_a_hash(file: str) -> None:
    found = installs((ROOT / file).read_text())
    assert len(found) >= 3
    for command in found:
        if "--require-hashes" in command:
            continue
        options = set(command.split())
        assert options >= NOTHING_DOWNLOADED, command
        # With build isolation pip would download the newest backend.
        assert "--no-build-isolation" in options or command.endswith(".whl"), command


def test_installs_are_found_however_they_are_written() -> None:
    text = "RUN a/pip install x \\\n && pip3 install y\n\t@$(PIP) install z; python -m pip  wheel w\n# pip install v\n"
    assert [each.split()[-1] for each in installs(text)] == ["x", "y", "z", "w"]


def test_the_build_backend_is_locked() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    locked = pins(LOCKS["build.lock"])
    for requirement in map(Requirement, required):
        assert locked[requirement.name] in requirement.specifier
    assert "!requirements/build.lock" in (ROOT / ".dockerignore").read_text()


def test_lock_files_for_one_environment_agree_on_versions() -> None:
    for other in ("local.lock", "dev.lock"):
        first, second = pins(LOCKS["build.lock"]), pins(LOCKS[other])
        assert {name: first[name] for name in first.keys() & second.keys()} == {
            name: second[name] for name in first.keys() & second.keys()
        }


@pytest.mark.parametrize("name", LOCKS)
def test_each_line_pins_a_version_and_has_its_hashes(name: str) -> None:
    requirements = re.findall(r"^[^# \n].*(?:\n +--hash=.*)*", LOCKS[name], re.MULTILINE)
    assert len(requirements) >= len(pins(LOCKS[name])) > 0
    for requirement in requirements:
        assert re.search(r"^[\w.\[\]-]+==\S+ .*\\\n    --hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_the_tool_that_locks_is_locked() -> None:
    assert "uv" in pins(LOCKS["dev.lock"])
