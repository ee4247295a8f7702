"""Control lines: words, pairs in any order, positions."""

import pytest

from contract.control import Position, split
from contract.events import MAX_SEQUENCE


def test_words_and_pairs() -> None:
    assert split(b"HELLO acks=1 producer=orders-7") == ([b"HELLO"], {b"acks": b"1", b"producer": b"orders-7"})
    assert split(b"50 later=x after=now") == ([b"50"], {b"later": b"x", b"after": b"now"})
    assert split(b"BYE") == ([b"BYE"], {})


def test_a_value_may_have_an_equals_sign_and_the_first_pair_of_a_name_counts() -> None:
    assert split(b"50 token=YWJj= token=x") == ([b"50"], {b"token": b"YWJj="})


@pytest.mark.parametrize("text", [b"9f31c2@70000", b"a@0", b"Z9@1", b"h@%d" % MAX_SEQUENCE])
def test_a_position_is_what_it_was_written_as(text: bytes) -> None:
    assert bytes(Position.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [b"", b"@", b"@1", b"a@", b"a@01", b"a@-1", b"a@+1", b"a b@1", b"a@1@2", b"a@1\r", b"a@%d" % (MAX_SEQUENCE + 1),
     b"a@\xd9\xa1", b"a" * 65 + b"@1"],
)  # fmt: skip
def test_what_is_no_position(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)
