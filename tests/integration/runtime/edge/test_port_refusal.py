"""Who has a port, as the system tells."""

import errno
import os
import socket
from pathlib import Path

import pytest

from runtime.edge.port_refusal import refusal

IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.mark.parametrize(
    ("taken_on", "wanted_on"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),  # noqa: S104
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::1", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_the_process_that_has_it(taken_on: str, wanted_on: str) -> None:
    me = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    with socket.create_server((taken_on, 0), family=socket.AF_INET6 if ":" in taken_on else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        assert f" is in use by {me};" in refusal(wanted_on, port, IN_USE)
    assert refusal(wanted_on, port, IN_USE) == f"port {port} on {wanted_on} is in use; choose another one"


def test_the_same_port_on_another_address_is_not_the_one() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert " by " not in refusal("127.0.0.1", other.getsockname()[1], IN_USE)


def test_other_reasons() -> None:
    denied = OSError(errno.EACCES, "Permission denied")
    assert refusal("127.0.0.1", 80, denied) == "can't listen on 127.0.0.1:80: Permission denied"
