"""Where the other commands find a system that `parade up` runs on this machine: one small file each.

The files have the URL of Redis with its password, and the commands connect to what they name. So they are kept in a
private folder: `$XDG_RUNTIME_DIR/parade`, or, where that variable names no folder that is ours to write to,
`parade-<user id>` among the temporary files. Files there that others own,
or may have written, are ignored, with one warning.
"""

import contextlib
import functools
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from console.files import NotOursError, private_folder, read_private, write_private
from runtime.printable import printable

_USE = os.W_OK | os.X_OK


@dataclass(frozen=True, slots=True)
class Running:
    """A running `parade up`, found by the port of its event sources."""

    pid: int
    redis_url: str = field(repr=False)
    namespace: str
    event_port: int
    client_port: int
    web_port: int = 0

    def announce(self) -> None:
        """Let other commands of this user find it; if that is impossible, only a warning is printed."""
        with _folder(make=True) as folder:
            if folder is not None:
                try:
                    write_private(folder, _name(self.event_port), json.dumps(asdict(self)))
                except OSError as problem:
                    _say_unused(problem)

    def withdraw(self) -> None:
        """It is going away."""
        with _folder() as folder:
            if folder is not None and _read(folder, _name(self.event_port)) == self:
                os.unlink(_name(self.event_port), dir_fd=folder)


def find(event_port: int) -> Running | None:
    """The `up` of this user that serves event sources on this port, if it is alive."""
    with _folder() as folder:
        return None if folder is None else _read(folder, _name(event_port))


def find_all() -> list[Running]:
    """Every live `up` of this user, by event port."""
    with _folder() as folder:
        names = [] if folder is None else filter(re.compile(r"up-\d+\.json").fullmatch, os.listdir(folder))
        found = [_read(folder, name) for name in names if folder is not None]
    return sorted((running for running in found if running), key=lambda running: running.event_port)


def _read(folder: int, name: str) -> Running | None:
    try:
        running = Running(**json.loads(read_private(folder, name)))
        with contextlib.suppress(PermissionError):
            os.kill(running.pid, 0)
    except NotOursError as problem:
        _say(f"{_path() / name} {problem}; it is ignored")
        return None
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return running


@contextmanager
def _folder(*, make: bool = False) -> Iterator[int | None]:
    with contextlib.ExitStack() as stack:
        folder = None
        try:
            folder = stack.enter_context(private_folder(_path(), make=make))
        except FileNotFoundError as problem:
            if make:
                _say_unused(problem)
        except (NotOursError, OSError) as problem:
            _say_unused(problem)
        yield folder


def _path() -> Path:
    # Not in the folder of another user, whose variable `sudo` may have kept: that user could not use it any more.
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError):
        if runtime and os.stat(runtime).st_uid == os.getuid() and os.path.isdir(runtime) and os.access(runtime, _USE):
            return Path(runtime, "parade")
    return Path(tempfile.gettempdir(), f"parade-{os.getuid()}")


def _name(event_port: int) -> str:
    return f"up-{event_port}.json"


def _say_unused(problem: NotOursError | OSError) -> None:
    reason = f"can't be used ({problem.strerror})" if isinstance(problem, OSError) else str(problem)
    _say(f"{_path()} {reason}: commands do not find this `parade up`; remove it, or set XDG_RUNTIME_DIR")


@functools.cache
def _say(text: str) -> None:
    # Once in each process: the dashboard looks every second.
    print(printable(f"parade: {text}"), file=sys.stderr)  # noqa: T201
