"""What a request to publish asks for, by its headers. Pure.

    POST /events HTTP/1.1
    Content-Length: 33
    Parade-Producer: orders-7
    Parade-First-Line: 341

Rules kept here:

- A body says its length beforehand, so who sends too much is told so at once, and no request has two ends.
- A producer's lines have numbers: without the first one's a repeated request could not be known.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from multidict import MultiMapping

from listener.hello import NO_NAME, is_name

PRODUCER: Final = "Parade-Producer"
FIRST_LINE: Final = "Parade-First-Line"

_is_number = re.compile(r"[1-9][0-9]{0,14}").fullmatch
_is_length = re.compile(r"[0-9]{1,18}").fullmatch


@dataclass(frozen=True, slots=True)
class Asked:
    """Take a body of `length` bytes; `first` is the number of its first line among those of `producer`."""

    length: int
    producer: str = ""
    first: int = 1


@dataclass(slots=True)
class RefusedError(Exception):
    """The request is not served: its status, and the reason for its sender. `facts` go into the answer beside that."""

    status: int
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


def asked(headers: MultiMapping[str], most_bytes: int) -> Asked:
    """What the headers of a POST ask for. RefusedError when that makes no sense, or is too much."""
    if (coding := _one(headers, "Content-Encoding")) not in (None, "identity"):
        raise RefusedError(400, f"a body is plain lines, and not {coding!r}: send it without Content-Encoding")
    length = _one(headers, "Content-Length")
    if length is None or "Transfer-Encoding" in headers:
        raise RefusedError(411, "the length of the body is missing: send Content-Length, and not Transfer-Encoding")
    if not _is_length(length):
        raise RefusedError(400, "Content-Length is not a number")
    if int(length) > most_bytes:
        raise RefusedError(413, f"a body has at most {most_bytes} bytes: send its lines in several requests")
    return Asked(int(length), *_producer(headers))


def _producer(headers: MultiMapping[str]) -> tuple[str, int]:
    producer, first = _one(headers, PRODUCER), _one(headers, FIRST_LINE)
    if producer is None and first is None:
        return "", 1
    if producer is None or first is None:
        raise RefusedError(400, f"{PRODUCER} and {FIRST_LINE} belong together: send both of them, or none")
    if not is_name(producer.encode(errors="replace")):
        raise RefusedError(400, f"{PRODUCER}: {NO_NAME}")
    if not _is_number(first):
        raise RefusedError(400, f"{FIRST_LINE} is the number of the body's first line, counted from 1")
    return producer, int(first)


def _one(headers: MultiMapping[str], name: str) -> str | None:
    """The value of a header; None when it is not there."""
    values = headers.getall(name, [])
    if len(values) > 1:
        raise RefusedError(400, f"there is more than one {name} header")
    return values[0] if values else None
