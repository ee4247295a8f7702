"""Fixtures for all tests. Each test has a namespace of its own, so tests can share a server."""

import os
import shutil
import signal
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from tests.servers import embedded_server, free_port, system_server

hypothesis_settings.register_profile("parade", deadline=None)  # a shared machine is slow at times
hypothesis_settings.load_profile("parade")


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("PARADE_")]:
        del os.environ[name]  # the tests choose their own settings


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with embedded_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed, and CI tests with it")
        pytest.skip("redis-server is not installed")
    port = free_port()
    with system_server(port, "--dir", str(tmp_path_factory.mktemp("redis"))):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(params=["valkey", "redis"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A real server, each kind in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"
