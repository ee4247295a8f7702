"""The soak of the libraries for some seconds, and that its oracle sees what it is for."""

from pathlib import Path

import pytest

from tests.sdk.soak import LAST, differences, soak
from tests.support.deployment import running

SENT = {"python-ws": 3, "js-http": 3}
LINES = [
    *("1|B|python-ws 1", "2|B|js-http 1", "3|B|python-ws 2", "4|B|js-http 2", "5|B|the end of js-http"),
    *("6|B|python-ws 3", f"7|B|{LAST}"),
]


def test_what_is_right() -> None:
    assert differences(SENT, LINES) == []


@pytest.mark.parametrize(
    "lines",
    [
        *([*LINES[:at], *LINES[at + 1 :]] for at in range(len(LINES))),
        [*LINES[:3], *LINES[2:]],
        [LINES[1], LINES[0], *LINES[2:]],
        ["1|B|python-ws 2", LINES[1], "3|B|python-ws 1", *LINES[3:]],
        [*LINES[:3], "RESET trimmed", *LINES[3:]],
    ],
)
def test_what_is_lost_doubled_or_out_of_order_is_a_difference(lines: list[str]) -> None:
    assert differences(SENT, lines)


@pytest.mark.slow
async def test_a_short_one(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0, numbering="parade") as system:
        result = await soak(system, seconds=5, seed=1)
    assert result.differences == {}
    assert all(result.killed.values())
    assert min(result.sent.values()) > 0
