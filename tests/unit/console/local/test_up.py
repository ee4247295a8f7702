"""What `up` says when it can't start an embedded server."""

import importlib.util

import pytest

from console.local import up
from runtime.errors import ParadeError
from runtime.settings import load
from tests.support.servers import free_port


def test_without_an_embedded_server_it_asks_for_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    system = up.System(load(event_port=free_port(), client_port=free_port()))
    with pytest.raises(ParadeError, match="give a server with --redis-url"):
        up.run(system, print)
