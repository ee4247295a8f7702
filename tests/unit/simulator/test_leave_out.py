"""An event that is left out is never sent and has no effect."""

from dataclasses import replace

import pytest

from simulator.oracle import Oracle
from simulator.workload import Workload, blocks

WORK = Workload(2000, 6, 11, max_batch=20, first=501)


def arrived(work: Workload) -> list[bytes]:
    return [line for block in blocks(work) for line in block.arrival.splitlines()]


@pytest.mark.parametrize("number", [501, 502, 777, 2500])
def test_only_that_event_is_missing(number: int) -> None:
    left = arrived(replace(WORK, leave_out=number))
    assert sorted(left) == sorted(line for line in arrived(WORK) if not line.startswith(b"%d|" % number))
    assert len(left) == 1999


def test_the_pieces_are_still_the_whole_arrival() -> None:
    for max_batch in (1, 20):
        (block,) = blocks(replace(WORK, leave_out=777, max_batch=max_batch))
        assert sum(block.sends) == len(block.arrival)
        assert len(block.sends) == 2000 // max_batch


def expected(work: Workload) -> dict[int, bytes]:
    oracle = Oracle(range(1, 7), keep=True)
    for block in blocks(work):
        oracle.feed(block)
    return {user: each.bytes for user, each in oracle.expected.items()}


def test_no_client_is_notified_of_it_and_its_follow_has_no_effect() -> None:
    (block,) = blocks(WORK)
    follow = next(WORK.first + index for index, kind in enumerate(block.kinds) if kind == "F")
    whole, left = expected(WORK), expected(replace(WORK, leave_out=follow))
    follower, followee = block.origins[follow - WORK.first], block.targets[follow - WORK.first]
    assert b"%d|F|" % follow in whole[followee]
    assert all(b"\n%d|" % follow not in b"\n" + lines for lines in left.values())
    # Until the next follow, the follower misses the followee's updates; no other user misses anything.
    others = [user for user in whole if user not in (follower, followee)]
    assert all(whole[user] == left[user] for user in others)
    assert len(left[follower]) < len(whole[follower])
