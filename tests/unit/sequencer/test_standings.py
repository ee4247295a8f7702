"""Flow control: when the window is full, which nodes are left behind, and which are expelled."""

import pytest

from sequencer.standings import GONE, JUNK, SLOW, STALLED, Change, Standings
from sequencer.window import Window


class Flow:
    """The standings of nodes and their window, used together as `sequencer/commits.py` does."""

    def __init__(
        self, limit_bytes: int, limit_batches: int, silence_s: float, patience_s: float, look_s: float, after: int = 0
    ) -> None:
        self._window = Window(limit_bytes, limit_batches, after)
        self._standings = Standings(self._window, silence_s, patience_s, look_s)
        self.behind = self._standings.behind
        self.report_of = self._standings.heartbeat_of
        self.subscribed = self._standings.subscribed
        self.observe = self._standings.observe
        self.to_expel = self._standings.to_expel

    def publish(self, batch: int, size: int) -> None:
        self._window.publish(size)
        assert self._window.last == batch

    @property
    def full(self) -> bool:
        return self._standings.is_full

    @property
    def is_catching_up(self) -> bool:
        return self._standings.is_catching_up

    @property
    def left_behind(self) -> dict[bytes, str]:
        return self._standings.left_behind

    @property
    def unwritten_bytes(self) -> int:
        return self._standings.unwritten_bytes

    @property
    def nodes(self) -> int:
        return len(self._standings.names)


def window(after: int = 0) -> Flow:
    return Flow(limit_bytes=100, limit_batches=10, silence_s=5, patience_s=30, look_s=2, after=after)


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
    subject = window(after=300)
    look(subject, 0, **batches)
    for batch in range(301, 311):
        subject.publish(batch, 1)
    return subject


def look(subject: Flow, at_s: float, **batches: int) -> None:
    """Every node reports anew: none is silent."""
    subject.observe({name.encode(): b"%d %d 0 1" % (batch, at_s * 10) for name, batch in batches.items()}, at_s)


def test_what_is_owed_is_known_to_the_byte_and_the_batch() -> None:
    subject = window(after=305)
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
    for batch, (size, full) in enumerate(((99, False), (1, True), (1, True)), 1):
        subject.publish(batch, size)
        assert subject.full == full
    subject = Flow(10_000, 300, 5, 30, 2)
    look(subject, 0, a=0)
    for batch in range(1, 303):
        subject.publish(batch, 1)
        assert subject.full == (batch >= 300)


def test_who_writes_nothing_while_nothing_is_to_be_written_may_do_so_for_ever() -> None:
    subject = window(after=300)
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


# Left behind


def nodes(at_s: float, **written: int | tuple[int, int]) -> dict[bytes, bytes]:
    """Heartbeats at a moment: node=batch, or node=(batch, connections); 10 connections unless said."""
    figures = {name: each if isinstance(each, tuple) else (each, 10) for name, each in written.items()}
    return {name.encode(): b"%d %d %d 1 1" % (batch, at_s * 1000, many) for name, (batch, many) in figures.items()}


def flow(**written: int | tuple[int, int]) -> Flow:
    """A window of 10 batches, of which all are published; what the nodes have written is known at second 0."""
    subject = window()
    subject.observe(nodes(0, **written), 0)
    for batch in range(1, 11):
        subject.publish(batch, 1)
    subject.observe(nodes(0, **written), 0)
    return subject


def watched(subject: Flow, began_s: float, ended_s: float, **written: int | tuple[int, int]) -> list[Change]:
    """The nodes report every 10 ms that nothing has changed."""
    changes = []
    for step in range(round(began_s * 100) + 1, round(ended_s * 100) + 1):
        changes += subject.observe(nodes(step / 100, **written), step / 100)
    return changes


def test_a_stalled_node_is_left_behind_while_another_has_nothing_to_write() -> None:
    subject = flow(a=0, b=10)
    assert subject.full
    assert watched(subject, 0, 0.24, a=0, b=10) == []
    assert watched(subject, 0.24, 0.26, a=0, b=10) == [(b"a", STALLED, 10)]
    assert (subject.full, subject.left_behind) == (False, {b"a": STALLED})
    assert watched(subject, 0.26, 20, a=0, b=10) == [], "it is said once"


