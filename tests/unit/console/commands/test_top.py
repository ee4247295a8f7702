"""What `parade top` draws of made-up snapshots, on a small terminal."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from console.commands.top import History, picture
from contract.reports import Heartbeat
from runtime.settings import load
from tests.unit.console.observe.test_compare import START_MS, snapshot, with_gap


def drawn(history: History, problem: str = "", **figures: object) -> list[str]:
    console = Console(file=StringIO(), width=80, height=24, highlight=False)
    for second in range(4):
        at_ms = START_MS + second * 1000
        state = snapshot().state | {"received": str(10 + second * 100), "released": str(10 + second * 200)}
        shot = replace(with_gap(snapshot(at_ms), 60), state=state)
        seen = history.add(replace(shot, **figures))  # type: ignore[arg-type]
    console.print(picture(seen, history, problem, load(redis_url="redis://127.0.0.1:6390/0"), console))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_rates_are_drawn_as_lines() -> None:
    lines = [line.split() for line in drawn(History())]
    assert ["events", "in", "100/s", "███"] in lines
    assert ["released", "200/s", "███"] in lines


def test_what_is_wrong_is_not_cut_off_and_nodes_give_way() -> None:
    nodes = {f"n-{number:02}": Heartbeat(40, START_MS + 3000, 5, 1) for number in range(40)}
    lines = drawn(History(), problem="timed out", nodes=nodes)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[1] == "timed out"
    assert lines[2].startswith("critical: 7 events have been waiting")
    assert lines[-1] == "and 39 more"


def test_old_figures_are_not_called_well() -> None:
    assert drawn(History(), lowest_waiting=None)[0].endswith("  well")
    assert drawn(History(), problem="timed out", lowest_waiting=None)[0].endswith("  NOT WELL")


def test_before_redis_has_answered_once() -> None:
    console = Console(file=StringIO(), width=80)
    console.print(picture(None, History(), "gone", load(), console))
    assert "gone" in console.file.getvalue()  # type: ignore[attr-defined]
