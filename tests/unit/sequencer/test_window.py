"""Flow control: when the window is full, and who is expelled."""

import pytest

from sequencer.liveness import JUNK, Liveness
from sequencer.window import Window


class Flow:
    """A window and the liveness of the nodes, used together as `sequencer/commits.py` does."""

    def __init__(
        self, limit_bytes: int, limit_batches: int, silence_s: float, patience_s: float, look_s: float
    ) -> None:
        self._window = Window(limit_bytes, limit_batches)
        self._liveness = Liveness(silence_s, patience_s, look_s)
        self.publish = self._window.publish
        self.behind = self._liveness.behind
        self.report_of = self._liveness.heartbeat_of

    def observe(self, heartbeats: dict[bytes, bytes], now_s: float) -> None:
        self._liveness.observe(heartbeats, now_s)
        self._window.settle(self._liveness.written())

    def to_expel(self) -> dict[bytes, tuple[str, float]]:
        return self._liveness.to_expel(self._window.held_batch)

    @property
    def full(self) -> bool:
        return self._window.full

    @property
    def unwritten_bytes(self) -> int:
        return self._window.unwritten_bytes

    @property
    def nodes(self) -> int:
        return self._liveness.nodes


def window() -> Flow:
    return Flow(limit_bytes=100, limit_batches=10, silence_s=5, patience_s=30, look_s=2)


def test_without_nodes_nothing_is_owed() -> None:
    subject = window()
    subject.publish(1, 1000)
    assert not subject.full


def test_the_slowest_node_counts() -> None:
    subject = window()
    subject.observe({b"a": b"0 1 0 1", b"b": b"0 1 0 1"}, 0)
    for batch in (1, 2, 3):
        subject.publish(batch, 40)
    assert subject.full
    subject.observe({b"a": b"3 2 0 1", b"b": b"0 1 0 1"}, 1)
    assert subject.full
    subject.observe({b"a": b"3 2 0 1", b"b": b"1 2 0 1"}, 2)
    assert not subject.full


def test_many_small_batches_fill_it_too() -> None:
    subject = window()
    subject.observe({b"a": b"0 1 0 1"}, 0)
    for batch in range(1, 10):
        subject.publish(batch, 1)
    assert not subject.full
    subject.publish(10, 1)
    assert subject.full
    subject.observe({b"a": b"1 1 0 1"}, 0)
    assert not subject.full


def test_a_node_that_is_gone_owes_nothing() -> None:
    subject = window()
    subject.observe({b"a": b"0 1 0 1"}, 0)
    subject.publish(1, 500)
    assert subject.full
    subject.observe({}, 1)
    assert not subject.full


def test_silence_is_judged_by_seen_change() -> None:
    subject = window()
    for second in range(6):
        subject.observe({b"a": b"7 1 0 1", b"b": b"7 %d 0 1" % second}, second)
        assert subject.to_expel() == {}
    subject.observe({b"a": b"7 1 0 1", b"b": b"7 5 0 1"}, 5.1)
    assert list(subject.to_expel()) == [b"a"]
    reason, seconds = subject.to_expel()[b"a"]
    assert reason == "silent"
    assert seconds == pytest.approx(5.1)


@pytest.mark.parametrize("pause_s", [6.5, 60])
def test_a_pause_of_the_judge_is_nobodys_silence(pause_s: float) -> None:
    subject = window()
    subject.observe({b"a": b"7 1 0 1", b"b": b"7 1 0 1"}, 0)
    assert subject.to_expel() == {}
    # No node could report while everything stood still; a node that is alive reports before the silence is long.
    subject.observe({b"a": b"7 1 0 1", b"b": b"7 1 0 1"}, pause_s)
    assert subject.to_expel() == {}
    for second in range(1, 5):
        subject.observe({b"a": b"7 1 0 1", b"b": b"7 2 0 1"}, pause_s + second)
    assert list(subject.to_expel()) == [b"a"]


