"""How the command begins: what a service loads, and what the version is."""

import subprocess
import sys
from importlib import metadata

import pytest

from console import app

START = """
import sys
from console.app import main
sys.argv = ["parade", {service!r}, "--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from console.app import main
sys.argv = ["parade", {command!r}]
main()
"""
AT_THE_END = """
import atexit, os, signal, sys
from console.app import main
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv = ["parade", "--version"]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "module"),
    [
        *(
            ("up", module)
            for module in ("console.cli", "typer", "pydantic_core", "redis", "uvloop", "console.local.up")
        ),
        *(("status", module) for module in ("importlib.metadata", "console.options", "runtime.printable")),
        *(("fanout", module) for module in ("runtime.service", "structlog", "fanout.__main__", "fanout.node")),
    ],
)
def test_an_interrupt_while_a_command_is_loaded_ends_it_without_a_word(command: str, module: str) -> None:
    program = [sys.executable, "-c", INTERRUPTED.format(command=command, module=module)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
def test_an_interrupt_while_python_ends() -> None:
    done = subprocess.run([sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.slow
@pytest.mark.parametrize("service", app.SERVICES)
def test_a_service_loads_neither_the_console_nor_another_service(service: str) -> None:
    program = [sys.executable, "-c", START.format(service=service)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert f"{service}.__main__" in loaded
    assert [name for name in loaded if name.partition(".")[0] in {"typer", "simulator"}] == []  # structlog loads rich
    assert [name for name in loaded if name.startswith("console.")] == ["console.app"]
    assert [name for name in loaded if name in {*app.SERVICES} - {service}] == []


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert app.version() == metadata.version("parade-fanout")


def test_without_an_installed_distribution_the_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "DISTRIBUTION", "parade-that-is-not-installed")
    assert app.version() == "(version unknown: it is not installed, but run from a folder)"
