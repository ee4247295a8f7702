"""Earlier histories: a position up to where one goes on is a position of the present one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.control import Position
from contract.histories import KEPT, Histories, server_in, server_text


def test_a_position_of_the_present_history_is_what_it_is() -> None:
    assert Histories(b"a").here(Position(b"a", 7)) == Position(b"a", 7)


def test_a_position_of_an_earlier_history_counts_up_to_where_that_ended() -> None:
    histories = Histories(b"b", Histories(b"a").renewed(b"b", 7))
    assert histories.here(Position(b"a", 7)) == Position(b"b", 7)
    assert histories.here(Position(b"a", 8)) is None
    assert histories.here(Position(b"b", 8)) == Position(b"b", 8)
    assert histories.here(Position(b"c", 1)) is None


def test_a_bound_sinks_when_data_older_still_comes_back() -> None:
    once = Histories(b"a").renewed(b"b", 7)
    assert Histories(b"b", once).renewed(b"c", 5) == b"c b@5 a@5"
    assert Histories(b"b", once).renewed(b"c", 9) == b"c b@9 a@7"


def test_no_more_than_so_many_are_remembered() -> None:
    text = b""
    for number in range(KEPT + 3):
        text = Histories(b"h%d" % number, text).renewed(b"h%d" % (number + 1), number)
    present = b"h%d" % (KEPT + 3)
    assert len(text.split()) == 1 + KEPT
    assert Histories(present, text).here(Position(b"h2", 0)) is None
    assert Histories(present, text).here(Position(b"h3", 3)) == Position(present, 3)


@pytest.mark.parametrize("junk", [b"", b"z", b"z a", b"z a@", b"z a@1 b", b"z \xff@1", b"a@1", b"y a@1"])
def test_junk_and_what_is_left_of_another_deployment_is_no_history(junk: bytes) -> None:
    assert Histories(b"z", junk).here(Position(b"a", 1)) is None
    assert Histories(b"", junk).renewed(b"b", 3) == b"b"


@given(st.lists(st.integers(0, 50), max_size=KEPT))
def test_a_number_counts_only_if_it_was_never_lost(ends: list[int]) -> None:
    """History n ended behind ends[n], when the next one began."""
    text = b""
    for number, last in enumerate(ends):
        text = Histories(b"h%d" % number, text).renewed(b"h%d" % (number + 1), last)
    present = Histories(b"h%d" % len(ends), text)
    for number in range(len(ends)):
        for place in range(52):
            assert (present.here(Position(b"h%d" % number, place)) is not None) == (place <= min(ends[number:]))


@pytest.mark.parametrize(("run_id", "epoch"), [("5ca1ab1e", "e2"), ("5ca1ab1e", ""), ("", "")])
def test_a_server_is_what_it_was_written_as(run_id: str, epoch: str) -> None:
    assert server_in(server_text(run_id, epoch).encode()) == (run_id.encode(), epoch.encode())
    assert server_in(b"") == (b"", b"")
