"""Reading ahead: how large a batch may be, and which entries make one."""

from collections import deque

from contract.entries import Entry
from runtime.settings import KIB
from sequencer.reader import USER_BYTES, batch_limit, take_batch, weight


def test_an_entry_weighs_its_bytes_and_forty_for_each_who_comes_or_goes() -> None:
    assert weight(Entry(b"1-0", raw=b"x" * 101)) == 101
    assert weight(Entry(b"1-0", node=b"n", joins=[b"1"] * 3, leaves=[b"2"])) == 160
    assert weight(Entry(b"1-0", raw=b"x" * 101, joins=[b"1"] * 3, leaves=[b"2"])) == 261


def test_more_users_make_larger_batches_and_the_window_holds_several() -> None:
    assert batch_limit(128 * KIB, 0, 4096 * KIB) == 128 * KIB
    assert batch_limit(128 * KIB, 1_000, 4096 * KIB) == 128 * KIB + 40_000
    assert batch_limit(128 * KIB, 4_000, 4096 * KIB) == 128 * KIB + 160_000
    assert batch_limit(128 * KIB, 100_000, 4096 * KIB) == 1024 * KIB
    assert batch_limit(128 * KIB, 100_000, 4096 * KIB + 3) == 1024 * KIB
    assert batch_limit(128 * KIB, 100_000, 256 * KIB) == 128 * KIB


def test_a_batch_begins_with_its_joins_and_has_no_more_than_its_size() -> None:
    raw = Entry(b"2-0", raw=b"1|B\n2|B\n")
    join, leave = Entry(b"1-0", node=b"n", joins=[b"1"]), Entry(b"3-0", node=b"n", leaves=[b"1"])
    assert list(take_batch(deque([join, join, raw, leave, raw, join, raw]), 200)) == [join, join, raw, leave, raw]
    assert list(take_batch(deque([raw, raw, raw]), 9)) == [raw, raw]
    assert not take_batch(deque(), 9)


def test_joins_and_leaves_before_the_events_are_one_batch_up_to_its_size() -> None:
    raw = Entry(b"2-0", raw=b"1|B\n2|B\n")
    join, leave = Entry(b"1-0", node=b"n", joins=[b"1"]), Entry(b"3-0", node=b"n", leaves=[b"1"])
    loop = [leave, join] * 3
    assert list(take_batch(deque([*loop, raw, join]), 1000)) == [*loop, raw]
    left = deque(loop)
    assert (list(take_batch(left, 3 * USER_BYTES)), list(left)) == (loop[:3], loop[3:])


def test_a_skip_comes_before_the_joins_after_it() -> None:
    skip, join = Entry(b"1-0", skip_to=5), Entry(b"2-0", node=b"n", joins=[b"1"])
    assert list(take_batch(deque([skip, join]), 100)) == [skip]
