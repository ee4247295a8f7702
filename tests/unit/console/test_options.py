"""Which deployment a command means."""

import os
from pathlib import Path

import pytest

from console.local.running import Running, find_all
from console.options import deployment
from runtime.errors import ParadeError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def announced(event_port: int, pid: int | None = None) -> Running:
    running = Running(pid or os.getpid(), f"redis://127.0.0.1:{event_port + 1}/0", "ns", event_port, event_port + 2)
    running.announce()
    return running


def test_without_any_it_is_the_default() -> None:
    assert deployment().redis_url == "redis://127.0.0.1:6379/0"
    assert "redis_url" not in deployment().model_fields_set


def test_the_one_on_the_event_port_comes_first() -> None:
    announced(9090)
    announced(9500)
    assert deployment().redis_url == "redis://127.0.0.1:9091/0"
    assert deployment(event_port=9500).redis_url == "redis://127.0.0.1:9501/0"


def test_the_only_one_is_found_on_any_port() -> None:
    announced(9500)
    found = deployment()
    assert (found.redis_url, found.namespace) == ("redis://127.0.0.1:9501/0", "ns")
    assert (found.event_port, found.client_port) == (9500, 9502)
    assert deployment(event_port=9400).redis_url == "redis://127.0.0.1:6379/0", "that port was asked for"


def test_of_several_one_must_be_named() -> None:
    announced(9500)
    announced(9600)
    each = r"9500 \(redis://127.0.0.1:9501/0\), 9600 \(redis://127.0.0.1:9601/0\)"
    with pytest.raises(ParadeError, match=rf"PARADE_EVENT_PORT, one of {each}, or with --redis-url"):
        deployment()
    assert deployment(event_port=9600).redis_url == "redis://127.0.0.1:9601/0"


def test_of_several_no_password_is_shown() -> None:
    for port in (9500, 9600):
        Running(os.getpid(), f"rediss://user:secret@h:{port}/0?ssl_password=secret", "ns", port, port + 1).announce()
    with pytest.raises(ParadeError, match=r"9500 \(rediss://h:9500/0\)") as refused:
        deployment()
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(find_all())


def test_one_that_has_died_is_not_found() -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    announced(9500, pid=gone)
    assert deployment().redis_url == "redis://127.0.0.1:6379/0"


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    announced(9090)
    assert deployment(redis_url="redis://a:1").redis_url == "redis://a:1"
    assert deployment(namespace="mine").namespace == "mine"
    assert deployment(namespace="mine").redis_url == "redis://127.0.0.1:9091/0"
    monkeypatch.setenv("PARADE_REDIS_URL", "redis://b:2")
    assert deployment().redis_url == "redis://b:2"
