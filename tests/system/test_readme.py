"""The README's redis-cli session, typed word for word."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.terminal import check_session, sessions
from tests.support.up import parade_up


def test_the_session(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-cli is not installed, and CI tests with it")
        pytest.skip("redis-cli is not installed")
    (session,) = sessions("README.md")
    with parade_up() as up:
        check_session(session, tmp_path, ports=up.ports)
