"""What a registration line says, however its bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.control import Position
from fanout.clients.registration import BARE_BYTES, PAIRS_BYTES, Registered, Registration
from runtime.edge.admission import RefusedError

NOT_AN_ID = "a user id is 1 to 20 digits without a leading zero"
NOT_A_PLACE = "after is `now` or <history>@<number>, as in after=9f31c2@70000"
TOO_LONG = f"a registration line has at most {BARE_BYTES} bytes"
TOO_LONG_WITH_PAIRS = f"a registration line has at most {PAIRS_BYTES} bytes"
PLACE = Position(b"9f31c2", 70000)

VALID = [
    (b"50\n", Registered(b"50")),
    (b"50\r\n", Registered(b"50")),
    (b"9" * 20 + b"\n", Registered(b"9" * 20)),
    (b"50 after=now\n", Registered(b"50", opted_in=True)),
    (b"50 after=now\r\n", Registered(b"50", opted_in=True)),
    (b"50 after=9f31c2@70000\n", Registered(b"50", opted_in=True, after=PLACE)),
    (b"50 token=a=b after=9f31c2@70000 later=1\r\n", Registered(b"50", opted_in=True, after=PLACE)),
    (b"50 after=9f31c2@70000 after=now\n", Registered(b"50", opted_in=True, after=PLACE)),
    (b"50 after=x@0\n", Registered(b"50", opted_in=True, after=Position(b"x", 0))),
    (b"50 token=%b after=now\n" % (b"x" * 4000), Registered(b"50", opted_in=True)),
    (b"50 later=1\n", Registered(b"50")),
    (b"1" + b" =" * 2000 + b"\n", Registered(b"1")),
]
REFUSED = [
    (b"abc\n", NOT_AN_ID),
    (b"\n", NOT_AN_ID),
    (b"01\n", NOT_AN_ID),
    (b"1" * 21 + b"\n", NOT_AN_ID),
    (b"1 2\n", NOT_AN_ID),
    (b"50 \n", NOT_AN_ID),
    (b"50  after=now\n", NOT_AN_ID),
    (b"after=now 50\n", NOT_AN_ID),
    (b"after=now\n", NOT_AN_ID),
    (b"01 after=now\n", NOT_AN_ID),
    (b"50 after=\n", NOT_A_PLACE),
    (b"50 after=NOW\n", NOT_A_PLACE),
    (b"50 after=70000\n", NOT_A_PLACE),
    (b"50 after=9f31c2@\n", NOT_A_PLACE),
    (b"50 after=9f31c2@-1\n", NOT_A_PLACE),
    (b"50 after=9f31c2@01\n", NOT_A_PLACE),
    (b"50 after=9f31c2@9007199254740992\n", NOT_A_PLACE),
    (b"50 after=@1\n", NOT_A_PLACE),
    (b"1" * BARE_BYTES, TOO_LONG),
    (b"x" * 70_000, TOO_LONG),
    (b"1" * 21 + b" after=now" + b"x" * BARE_BYTES, TOO_LONG),
    (b"50 " + b"x" * PAIRS_BYTES, TOO_LONG_WITH_PAIRS),
    (b"50 after=now x=" + b"x" * PAIRS_BYTES + b"\n", TOO_LONG_WITH_PAIRS),
]


def fed(pieces: list[bytes]) -> tuple[Registered, bytes] | str | None:
    """What comes out, or the reason for which the line is refused; and nothing before its last byte is there."""
    registration = Registration()
    try:
        for at, piece in enumerate(pieces):
            found = registration.feed(piece)
            assert len(registration) < PAIRS_BYTES
            if found is not None:
                assert b"\n" in piece
                return found[0], found[1] + b"".join(pieces[at + 1 :])
    except RefusedError as refusal:
        return str(refusal)
    return None


@pytest.mark.parametrize(("line", "said"), VALID, ids=lambda value: repr(value)[:40])
def test_what_a_line_says(line: bytes, said: Registered) -> None:
    assert fed([line]) == (said, b"")
    assert fed([bytes([byte]) for byte in line]) == (said, b"")
    assert fed([line + b"BYE\n1|B\n"]) == (said, b"BYE\n1|B\n")
    assert fed([line[:-1]]) is None


@pytest.mark.parametrize(("line", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_what_is_refused(line: bytes, reason: str) -> None:
    assert fed([line]) == reason
    assert fed([bytes([byte]) for byte in line]) == reason
    assert fed([line + b"50\n"]) == reason


@pytest.mark.parametrize("length", [BARE_BYTES - 2, BARE_BYTES - 1, BARE_BYTES])
def test_the_limit_of_a_bare_line(length: int) -> None:
    assert fed([b"x" * length + b"\n"]) == (NOT_AN_ID if length < BARE_BYTES else TOO_LONG)


@pytest.mark.parametrize("length", [PAIRS_BYTES - 2, PAIRS_BYTES - 1, PAIRS_BYTES])
def test_the_limit_of_a_line_with_pairs(length: int) -> None:
    line = b"50 after=now x=".ljust(length, b"x") + b"\n"
    expected = (Registered(b"50", opted_in=True), b"") if length < PAIRS_BYTES else TOO_LONG_WITH_PAIRS
    assert fed([line]) == expected


words = st.sampled_from(
    [b"50", b"1", b" ", b" ", b"after=", b"after=now", b"9f31c2@1", b"token=x", b"\r", b"\n", b"\xff", b"=", b"@", b"0"]
)


@given(st.lists(words, max_size=12).map(b"".join), st.lists(st.integers(1, 8), max_size=20))
def test_cuts_change_nothing(data: bytes, sizes: list[int]) -> None:
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    whole = fed([data])
    assert fed([piece for piece in (*pieces, rest) if piece]) == whole
    if whole is None:
        assert b"\n" not in data
