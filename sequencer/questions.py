"""What computing a batch has to ask Redis. Pure: `sequencer/graph.py` answers.

A computation that may have questions is a generator: it yields each question and is sent the answer, so it stays
synchronous and can be tested without Redis. While it runs nothing else of the term does.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownNodes:
    """Which of these nodes belong to the deployment? One may have been expelled since it wrote. list[bytes]"""

    nodes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class FollowingCounts:
    """How many authors does each user follow? list[int]"""

    users: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Following:
    """Which authors does each user follow? list[list[bytes]]"""

    users: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ScanFollowing:
    """About `count` of the authors whom a user follows, and the cursor to continue from (`0` at the end).
    tuple[bytes, list[bytes]]"""

    user: bytes
    cursor: bytes
    count: int


@dataclass(frozen=True, slots=True)
class FollowerCounts:
    """How many followers does each author have? list[int]"""

    authors: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class FollowersAmong:
    """For each (author, users): which of the users follow the author? With None: all who do. list[list[bytes]]"""

    pairs: Sequence[tuple[bytes, list[bytes] | None]]


Question = KnownNodes | FollowingCounts | Following | ScanFollowing | FollowerCounts | FollowersAmong
Asking = Generator[Question, Any, T]
"""A computation that may have questions, and ends with a T."""
