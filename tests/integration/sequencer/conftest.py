"""The lease of tests that nobody renews for: as long as the settings allow without others."""

import pytest


@pytest.fixture(autouse=True)
def _a_lease_for_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADE_LEASE_S", "60")
    monkeypatch.setenv("PARADE_NODE_SILENCE_S", "60")
