"""What a commit is told of a batch: every section, in the order in which `commit.lua` reads them, within its limits."""

from collections import Counter
from dataclasses import replace

import pytest

from contract.frames import Frame, Lineage
from sequencer.batch import Argument, Batch, Stamp

LINEAGE = Lineage(b"e2", b"e1@6")


def a_stamp(rejected_per_batch: int = 100) -> Stamp:
    return Stamp(7, "token", 3000, LINEAGE, 5, 2, 10_000, rejected_per_batch, 1000, 120_000)


def test_all_that_a_commit_makes_true_in_the_order_in_which_it_is_read() -> None:
    batch = Batch(
        next=9,
        cursor=b"17-3",
        since_ms=12,
        skip_to=4,
        raw_bytes=55,
        counts=Counter(received=3, late=0, released=2),
        changes={(b"1", b"2"): b"F", (b"3", b"4"): b"U", (b"5", b"6"): b"F"},
        waiting=[(11, b"11|B\n"), (12, b"12|B\n")],
        moves={(b"n1", b"1"): True, (b"n1", b"2"): False, (b"n2", b"3"): True},
        gone=(b"n3", b"n4"),
        rejected=[("not an event", b"x\n")],
        messages=[(b"1", b"7|P|2|1\n")],
        broadcasts=b"8|B\n",
        unpublished=[(b"7", b"7|P|2|7\n")],
        places={b"7", b"9", b"8"},
    )
    batch.set_places({b"7": 5, b"8": 7}, {b"7"})
    frame = Frame(7, b"17-3", 12, 9, LINEAGE, 5, (b"n3", b"n4"), b"8|B\n").encode()
    expected: list[Argument] = ["token", 3000, 7, 9, b"17-3", b"17-4", 4, b"e2", 55, 10_000, frame, 2, 1000, "frame"]
    expected += [b"", "", b"", 3, 120_000]
    expected += [b"1 2 5 6", b"3 4"]
    expected += [1, b"n1", b"2"]
    expected += [2, b"n1", b"1", b"n2", b"3"]
    expected += [1, b"1", b"7|P|2|1\n"]
    expected += [1, b"7", b"7|P|2|7\n"]
    expected += [2, "received", 3, "released", 2]
    expected += [2, 11, b"11|B\n", 12, b"12|B\n"]
    expected += [1, "not an event", b"x\n"]
    expected += [2, b"n3", b"n4"]
    expected += [1, b"7", 2, b"8", b"9"]
    expected += [2, b"7", 5, b"8", 7]
    expected += [1, b"9"]
    assert batch.arguments(a_stamp()) == expected


def test_the_first_batch_of_a_term_says_on_which_server_and_in_which_history() -> None:
    stamp = replace(a_stamp(), lineage=Lineage(b"e2", b"e1@6", b"9f31c2"), server="run e2", earlier=b"9f31c2 e0@7")
    assert Batch(9, b"17-3").arguments(stamp)[14:19] == [b"9f31c2", "run e2", b"9f31c2 e0@7", 0, 120_000]


def test_an_empty_batch_is_short() -> None:
    arguments = Batch(9, b"17-3").arguments(a_stamp())
    frame = Frame(7, b"17-3", 0, 9, LINEAGE, 5).encode()
    head: list[Argument] = ["token", 3000, 7, 9, b"17-3", b"17-4", 0, b"e2", 0, 10_000, frame, 2, 1000, "frame"]
    assert arguments == [*head, b"", "", b"", 0, 120_000, b"", b"", *[0] * 12]


@pytest.mark.parametrize("limit", [1, 100])
def test_rubbish_is_recorded_up_to_a_limit_and_cut(limit: int) -> None:
    batch = Batch(9, b"17-3", rejected=[("not an event", b"%03d" % number + b"x" * 1000) for number in range(300)])
    arguments = batch.arguments(a_stamp(rejected_per_batch=limit))
    assert arguments[-2 * limit - 6 : -5] == [
        limit, *(part for number in range(limit) for part in ("not an event", b"%03d" % number + b"x" * 61)),
    ]  # fmt: skip


def test_a_batch_weighs_what_it_takes_in_and_what_it_publishes() -> None:
    batch = Batch(9, b"17-3", raw_bytes=1000, messages=[(b"1", b"x" * 30), (b"2", b"x" * 5)], broadcasts=b"y" * 215)
    assert (batch.published_bytes, batch.weight) == (250, 1250)
    batch.unpublished = [(b"3", b"z" * 40)]
    assert (batch.published_bytes, batch.weight, batch.journal_bytes) == (250, 1250, 290)
    assert (Batch(9, b"0-0").published_bytes, Batch(9, b"0-0").weight) == (0, 0)
