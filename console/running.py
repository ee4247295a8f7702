"""Where the other commands find a system that `parade up` runs on this machine: one small file each."""

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A running `parade up`, found by the port of its event sources."""

    pid: int
    redis_url: str
    namespace: str
    event_port: int
    client_port: int

    def announce(self) -> None:
        """Let other commands of this user find it."""
        path = _path(self.event_port)
        partial = path.with_suffix(f".{self.pid}")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(path)

    def withdraw(self) -> None:
        """It is going away."""
        if find(self.event_port) == self:
            _path(self.event_port).unlink(missing_ok=True)


def find(event_port: int) -> Running | None:
    """The `up` of this user that serves event sources on this port, if it is alive."""
    return _read(_path(event_port))


def find_all() -> list[Running]:
    """Every live `up` of this user, by event port."""
    found = [_read(path) for path in _folder().glob(f"parade-up-{os.getuid()}-*.json")]
    return sorted((running for running in found if running), key=lambda running: running.event_port)


def _read(path: Path) -> Running | None:
    try:
        if path.stat().st_uid != os.getuid():
            return None
        running = Running(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    with contextlib.suppress(PermissionError):
        try:
            os.kill(running.pid, 0)
        except ProcessLookupError:
            return None
    return running


def _path(event_port: int) -> Path:
    return _folder() / f"parade-up-{os.getuid()}-{event_port}.json"


def _folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
