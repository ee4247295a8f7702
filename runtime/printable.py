r"""Bytes of peers as text that is safe to show: on a terminal, in a log, on a page. Pure.

Rules kept here:

- Only visible characters come out. Controls (C0, DEL, C1), bidirectional controls, zero-width characters, separators of
  lines and paragraphs, blanks other than the space, lone surrogates and bytes that are not UTF-8 become escapes.
- An escape is `\xHH` for a byte or a character below 0x80, `\uHHHH` or `\UHHHHHHHH` for any other character.
- Different input gives different text. A backslash that would read as the beginning of an escape becomes `\x5c`; any
  other stays, so that a path or a quoted text looks as it did.

So text must be escaped exactly once, where it is read from a peer or where it is shown: escaping it again would escape
the escapes.
"""

import re
from typing import Any

INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Characters that are invisible although Unicode counts them as printable: fillers, variation selectors."""
ESCAPED = re.compile(rf"[{INVISIBLE}]|\\(?=x[0-9a-f]{{2}}|u[0-9a-f]{{4}}|U[0-9a-f]{{8}})")


def printable(value: str | bytes) -> str:
    """Text that can be shown anywhere, and that determines the exact input."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if text.isprintable() and not ESCAPED.search(text):
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in ESCAPED.sub(_escape_match, text))


def printable_all(value: Any) -> Any:
    """The same for every text in what JSON can hold, names of fields included."""
    if isinstance(value, str | bytes):
        return printable(value)
    if isinstance(value, dict):
        return {printable_all(name): printable_all(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [printable_all(each) for each in value]
    return value


def _escape_match(found: "re.Match[str]") -> str:
    return _escape(found[0])


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