def test_each_batch_that_it_writes_gives_it_time() -> None:
    subject = flow(a=0, b=10)
    for turn in range(3):
        assert watched(subject, turn * 0.2, turn * 0.2 + 0.19, a=turn, b=10) == []
        subject.publish(11 + turn, 1)
        assert subject.observe(nodes(turn * 0.2 + 0.2, a=turn + 1, b=11 + turn), turn * 0.2 + 0.2) == []
    assert subject.left_behind == {}


def test_nodes_that_are_stalled_alike_are_waited_for() -> None:
    subject = flow(a=0, b=0, c=3)
    assert watched(subject, 0, 4, a=0, b=0, c=3) == [], "c has something to write, too"
    assert subject.full


def test_the_only_node_is_waited_for() -> None:
    subject = flow(a=0)
    subject.subscribed({b"a": 1})
    for _ in range(3):
        subject.subscribed({b"a": 0})
    assert watched(subject, 0, 4, a=0) == []
    assert subject.full


@pytest.mark.parametrize(("its", "others", "is_left"), [(10, 10, True), (500, 1, True), (0, 0, True), (500, 0, False)])
def test_a_stalled_node_is_waited_for_only_if_it_harms_no_client(its: int, others: int, is_left: bool) -> None:
    subject = flow(a=(0, its), b=(10, others))
    assert len(watched(subject, 0, 2, a=(0, its), b=(10, others))) == is_left


def test_a_node_that_needs_long_for_each_batch_gets_twice_as_long() -> None:
    """For example one with 30,000 clients, beside one with ten: it needs 0.3 s."""
    subject, last, now_s, changes = flow(a=(0, 30_000), b=(10, 10)), 10, 0.0, []
    for _ in range(2):
        for a in range(last - 10, last):
            changes += watched(subject, now_s, now_s + 0.3, a=(a, 30_000), b=(last, 10))
            now_s += 0.3
        changes += watched(subject, now_s, now_s + 0.1, a=(last, 30_000), b=(last, 10))
        now_s += 0.1
        for batch in range(last + 1, last + 11):
            subject.publish(batch, 1)
        last += 10
    assert [change.reason for change in changes] == [STALLED, ""], "only before its pace was known"


def test_a_node_that_moves_may_cost_the_others_so_much_and_no_more() -> None:
    subject, batch, left_s = flow(slow=0, b=10), 0, None
    for step in range(1, 2000):
        # It writes a batch every 0.1 s; the others write it at once.
        if step % 10 == 0:
            batch += 1
            subject.publish(batch + 10, 1)
        changes = subject.observe(nodes(step / 100, slow=batch, b=batch + 10), step / 100)
        if changes:
            left_s = step / 100
            assert changes == [(b"slow", SLOW, 10)]
            break
    assert left_s is not None
    assert 0.5 <= left_s <= 0.7


def test_a_slow_node_is_waited_for_again_once_it_has_been_quick_for_a_while() -> None:
    subject, left_s = flow(slow=0, b=10), 0.0
    for step in range(1, 200):
        batch = step // 10
        if step % 10 == 0:
            subject.publish(batch + 10, 1)
        if subject.observe(nodes(step / 100, slow=batch, b=batch + 10), step / 100):
            left_s = step / 100
            break
    last = batch + 10
    assert watched(subject, left_s, left_s + 8, slow=last, b=last) == [], "it would be left behind again at once"
    assert watched(subject, left_s + 8, left_s + 12, slow=last, b=last) == [(b"slow", "", 0)]


def test_nodes_that_are_slow_alike_are_waited_for_however_slow() -> None:
    """Two nodes at full load: a needs 50 ms for a batch, b 30 ms, so that at times b has nothing to write."""
    subject, a, b, b_works = flow(a=0, b=9), 0, 9, 0
    for step in range(1, 3000):
        b_works += b < a + 10
        if b_works == 3:
            b, b_works = b + 1, 0
        if step % 5 == 0:
            a += 1
            subject.publish(a + 10, 1)
        assert subject.observe(nodes(step / 100, a=a, b=b), step / 100) == []
    assert subject.full


