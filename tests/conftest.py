"""Fixtures for all tests. Each test has a separate namespace, so tests can share a server."""

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from tests.support.programs import EMBEDDED, MORE, SERVERS, SYSTEM, Program, available
from tests.support.servers import free_port, server_of

hypothesis_settings.register_profile("parade", deadline=None)  # a shared machine is slow at times
hypothesis_settings.load_profile("parade")


def pytest_configure() -> None:
    # A background job of a shell ignores SIGINT, and the processes that tests start and interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("PARADE_") and name != MORE]:
        del os.environ[name]  # the tests choose their own settings


_shared: dict[Path, "subprocess.Popen[bytes]"] = {}
"""The servers that tests share, by their logs."""


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Program], str]]:
    """Returns the URL of a server that all tests share; the first call starts it."""
    with ExitStack() as stack:

        @cache
        def url_of(program: Program) -> str:
            port, folder = free_port(), tmp_path_factory.mktemp("shared")
            log = folder / "log"
            options = ("--dir", str(folder), "--logfile", str(log))
            _shared[log] = stack.enter_context(server_of(available(program), port, *options))
            return f"redis://127.0.0.1:{port}/0"

        yield url_of
        _shared.clear()


@pytest.fixture(autouse=True)
def _shared_servers_go_on() -> Iterator[None]:
    """The test in which a shared server ends is the one to look at, not those after it."""
    before = {log for log, server in _shared.items() if server.poll() is None}
    yield
    for log, server in _shared.items():
        if log in before and server.poll() is not None:
            end = log.read_text(errors="replace")[-4000:]
            pytest.fail(f"the server {server.args!r} ended with status {server.returncode}:\n{end}")


@pytest.fixture(scope="session")
def valkey_url(shared_server: Callable[[Program], str]) -> str:
    return shared_server(EMBEDDED)


@pytest.fixture(scope="session")
def redis_url(shared_server: Callable[[Program], str]) -> str:
    return shared_server(SYSTEM)


@pytest.fixture(params=SERVERS, ids=str)
def program(request: pytest.FixtureRequest) -> Program:
    """Each server program found on this machine, in turn, for tests that start a separate server."""
    return available(request.param)


@pytest.fixture
def server_url(program: Program, shared_server: Callable[[Program], str]) -> str:
    """The URL of a server of each program in turn, shared with other tests.

    All tests of what is sent to Redis (tests/integration) run on each program, and a few of whole systems: a known
    stream, a simulation, known metrics, fail-over under Sentinel, a killed Redis, a full memory, a subscriber that is
    cut off, and the refusal of an unsuitable server. The other tests use one program.
    """
    return shared_server(program)


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"
