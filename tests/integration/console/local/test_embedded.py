"""The embedded server keeps its temporary data where no other user can put or find anything."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from console.local.children import module
from tests.support.servers import free_port, wait_for_port


@contextmanager
def embedded(temporary: Path, *directory: str) -> Iterator["redis.Redis"]:
    """A server as `parade up` starts it, with a temporary folder of the test's; ended by the end of its input."""
    port = free_port()
    command = module("console.local.embedded", str(port), *directory)
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as process:
        try:
            wait_for_port(port)
            with redis.Redis(port=port) as client:
                yield client
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_nothing_is_loaded_from_a_shared_folder_and_nothing_written_there(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    with embedded(tmp_path, str(planted)) as client:
        client.set("{parade}:planted", "1")
        client.save()
    (planted / "dump.rdb").rename(tmp_path / "dump.rdb")
    before = {path.name for path in tmp_path.iterdir()}
    with embedded(tmp_path) as client:
        assert client.keys() == []
        (own,) = (path for path in tmp_path.iterdir() if path.name not in before)
        assert own.stat().st_mode & 0o777 == 0o700
        client.save()
        assert [path.name for path in own.iterdir()] == ["dump.rdb"]
    deadline = time.monotonic() + 10
    while own.exists():
        assert time.monotonic() < deadline, "its folder goes with it"
        time.sleep(0.02)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_data_folder_is_made_private_and_may_have_a_blank_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    with embedded(tmp_path, str(folder)) as client:
        client.set("a", "1")
    assert folder.stat().st_mode & 0o777 == 0o700
    with embedded(tmp_path, str(folder)) as client:
        assert client.get("a") == b"1"