def test_holding_a_full_window_has_an_end_but_being_slow_has_not() -> None:
    subject = window()
    subject.observe({b"slow": b"0 0 0 1", b"stuck": b"0 0 0 1", b"fast": b"0 0 0 1"}, 0)
    for batch in range(1, 6):
        subject.publish(batch, 50)
    for second in range(1, 32):
        reports = {
            b"slow": b"%d 0 0 1" % (second // 10),
            b"stuck": b"0 %d 0 1" % second,
            b"fast": b"5 %d 0 1" % second,
        }
        reports[b"slow"] += b"%d" % second
        subject.observe(reports, second)
    assert list(subject.to_expel()) == [b"stuck"]


@pytest.mark.parametrize("junk", [b"", b"junk", b"3", b"x 2 0 1", b"\xff\x00"])
def test_a_report_that_makes_no_sense_holds_nobody_up_and_expels_its_node_alone(junk: bytes) -> None:
    subject = window()
    subject.observe({b"a": b"0 1 0 1", b"b": b"0 1 0 1"}, 0)
    subject.publish(1, 200)
    subject.observe({b"a": b"1 2 0 1", b"b": junk}, 1)
    assert not subject.full
    assert {node: reason for node, (reason, _) in subject.to_expel().items()} == {b"b": JUNK}
    assert subject.report_of(b"b") == junk
    assert subject.behind(3) == 2
    subject.observe({b"a": b"1 2 0 1"}, 2)
    assert subject.to_expel() == {}


def test_a_node_that_is_there_with_junk_only_is_expelled_too() -> None:
    subject = window()
    subject.observe({b"a": b"junk"}, 0)
    assert subject.to_expel() == {b"a": (JUNK, 0.0)}
    subject.publish(1, 200)
    subject.observe({b"a": b"junk"}, 1)
    assert not subject.full


def full_window(**batches: int) -> Flow:
    """A window with batches 301 to 310 published, and nodes that report the batches given, seen at second 0."""
    subject = window()
    look(subject, 0, **batches)
    for batch in range(301, 311):
        subject.publish(batch, 1)
    return subject


def look(subject: Flow, at_s: float, **batches: int) -> None:
    """Every node reports anew: none is silent."""
    subject.observe({name.encode(): b"%d %d 0 1" % (batch, at_s * 10) for name, batch in batches.items()}, at_s)


def test_what_is_owed_is_known_to_the_byte_and_the_batch() -> None:
    subject = window()
    assert (subject.unwritten_bytes, subject.nodes, subject.behind(310)) == (0, 0, 0)
    look(subject, 0, a=300, b=305)
    for batch in range(306, 311):
        subject.publish(batch, batch - 300)
    assert (subject.unwritten_bytes, subject.nodes, subject.behind(310)) == (6 + 7 + 8 + 9 + 10, 2, 10)
    look(subject, 1, a=308, b=305)
    assert (subject.unwritten_bytes, subject.behind(310)) == (40, 5)
    look(subject, 2, a=308, b=309)
    assert (subject.unwritten_bytes, subject.behind(310)) == (9 + 10, 2)
    look(subject, 3, a=310, b=311)
    assert (subject.unwritten_bytes, subject.behind(311), subject.behind(1000)) == (0, 1, 690)


def test_the_limits_are_reached_exactly_and_hold_beyond() -> None:
    subject = window()
    look(subject, 0, a=0)
    for size, full in ((99, False), (1, True), (1, True)):
        subject.publish(1, size)
        assert subject.full == full
    subject = Flow(10_000, 300, 5, 30, 2)
    look(subject, 0, a=0)
    for batch in range(1, 303):
        subject.publish(batch, 1)
        assert subject.full == (batch >= 300)


def test_who_writes_nothing_while_nothing_is_to_be_written_may_do_so_for_ever() -> None:
    subject = window()
    for second in range(200):
        look(subject, second, a=300)
        assert subject.to_expel() == {}
    subject.publish(301, 1)
    look(subject, 200, a=300)
    assert subject.to_expel() == {}, "the window is not full"


def test_only_who_holds_a_full_window_is_expelled_and_only_after_the_patience() -> None:
    subject = full_window(first=300, second=301, third=310)
    for second in range(1, 31):
        look(subject, second, first=300, second=301, third=310)
        assert subject.to_expel() == {}
    look(subject, 30.5, first=300, second=301, third=310)
    assert subject.to_expel() == {b"first": ("held the window", 30.5)}


def test_a_node_that_comes_with_an_old_batch_holds_it_too() -> None:
    subject = full_window(first=300)
    for second in range(40):
        look(subject, second, first=300, old=7)
    assert set(subject.to_expel()) == {b"first", b"old"}


def test_the_patience_begins_anew_with_each_batch_written() -> None:
    subject = full_window(slow=300)
    for second in range(1, 90):
        look(subject, second, slow=300 + second // 29)
        subject.publish(310 + second, 1)
        assert subject.to_expel() == {}
    for second in range(90, 118):
        look(subject, second, slow=303)
    assert subject.to_expel() == {}
    look(subject, 117.5, slow=303)
    assert subject.to_expel() == {b"slow": ("held the window", 30.5)}


def test_stillness_counts_while_a_node_is_silent_too() -> None:
    subject = full_window(stuck=300)
    for second in range(1, 32):
        assert subject.to_expel() == {}
        subject.observe({b"stuck": b"300 %d 0 1" % (second // 4)}, second)
    assert subject.to_expel() == {b"stuck": ("held the window", 31)}


def test_silence_begins_anew_with_each_change() -> None:
    subject = window()
    for second in range(10):
        subject.observe({b"a": b"7 %d 0 1" % second}, second)
    for second in range(10, 15):
        subject.observe({b"a": b"7 9 0 1"}, second)
    assert subject.to_expel() == {}
    subject.observe({b"a": b"7 9 0 1"}, 14.5)
    assert subject.to_expel() == {b"a": ("silent", 5.5)}
