"""The seats of viewers, shared between addresses."""

from collections import Counter
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from console.web.seats import Seats


def test_one_address_may_have_them_all_while_no_other_comes() -> None:
    seats = Seats(3)
    assert all(seats.take("a", lambda: None) for _ in range(3))
    assert seats.take("a", lambda: None) is None


def test_another_address_gets_the_oldest_seat_of_the_one_that_has_most() -> None:
    seats, gone = Seats(4), list[int]()
    for number in range(3):
        seats.take("a", partial(gone.append, number))
    seats.take("b", partial(gone.append, 99))
    assert seats.take("c", lambda: None) is not None
    assert gone == [0]
    assert seats.take("d", lambda: None) is not None
    assert gone == [0, 1]
    assert seats.take("e", lambda: None) is None, "each of the others has one"


def test_a_seat_that_is_given_back_is_free() -> None:
    seats = Seats(1)
    seat = seats.take("a", lambda: None)
    assert seats.take("b", lambda: None) is None
    seats.give_back("a", seat)
    seats.give_back("a", seat)
    assert seats.take("b", lambda: None) is not None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60), st.integers(1, 8))
def test_never_more_than_there_are_and_no_address_with_fewer_loses_one(
    steps: list[tuple[str, bool]], most: int
) -> None:
    seats = Seats(most)
    taken: list[tuple[str, object]] = []
    lost: list[str] = []
    for name, comes in steps:
        own = [seat for address, seat in taken if address == name]
        if not comes:
            if own:
                seats.give_back(name, own[0])
                taken.remove((name, own[0]))
            continue
        lost.clear()
        seat = seats.take(name, partial(lost.append, name))
        for loser in lost:
            taken.remove(next(each for each in taken if each[0] == loser))
        if seat is not None:
            taken.append((name, seat))
        counts = Counter(address for address, _ in taken)
        assert counts.total() <= most
        assert all(counts[loser] >= counts[name] for loser in lost)
        if seat is None:
            assert counts.total() == most
            assert max(counts.values()) <= counts[name] + 1
