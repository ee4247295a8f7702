"""What each client must receive, worked out from the rules of the protocol alone.

For each client the oracle records which events of a block it must receive; broadcasts, which go to everyone, are
kept once. The client's bytes are then the block's broadcasts with the client's other lines inserted in sequence.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from simulator.workload import Block


@dataclass(slots=True)
class Expected:
    """What one client must receive: size, checksum, lines and, if they are kept, the bytes themselves."""

    size: int = 0
    checksum: int = 0
    lines: int = 0
    pieces: list[bytes] = field(default_factory=list)

    @property
    def bytes(self) -> bytes:
        return b"".join(self.pieces)


class Oracle:
    """Follows the sequence for a set of clients (user ids); `keep`: keep the expected bytes as well."""

    def __init__(self, clients: Iterable[int], keep: bool = False) -> None:
        self.expected = {client: Expected() for client in clients}
        self.followers: dict[int, set[int]] = {}
        self._keep = keep

    def feed(self, block: Block) -> None:
        """Process the next block."""
        recipients: dict[int, list[int]] = {client: [] for client in self.expected}
        self._follow(block, recipients)
        texts = [line if kind == "B" else "" for kind, line in zip(block.kinds, block.lines, strict=True)]
        offsets = [0, *accumulate(map(len, texts))]
        broadcasts = "".join(texts).encode("latin-1")
        count = block.kinds.count("B")
        lines = [line.encode("latin-1") for line in block.lines]
        for client, indexes in recipients.items():
            text = _interleave(broadcasts, offsets, lines, indexes)
            expected = self.expected[client]
            expected.size += len(text)
            expected.lines += count + len(indexes)
            expected.checksum = zlib.crc32(text, expected.checksum)
            if self._keep:
                expected.pieces.append(text)

    def _follow(self, block: Block, recipients: dict[int, list[int]]) -> None:
        followers = self.followers
        add: dict[int, Callable[[int], None]] = {client: own.append for client, own in recipients.items()}
        events = zip(block.kinds, block.origins, block.targets, strict=True)
        for index, (kind, origin, target) in enumerate(events):
            if kind == "S":
                for client in followers.get(origin, ()):
                    add[client](index)
            elif kind == "P":
                if target in add:
                    add[target](index)
            elif kind == "F":
                if origin in add:
                    followers.setdefault(target, set()).add(origin)
                if target in add:
                    add[target](index)
            elif kind == "U" and origin in add and target in followers:
                followers[target].discard(origin)


def _interleave(broadcasts: bytes, offsets: list[int], lines: list[bytes], indexes: list[int]) -> bytes:
    pieces, done = [], 0
    for index in indexes:
        here = offsets[index]
        if here != done:
            pieces.append(broadcasts[done:here])
            done = here
        pieces.append(lines[index])
    pieces.append(broadcasts[done:])
    return b"".join(pieces)
