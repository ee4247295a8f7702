"""Flow control: when the window is full, and who is expelled."""

import pytest

from sequencer.window import JUNK, Window


def window() -> Window:
    return Window(limit_bytes=100, limit_batches=10, silence_s=5, patience_s=30, look_s=2)


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
    # Nobody could report while everything stood still; who lives reports before the silence is long.
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
