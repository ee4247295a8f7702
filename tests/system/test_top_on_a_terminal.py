"""`parade top` on a terminal: what it draws, how it ends, and that the terminal is then as it was."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.up import PARADE, Up, clean_environment, parade, parade_up

pytestmark = pytest.mark.slow

COLUMNS, ROWS = 80, 30
PATIENCE_S = 30.0
HOME = "\x1b[H"
LEFT_SCREEN, SHOWN_CURSOR = b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with parade_up() as system:
        yield system


class Screen:
    """A terminal of 80 columns with a program on it."""

    def __init__(self, *command: str) -> None:
        self.master, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.before = termios.tcgetattr(self.terminal)
        self.output = b""
        self.process = subprocess.Popen(
            command,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            env=clean_environment(TERM="xterm-256color"),
            start_new_session=True,
        )

    def read_until(self, pattern: bytes) -> None:
        """Until the output has it; AssertionError when it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.output[-3000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def wait(self) -> int:
        """Its exit status; reads on meanwhile, since a full terminal would hold it up."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:
            self.output += os.read(self.master, 65536)
        return self.process.returncode

    def assert_restored(self) -> None:
        assert termios.tcgetattr(self.terminal) == self.before
        assert LEFT_SCREEN in self.output
        assert SHOWN_CURSOR in self.output
        assert b"Traceback" not in self.output


@contextmanager
def screen(*command: str) -> Iterator[Screen]:
    shown = Screen(*command)
    try:
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait()
        os.close(shown.master)
        os.close(shown.terminal)


def test_top_draws_and_q_ends_it(up: Up) -> None:
    with screen(PARADE, "top") as top:
        top.read_until(b"well")
        top.read_until("released.*/s.*▁".encode())
        assert termios.tcgetattr(top.terminal) != top.before, "keys come without Enter"
        top.press(b"x")
        work = parade("simulate", "--events", "20000", "--rate", "5000", "--clients", "5")
        assert work.returncode == 0, work.stderr
        top.read_until("events in.* [1-9],\\d{3}/s.*█".encode())
        assert f"127.0.0.1:{up.redis_port}".encode() in top.output
        top.press(b"q")
        assert top.wait() == 0
        top.assert_restored()
        for frame in top.output.decode().split(HOME)[1:]:
            assert max(map(len, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).splitlines()), default=0) <= COLUMNS


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_the_terminal_as_it_was(up: Up, number: signal.Signals, code: int) -> None:
    with screen(PARADE, "top", "--redis-url", f"redis://127.0.0.1:{up.redis_port}") as top:
        top.read_until("released.*▁".encode())
        top.process.send_signal(number)
        assert top.wait() == code
        top.assert_restored()


def test_top_goes_on_when_redis_comes_back(up: Up) -> None:
    (server,) = (pid for pid, args in up.children().items() if "valkey-server" in args)
    with screen(PARADE, "top") as top:
        top.read_until("released.*▁".encode())
        os.kill(server, signal.SIGSTOP)
        try:
            top.read_until(b"Redis does not answer")
        finally:
            os.kill(server, signal.SIGCONT)
        top.output = b""
        top.read_until(b"events in")
        time.sleep(1)
        top.output = b""
        top.read_until(b"well")
        assert b"does not answer" not in top.output
        top.press(b"q")
        assert top.wait() == 0
        top.assert_restored()


@pytest.mark.usefixtures("up")
def test_top_ends_when_its_time_is_over() -> None:
    with screen(PARADE, "top", "--seconds", "2") as top:
        assert top.wait() == 0
        top.assert_restored()


def test_without_a_terminal_it_points_to_status() -> None:
    done = parade("top", "--redis-url", "redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs a terminal" in done.stderr
    assert "parade status" in done.stderr


def test_a_picture_of_it(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "top.svg"
    done = parade("top", "--svg", str(file), "--seconds", "3")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    picture = ElementTree.fromstring(file.read_text())  # noqa: S314 (our own file)
    text = " ".join("".join(picture.itertext()).replace("\xa0", " ").split())
    assert f"127.0.0.1:{up.redis_port}" in text
    assert "▁▁" in text
    assert "url(http" not in file.read_text(), "it needs nothing from elsewhere"
    refused = parade("top", "--svg", str(tmp_path / "no" / "top.svg"), "--seconds", "1")
    assert refused.returncode == 1
    assert "can't write" in refused.stderr
