"""One stack for all compose tests; they run in order, each continuing where the previous one ended."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    engine = subprocess.run(["docker", "info"], capture_output=True, check=False)
    assert engine.returncode == 0, "no Docker engine answers; `make help` says how `make test-compose` starts one"
    subject = Stack()
    subject.compose("build", "sequencer")
    try:
        subject.up()
        subject.wait_until_healthy("balancer", 1)
        yield subject
    finally:
        print(subject.compose("logs", "--no-color", "--tail=60")[-8000:])
        subject.remove()
