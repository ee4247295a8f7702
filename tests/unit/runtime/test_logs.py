"""Log lines quote whatever peers sent, and never show it raw."""

import json
import os
import pty
import re
import socket
import subprocess
import sys

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202e\x7f\r\nfake"
SHOWN = r"\x1b]0;owned\x07\u009b2J\u202e\x7f\x0d\x0afake"
LOG = f"""
import logging, structlog
from runtime import logs
logs.configure("fanout", "info")
log, hostile = structlog.get_logger(), {HOSTILE!r}
log.warning("refused", peer=hostile, raw=hostile.encode(), counts={{hostile: [hostile]}}, number=1)
try:
    raise ValueError(hostile)
except ValueError:
    log.exception("failed")
    logging.getLogger("asyncio").exception("task failed: %s", hostile)
"""


def test_json() -> None:
    done = subprocess.run([sys.executable, "-c", LOG], capture_output=True, text=True, check=True)
    refused, failed, *library = done.stderr.splitlines()
    fields = json.loads(refused)
    assert (fields["peer"], fields["raw"], fields["counts"]) == (SHOWN, SHOWN, {SHOWN: [SHOWN]})
    assert [fields[name] for name in ("event", "level", "service", "number")] == ["refused", "warning", "fanout", 1]
    assert "\n  ValueError: " in json.loads(failed)["exception"]
    assert library[0] == f"task failed: {SHOWN}"
    assert library[1].startswith("  Traceback")
    assert all(line.startswith("  ") for line in library[1:])
    assert not set(done.stderr) & set("\x1b\x07\x9b\u202e\x7f\r")


def test_a_line_is_one_write_so_that_services_can_share_standard_error() -> None:
    lines = "from runtime import logs; logs.configure('fanout', 'info'); import structlog; log = structlog.get_logger()"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # one message for each write
    with ours, theirs:
        command = [sys.executable, "-c", f"{lines}; log.info('one'); log.info('two')"]
        subprocess.run(command, stderr=theirs.fileno(), check=True)
        ours.setblocking(False)
        writes = [ours.recv(4096) for _ in range(2)]
    assert [json.loads(write)["event"] for write in writes] == ["one", "two"]
    assert all(write.endswith(b"}\n") for write in writes)


def test_on_a_terminal() -> None:
    master, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", LOG], stderr=terminal, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(terminal)
    output = b""
    try:
        while data := os.read(master, 65536):
            output += data
    except OSError:  # how Linux says that the last one who held the terminal is gone
        os.close(master)
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode().replace("\r\n", "\n"))  # without its own colours
    assert f"peer={SHOWN}" in text
    assert "Traceback" in text
    for raw in ("\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r", "\nfake\n"):
        assert raw not in text
