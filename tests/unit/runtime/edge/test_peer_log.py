"""Lines that peers cause: the first at once, at most one a second after it, and every one is counted."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.edge.peer_log import PeerLog


class Recorder:
    """Keeps what is written, and calls back when the test lets a second pass."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        self.due: list[Callable[[], None]] = []
        self.log = PeerLog(lambda *line: self.lines.append(line), self._later)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == 1.0
        self.due.append(call)

    def a_second_passes(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def test_the_first_is_written_and_the_others_are_summed_up(seen: Recorder) -> None:
    for number in range(1000):
        seen.log.warning("refused", reason="full", peer=number)
    assert seen.lines == [("warning", "refused", {"reason": "full", "peer": 0})]
    seen.a_second_passes()
    assert seen.lines[1:] == [("warning", "refused", {"reason": "full", "peer": 999, "suppressed": 998})]
    assert seen.log.counts == {("refused", "full"): 1000}


def test_a_flood_is_one_line_a_second(seen: Recorder) -> None:
    for _ in range(5):
        for number in range(100):
            seen.log.info("refused", peer=number)
        seen.a_second_passes()
    assert len(seen.lines) == 6
    assert sum(1 + fields.get("suppressed", 0) for _, _, fields in seen.lines) == 500


def test_a_second_with_one_line_is_no_quiet_one(seen: Recorder) -> None:
    for number in range(4):
        seen.log.info("came", peer=number)
        seen.log.info("came", peer=number)
        seen.a_second_passes()
    assert len(seen.lines) == 5, "one a second, and the first"


def test_after_a_quiet_second_the_next_is_written_at_once_and_nothing_is_kept(seen: Recorder) -> None:
    seen.log.info("came", peer=1)
    seen.a_second_passes()
    assert not seen.due
    assert not seen.log._held
    seen.log.info("came", peer=2)
    assert [fields for _, _, fields in seen.lines] == [{"peer": 1}, {"peer": 2}]


def test_kinds_do_not_hide_each_other(seen: Recorder) -> None:
    seen.log.info("refused", reason="full")
    seen.log.info("refused", reason="late")
    seen.log.info("came")
    assert len(seen.lines) == 3


def test_debug_lines_are_counted_and_not_held_back(seen: Recorder) -> None:
    seen.log.debug("registered", user="1")
    seen.log.debug("registered", user="2")
    assert len(seen.lines) == 2
    assert seen.log.counts == {("registered", ""): 2}


def test_at_the_end_nothing_is_left_unsaid(seen: Recorder) -> None:
    for _ in range(3):
        seen.log.info("refused", reason="full")
    seen.log.info("came")
    seen.log.close()
    assert seen.lines[2:] == [
        ("info", "refused", {"reason": "full", "suppressed": 1}),
        ("info", "peer_counts", {"counts": {"came": 1, "refused: full": 3}}),
    ]
    seen.a_second_passes()
    assert len(seen.lines) == 4
