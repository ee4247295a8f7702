"""What fits on a screen of 80 columns, and how figures are written."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from console.commands.render import duration, flow, header, nodes, size, sparkline, standing, warnings
from console.observe.compare import overview
from contract.reports import Heartbeat
from fanout.stats import FanoutStats
from runtime.settings import load
from tests.unit.console.observe.test_compare import FANOUT, NODE, START_MS, report, snapshot, with_gap, with_service


def printed(width: int = 80, most_nodes: int | None = None) -> list[str]:
    """A busy deployment with large figures, long names and a gap, as it is printed."""
    long = "a-host-with-quite-a-long-name-0000beef"
    stats = FanoutStats(notifications=98_765_432, sent_bytes=999_999_999, slow_clients=9999, unsent_bytes=1_047_000)
    before, now = snapshot(), with_gap(snapshot(START_MS + 1000), 60)
    now = replace(
        now,
        nodes={f"{long}{number}": Heartbeat(1_234_567_000, now.time_ms, 19_999, 1) for number in range(5)}
        | {NODE: Heartbeat(1_234_567_858, now.time_ms - 1500, 5, 1)},
        state=now.state | {"next": str(2**53 - 9), "batch": "1234567890", "released": str(2**53)},
    )
    now = replace(now, lowest_waiting=2**53 - 1)
    now = with_service(now, FANOUT, report(stats, START_MS + 600, node=NODE))
    console = Console(file=StringIO(), width=width, highlight=False)
    seen = overview(now, before)
    settings = load(redis_url="redis://127.0.0.1:6390/0")
    parts = (header(seen, settings), flow(seen), standing(seen), nodes(seen, most_nodes), *warnings(seen))
    console.print(*parts, sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_nothing_is_cut_at_80_columns() -> None:
    lines = printed()
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if line.startswith(NODE))
    assert row.split() == [NODE, "5", "98,765,432", "954", "MiB", "32", "9,999", "1,022", "KiB", "1.5", "s"]
    assert any("…" in line and "19,999" in line for line in lines), "long names are what gives way"


def test_a_pipe_gets_no_colours() -> None:
    assert not any("\x1b" in line for line in printed())


def test_nodes_beyond_the_screen_are_counted() -> None:
    assert "and 4 more" in printed(most_nodes=2)
    assert not any("more" in line for line in printed())


def test_a_line_of_blocks() -> None:
    assert sparkline([0, 1, 2, 4, 8], 10) == "▁▂▃▅█"
    assert sparkline([9, 9, 0, 8], 2) == "▁█"
    assert sparkline([0, 0], 5) == "▁▁"
    assert sparkline([], 5) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (10 * 1024, "10 KiB"), (3.25 * 1024**2, "3.2 MiB")],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (42.4, "42 s"), (600, "10 min"), (9000, "2.5 h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
