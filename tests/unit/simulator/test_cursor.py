"""The protocol of a client that resumes: what it asks, what it takes, and what it finds wrong."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.control import Position
from simulator.cursor import PROBLEMS, Bye, Cursor

LINES = [b"%d|P|1|50|BYE drain\n" % number for number in range(101, 141)]


def served(answer: bytes = b"OK 9f31c2@100\n") -> Cursor:
    cursor = Cursor(50)
    assert cursor.begin() == b"50 after=now\n"
    assert cursor.receive(answer) == b""
    return cursor


def test_the_cursor_is_the_last_whole_line_and_parts_do_not_count() -> None:
    cursor = served()
    assert cursor.begin() == b"50 after=9f31c2@100\n"
    assert cursor.receive(b"RESUMED 9f31c2@100\n101|B\n105|B\n107") == b"101|B\n105|B\n"
    assert cursor.begin() == b"50 after=9f31c2@105\n"
    assert cursor.receive(b"RESUMED 9f31c2@105\n107|B\nAT 110\n") == b"107|B\n"
    assert cursor.begin() == b"50 after=9f31c2@110\n"
    assert cursor.problems == []
    assert cursor.answers == Counter(OK=1, RESUMED=2, AT=1)


def test_a_connection_that_ends_before_its_answer_changes_nothing() -> None:
    cursor = served()
    assert cursor.receive(b"101|B\n") == b"101|B\n"
    assert cursor.begin() == b"50 after=9f31c2@101\n"
    assert cursor.receive(b"RESUMED 9f31") == b""
    assert not cursor.is_live
    assert cursor.begin() == b"50 after=9f31c2@101\n"
    assert cursor.receive(b"RESUMED 9f31c2@101\n102|B\n") == b"102|B\n"
    assert cursor.problems == []


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=40), st.integers(1, 60))
def test_every_line_comes_once_whatever_is_cut(cuts: list[tuple[int, bool]], size: int) -> None:
    """A server that keeps the protocol, and a client cut after any number of bytes, also within words."""
    cursor, received = Cursor(50), b""
    for cut, marks in [*cuts, (10_000, False)]:
        asked = cursor.begin()
        after = 100 if asked.endswith(b"now\n") else int(asked.split(b"@")[1])
        word = b"OK" if asked.endswith(b"now\n") else b"RESUMED"
        sent = b"%b 9f31c2@%d\n" % (word, after)
        for line in LINES:
            number = int(line.split(b"|")[0])
            if number > after:
                sent += line + (b"AT %d\n" % number if marks else b"")
        sent = sent[:cut]
        for at in range(0, len(sent), size):
            received += cursor.receive(sent[at : at + size])
    assert received == b"".join(LINES)
    assert cursor.problems == []


def test_a_reset_is_counted_by_its_reason_and_life_goes_on_behind_it() -> None:
    cursor = served()
    cursor.begin()
    assert cursor.receive(b"RESET 77aa01@900 trimmed\n901|B\n") == b"901|B\n"
    assert cursor.resets == Counter(trimmed=1)
    assert cursor.place == Position("77aa01", 901)
    cursor.begin()
    cursor.receive(b"RESET 77aa01@905\n")
    assert cursor.resets == Counter({"trimmed": 1, "for no reason": 1})
    assert cursor.problems == []


def test_a_position_can_get_another_name_in_the_answer_and_later() -> None:
    cursor = served()
    cursor.begin()
    assert cursor.receive(b"RESUMED 77aa01@100\n101|B\nRESUMED 88bb02@105\n106|B\n") == b"101|B\n106|B\n"
    assert (cursor.place, cursor.problems) == (Position("88bb02", 106), [])
    cursor.receive(b"RESUMED 99cc03@104\n")
    assert cursor.problems == ["a second answer to the registration, RESUMED 99cc03@104"]


def test_goodbyes_and_refusals_belong_to_their_connection() -> None:
    cursor = served()
    cursor.receive(b"BYE drain 2500\n")
    assert cursor.bye == Bye("drain", 2.5)
    cursor.begin()
    assert cursor.bye is None
    cursor.receive(b"ERROR wait a second\n")
    assert cursor.error == "wait a second"
    cursor.begin()
    assert cursor.error == ""
    cursor.receive(b"RESUMED 9f31c2@100\nBYE slow\n")
    assert cursor.bye == Bye("slow", 0.0)
    assert cursor.byes == Counter(drain=1, slow=1)
    assert cursor.problems == []


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("answer", "rest", "problem"),
    [
        (b"", b"101|B\n", "number 101 came before the answer to the registration"),
        (b"", b"AT 5\n", "AT 5 came before the answer to the registration"),
        (b"", b"RESUMED 9f31c2@100\n", "RESUMED 9f31c2@100 in answer to after=now"),
        (b"OK 9f31c2@100\n", b"100|B\n", "number 100 came after 100"),
        (b"OK 9f31c2@100\n", b"101|B\nAT 103\n103|B\n", "number 103 came after 103"),
        (b"OK 9f31c2@100\n", b"AT 99\n", "AT 99 came after 100"),
        (b"OK 9f31c2@100\n", b"RESUMED 9f31c2@100\n", "a second answer to the registration, RESUMED 9f31c2@100"),
        (b"OK 9f31c2@100\n", b"HOW are you\n", "'HOW' is not a word that a client knows"),
        (b"OK 9f31c2@100\n", b"AT x\n", "'x' is not a number"),
        (b"OK 9f31c2@100\n", b"BYE drain soon\n", "'soon' is not a number of milliseconds"),
        (b"OK 9f31c2@100\n", b"|B\n", "neither an event nor a word: b'|B\\n'"),
        (b"OK 9f31c2@100\n", b"ok\n", "neither an event nor a word: b'ok\\n'"),
        (b"OK 100\n", b"", "'100' is not a position"),
    ],
)
def test_what_breaks_the_protocol_is_a_problem(answer: bytes, rest: bytes, problem: str, size: int) -> None:
    cursor = Cursor(50)
    cursor.begin()
    sent = answer + rest
    for at in range(0, len(sent), size):
        cursor.receive(sent[at : at + size])
    assert cursor.problems[:1] == [problem]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"RESUMED 9f31c2@99\n", "RESUMED 9f31c2@99 in answer to after=9f31c2@100"),
        (b"RESUMED 77aa01@101\n", "RESUMED 77aa01@101 in answer to after=9f31c2@100"),
        (b"OK 9f31c2@100\n", "OK 9f31c2@100 in answer to after=9f31c2@100"),
    ],
)
def test_an_answer_to_another_question_is_a_problem(answer: bytes, problem: str) -> None:
    cursor = served()
    cursor.begin()
    cursor.receive(answer)
    assert cursor.problems == [problem]


def test_problems_are_bounded() -> None:
    cursor = served()
    for _ in range(PROBLEMS + 5):
        cursor.receive(b"100|B\n")
    assert len(cursor.problems) == PROBLEMS


def test_a_client_that_has_not_begun_knows_nothing() -> None:
    cursor = Cursor(50)
    assert (cursor.place, cursor.answer, cursor.bye, cursor.error, cursor.is_live) == (None, None, None, "", False)
    cursor.receive(b"101|B\n")
    assert cursor.problems == ["number 101 came before the answer to the registration"]


@pytest.mark.parametrize(("line", "what"), [(b"101|B\n", "number 101"), (b"AT 101\n", "AT 101")])
def test_nothing_comes_before_the_answer_on_the_way_back_either(line: bytes, what: str) -> None:
    cursor = served()
    assert cursor.answer == Position("9f31c2", 100)
    cursor.begin()
    cursor.receive(line)
    assert cursor.problems == [f"{what} came before the answer to the registration"]
    assert cursor.place == Position("9f31c2", 100)


def test_numbers_far_below_the_cursor_and_lines_without_a_number_among_others_are_found() -> None:
    cursor = served()
    cursor.receive(b"7|B\n")
    assert cursor.problems == ["number 7 came after 100"]
    cursor = served()
    cursor.receive(b"101|B\n|B\n")
    assert cursor.problems == ["neither an event nor a word: b'|B\\n'"]
    assert cursor.place == Position("9f31c2", 100)