def test_gone_takes_two_looks_in_a_row() -> None:
    subject = flow(a=10, b=10)
    subject.subscribed({b"a": 1, b"b": 1})
    for counts in ({b"a": 0, b"b": 1}, {b"a": 1, b"b": 1}, {b"a": 0, b"b": 1}):
        subject.subscribed(counts)
        assert watched(subject, 0, 0.02, a=10, b=10) == []
    subject.subscribed({b"a": 0, b"b": 1, b"unknown": 0})
    assert subject.observe(nodes(0.1, a=10, b=10), 0.1) == [(b"a", GONE, 0)]
    subject.subscribed({b"a": 0, b"b": 1})
    assert watched(subject, 0.1, 0.5, a=10, b=10) == [], "it has nothing to write, but it is not there"
    subject.subscribed({b"a": 1, b"b": 1})
    assert subject.observe(nodes(0.6, a=10, b=10), 0.6) == [(b"a", "", 0)]


def test_a_node_that_has_no_channel_is_not_gone() -> None:
    subject = window()
    for turn in range(5):
        beats = {b"old": b"0 %d 1 1" % turn, b"b": b"0 %d 1 1 1" % turn}
        assert subject.observe(beats, turn / 10) == []
        subject.subscribed({b"old": 0, b"b": 1})


def test_all_gone_are_waited_for_as_one() -> None:
    subject = flow(a=0, b=4)
    for counts in ({b"a": 1, b"b": 1}, {b"a": 0, b"b": 0}, {b"a": 0, b"b": 0}):
        subject.subscribed(counts)
    assert watched(subject, 0, 4, a=0, b=4) == [], "which of them lives is not known"
    assert subject.full


def test_it_is_waited_for_again_once_it_has_half_a_window_to_write() -> None:
    subject = flow(a=0, b=10)
    assert watched(subject, 0, 0.3, a=0, b=10) == [(b"a", STALLED, 10)]
    for batch in range(11, 40):
        subject.publish(batch, 1)
    assert subject.observe(nodes(0.4, a=33, b=39), 0.4) == []
    assert subject.observe(nodes(0.5, a=34, b=39), 0.5) == [(b"a", "", 5)]


def test_half_of_the_bytes_of_a_window_are_too_much_too() -> None:
    subject = flow(a=0, b=10)
    watched(subject, 0, 0.3, a=0, b=10)
    for batch in range(11, 14):
        subject.publish(batch, 26)
    assert subject.observe(nodes(0.4, a=11, b=13), 0.4) == []
    assert subject.observe(nodes(0.5, a=12, b=13), 0.5) == [(b"a", "", 1)], "a single batch is never too much"


def test_when_the_last_node_that_lives_is_the_one_left_behind_it_is_waited_for() -> None:
    subject = flow(a=0, b=10)
    watched(subject, 0, 0.3, a=0, b=10)
    assert subject.observe(nodes(0.4, a=0), 0.4) == [(b"a", "", 10)]
    assert subject.full


def test_of_two_that_were_left_behind_the_better_one_is_waited_for() -> None:
    subject = flow(a=0, b=2, c=10)
    watched(subject, 0, 0.3, a=0, b=0, c=10)
    assert subject.left_behind == {b"a": STALLED, b"b": STALLED}
    assert subject.observe(nodes(0.4, a=0, b=2), 0.4) == [(b"b", "", 8)]


def test_the_last_one_that_lives_is_waited_for_and_the_dead_are_not() -> None:
    subject = flow(a=0, b=10)
    subject.subscribed({b"a": 1, b"b": 1})
    watched(subject, 0, 0.3, a=0, b=10)
    assert subject.left_behind == {b"a": STALLED}
    for _ in range(2):
        subject.subscribed({b"a": 1, b"b": 0})
    assert subject.observe(nodes(0.4, a=1, b=10), 0.4) == [(b"a", "", 9), (b"b", GONE, 0)]


def test_a_node_that_enters_is_waited_for_while_another_is_left_behind() -> None:
    subject = flow(a=0, b=10)
    watched(subject, 0, 0.3, a=0, b=10)
    for batch in range(11, 21):
        subject.publish(batch, 1)
    subject.observe(nodes(0.4, a=0, b=20, new=10), 0.4)
    assert (subject.full, subject.left_behind) == (True, {b"a": STALLED})
    assert watched(subject, 0.4, 0.7, a=0, b=20, new=10) == [(b"new", STALLED, 10)]


