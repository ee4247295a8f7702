"""Fixtures for all tests. Each test has a namespace of its own, so tests can share a server."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from hypothesis import settings as hypothesis_settings

from tests.support.programs import EMBEDDED, MORE, SERVERS, SYSTEM, Program
from tests.support.servers import free_port, server_of

hypothesis_settings.register_profile("parade", deadline=None)  # a shared machine is slow at times
hypothesis_settings.load_profile("parade")


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("PARADE_") and name != MORE]:
        del os.environ[name]  # the tests choose their own settings


def available(program: Program) -> Program:
    """The program, if it is there; else the test that needs it is skipped, and fails in CI."""
    if program.path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed, and CI tests with it")
        pytest.skip(f"{program} is not installed")
    return program


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Program], str]]:
    """Gives the URL of a server that all tests share; it is started when the first one asks."""
    with ExitStack() as stack:

        @cache
        def url_of(program: Program) -> str:
            port, folder = free_port(), tmp_path_factory.mktemp("shared")
            stack.enter_context(server_of(available(program), port, "--dir", str(folder)))
            return f"redis://127.0.0.1:{port}/0"

        yield url_of


@pytest.fixture(scope="session")
def valkey_url(shared_server: Callable[[Program], str]) -> str:
    return shared_server(EMBEDDED)


@pytest.fixture(scope="session")
def redis_url(shared_server: Callable[[Program], str]) -> str:
    return shared_server(SYSTEM)


@pytest.fixture(params=SERVERS, ids=str)
def program(request: pytest.FixtureRequest) -> Program:
    """Each server program that is found here, in turn, for tests that start one of their own."""
    return available(request.param)


@pytest.fixture
def server_url(program: Program, shared_server: Callable[[Program], str]) -> str:
    """A server of each program in turn, shared with other tests.

    On each of them run the tests of what is sent to Redis (tests/integration), and of whole systems a few: the stream
    of the exercise, a simulation, known numbers, fail-over under Sentinel, a killed Redis, a full memory, a
    subscriber that is cut off, and what is said of a server that does not suit. The others use one server.
    """
    return shared_server(program)


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"
