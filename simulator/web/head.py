"""The head of an HTTP answer, and the text of a refusal. Pure: bytes in."""

import re
from typing import Final

BEGINNING: Final = b"HTTP/1.1 "
END: Final = b"\r\n\r\n"
MOST_BYTES: Final = 16 * 1024

_STATUS = re.compile(r"HTTP/1\.1 ([1-5][0-9][0-9]) [^\r\n]*")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")


class Head:
    """The status and the fields of an answer; `rest` is what came behind them."""

    def __init__(self) -> None:
        self.status = 0
        """0 until the head is whole."""
        self.fields: dict[str, str] = {}
        """By their names in small letters."""
        self.rest = b""

    @property
    def is_whole(self) -> bool:
        return self.status > 0

    def says(self, status: int) -> bool:
        """Whether the head is whole, and has this status."""
        return self.status == status

    def feed(self, data: bytes) -> bool:
        """Whether the head is whole now. ValueError when it is none."""
        self.rest += data
        if not self.rest.startswith(BEGINNING[: len(self.rest)]):
            raise ValueError(f"{self.rest[:60]!r} is not the beginning of an HTTP/1.1 answer")
        head, end, rest = self.rest.partition(END)
        if len(head) > MOST_BYTES:
            raise ValueError(f"the head of the answer has over {MOST_BYTES:,} bytes")
        if not end:
            return False
        first, *fields = head.decode("latin-1").split("\r\n")
        found = _STATUS.fullmatch(first)
        if not found:
            raise ValueError(f"{first[:60]!r} is no status")
        for line in fields:
            self._field(line)
        self.status, self.rest = int(found[1]), rest
        return True

    def _field(self, line: str) -> None:
        field = _FIELD.fullmatch(line)
        if not field:
            raise ValueError(f"{line[:60]!r} is not a header field")
        name = field[1].lower()
        if name in self.fields:
            raise ValueError(f"the field {name} came twice")
        self.fields[name] = field[2]

    def must_be(self, name: str, value: str) -> None:
        """ValueError unless the field has this value, in small or capital letters."""
        if self.fields.get(name, "").lower() != value.lower():
            raise ValueError(f"the answer has {name}: {self.fields.get(name, '')[:60]!r} instead of {value!r}")

    def must_not_be(self, *names: str) -> None:
        """ValueError if one of these fields is there."""
        for name in names:
            if name in self.fields:
                raise ValueError(f"the answer has {name}: {self.fields[name][:60]!r}")


class Refusal:
    """An answer that is not the one that was asked for: its status, and the one line of text in it."""

    def __init__(self, head: Head) -> None:
        length = head.fields.get("content-length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= MOST_BYTES):
            raise ValueError(f"status {head.status} has no text of a known length")
        self._status, self._wait_s = head.status, head.fields.get("retry-after", "")
        self._left, self._text = int(length), b""

    def feed(self, data: bytes) -> bytes:
        """The line that says the same over TCP, once the text is whole. ValueError when there is more."""
        was_whole = not self._left and self._text
        self._text, self._left = self._text + data, self._left - len(data)
        if self._left < 0:
            raise ValueError(f"there is more behind the text of status {self._status}")
        if self._left or was_whole:
            return b""
        later = f" (Retry-After: {self._wait_s})" if self._wait_s else ""
        reason = " ".join(self._text.decode("utf-8", "replace").split())
        return f"ERROR HTTP {self._status}{later} {reason}\n".encode()