def test_a_node_that_is_left_behind_and_writes_nothing_is_expelled_in_the_end() -> None:
    subject = flow(a=0, b=10)
    watched(subject, 0, 0.3, a=0, b=10)
    for second in range(1, 31):
        subject.observe(nodes(second, a=0, b=10), second)
        assert subject.to_expel() == {}
    subject.observe(nodes(30.5, a=0, b=10), 30.5)
    ((reason, seconds),) = subject.to_expel().values()
    assert reason == "held the window"
    assert seconds == pytest.approx(30.5)


def test_a_pause_of_the_judge_is_no_stall_of_a_node() -> None:
    subject = flow(a=0, b=10)
    assert subject.observe(nodes(5, a=0, b=10), 5) == []
    assert subject.observe(nodes(5.01, a=0, b=10), 5.01) == []


def test_a_node_that_is_left_behind_and_writes_is_given_way() -> None:
    subject = flow(a=0, b=10)
    assert not subject.is_catching_up, "it is waited for"
    watched(subject, 0, 0.9, a=0, b=10)
    assert subject.is_catching_up, "it wrote something within the last second, as far as is known"
    watched(subject, 0.9, 1.1, a=0, b=10)
    assert not subject.is_catching_up
    subject.observe(nodes(1.2, a=2, b=10), 1.2)
    assert subject.is_catching_up
    for count in (1, 0, 0):
        subject.subscribed({b"a": count, b"b": 1})
    assert not subject.is_catching_up, "it is gone"
    subject.subscribed({b"a": 1, b"b": 1})
    subject.observe(nodes(1.3, a=9, b=10), 1.3)
    assert not subject.is_catching_up, "it has caught up"


@pytest.mark.parametrize("connections", [0, 1, 1000])
def test_a_node_with_next_to_no_clients_does_not_make_nodes_that_are_slow_alike_look_slow(connections: int) -> None:
    """As above, with a third node that is always ready: what is waited for `a` while `b` is busy is not idle."""
    subject, a, b, b_works = flow(a=(0, 2000), b=(9, 2000), few=(9, connections)), 0, 9, 0
    for step in range(1, 3000):
        b_works += b < a + 10
        if b_works == 3:
            b, b_works = b + 1, 0
        if step % 5 == 0:
            a += 1
            subject.publish(a + 10, 1)
        figures = {"a": (a, 2000), "b": (b, 2000), "few": (a + 10, connections)}
        assert subject.observe(nodes(step / 100, **figures), step / 100) == []


def test_a_node_with_many_clients_is_not_slow_because_many_others_have_few_each() -> None:
    """Each needs 1 ms for 10 connections and batch: a (1,000 connections) 100 ms, ten others (100 each) 10 ms."""
    others = [f"n{n}" for n in range(10)]
    subject, a = flow(a=(0, 1000), **dict.fromkeys(others, (10, 100))), 0
    for step in range(1, 1000):
        if step % 10 == 0:
            a += 1
            subject.publish(a + 10, 1)
        # Busy for one step of the ten: a tenth of the time, as they have a tenth of the connections.
        written = a + 9 if step % 10 == 0 else a + 10
        figures = {"a": (a, 1000), **dict.fromkeys(others, (written, 100))}
        assert subject.observe(nodes(step / 100, **figures), step / 100) == []


def test_a_slow_node_that_has_caught_up_is_waited_for_when_the_only_other_one_stops() -> None:
    """Else its clients would wait for a node that is stopped."""
    subject, left_s = flow(slow=0, b=10), 0.0
    for step in range(1, 200):
        batch = step // 10
        if step % 10 == 0:
            subject.publish(batch + 10, 1)
        if subject.observe(nodes(step / 100, slow=batch, b=batch + 10), step / 100):
            left_s = step / 100
            break
    last = batch + 10
    watched(subject, left_s, left_s + 1, slow=last, b=last)
    for number in range(1, 11):
        subject.publish(last + number, 1)
    watched(subject, left_s + 1, left_s + 1.6, slow=last + 10, b=last)
    assert not subject.full


def test_what_the_term_before_left_to_write_holds_nothing_up() -> None:
    subject = window(after=1000)
    subject.observe(nodes(0, a=3), 0)
    for batch in range(1001, 1010):
        subject.publish(batch, 1)
        assert not subject.full
    subject.publish(1010, 1)
    assert subject.full, "now it has a full window of this term to write"
