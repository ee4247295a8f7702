"""What peers send is shown as text that can do nothing, and that says exactly what was sent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.printable import printable, printable_all

ESCAPES = r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}"
ODD = st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Mn", "Po"))
LITERALS = st.sampled_from(["\\", "\\x1b", "\\u202e", "\\x5c", "x1b", "u20", "\\x", "\x1b[2J", "é", "[red]"])
TEXTS = st.lists(st.one_of(st.text(), st.text(ODD), LITERALS)).map("".join)
BYTES = st.one_of(st.binary(), TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))


def as_sent(shown: str) -> str:
    """The text that is shown so, read by the rules alone."""

    def character(found: "re.Match[str]") -> str:
        code = int(found[0][2:], 16)
        return chr(code + 0xDC00 if found[0][1] == "x" and code >= 0x80 else code)

    return re.sub(ESCAPES, character, shown)


@given(TEXTS)
def test_only_printable_characters_come_out_and_tell_the_text(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()  # no lone surrogate
    assert as_sent(shown) == text


@given(BYTES)
def test_only_printable_characters_come_out_and_tell_the_bytes(data: bytes) -> None:
    shown = printable(data)
    assert shown.isprintable()
    assert as_sent(shown).encode("utf-8", "surrogateescape") == data


@given(BYTES, BYTES)
def test_different_bytes_are_shown_differently(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"1|X|caf\xc3\xa9 [red] C:\\temp\\n", "1|X|café [red] C:\\temp\\n"),
        (b"\x1b[2J\x00\t\r\n\x7f", r"\x1b[2J\x00\x09\x0d\x0a\x7f"),
        (b"\x9b2J", r"\x9b2J"),
        ("\x9b2J", r"\u009b2J"),
        (b"\xc2\x9b2J", r"\u009b2J"),
        ("\u202eevil\u2069\u200f\u061c", r"\u202eevil\u2069\u200f\u061c"),
        ("\u2028\u2029\u200b\ufeff\u00ad\u00a0", r"\u2028\u2029\u200b\ufeff\u00ad\u00a0"),
        ("\ud800", r"\ud800"),
        ("\U000e0041\u3164\ufe0f", r"\U000e0041\u3164\ufe0f"),
        (r"\x1b", r"\x5cx1b"),
        (r"\x5c", r"\x5cx5c"),
        (r"\x1 \u12 \\x", r"\x1 \u12 \\x"),
        ("", ""),
    ],
)
def test_how_it_looks(sent: str | bytes, shown: str) -> None:
    assert printable(sent) == shown


def test_everything_that_json_holds() -> None:
    found = printable_all({"\x1b": ["\x9b", b"\x9b", 1, None, True, {"a": "\u202e"}]})
    assert found == {r"\x1b": [r"\u009b", r"\x9b", 1, None, True, {"a": r"\u202e"}]}
