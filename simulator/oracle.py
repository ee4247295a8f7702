"""What each client must receive, worked out from the rules of the protocol alone.

For every client the oracle notes which events of a block concern it; broadcasts, which concern all, are
kept once. A client's bytes are then the block's broadcast text with its own lines put in at their places.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from simulator.workload import Block


@dataclass(slots=True)
class Expected:
    """What one client must receive: how much, its checksum and, when kept, the bytes themselves."""

    size: int = 0
    checksum: int = 0
    lines: int = 0
    pieces: list[bytes] = field(default_factory=list)

    @property
    def bytes(self) -> bytes:
        return b"".join(self.pieces)


class Oracle:
    """Follows the sequence for a set of clients (user ids). `keep` keeps the expected bytes too."""

    def __init__(self, clients: Iterable[int], keep: bool = False) -> None:
        self.expected = {client: Expected() for client in clients}
        self.followers: dict[int, set[int]] = {}
        self._keep = keep

    def feed(self, block: Block) -> None:
        """Take the next block into account."""
        concerns: dict[int, list[int]] = {client: [] for client in self.expected}
        self._follow(block, concerns)
        texts = [line if kind == "B" else "" for kind, line in zip(block.kinds, block.lines, strict=True)]
        offsets = [0, *accumulate(map(len, texts))]
        broadcasts = "".join(texts).encode()
        count = block.kinds.count("B")
        lines = [line.encode() for line in block.lines]
        for client, indexes in concerns.items():
            text = _woven(broadcasts, offsets, lines, indexes)
            expected = self.expected[client]
            expected.size += len(text)
            expected.lines += count + len(indexes)
            expected.checksum = zlib.crc32(text, expected.checksum)
            if self._keep:
                expected.pieces.append(text)

    def _follow(self, block: Block, concerns: dict[int, list[int]]) -> None:
        followers = self.followers
        notes: dict[int, Callable[[int], None]] = {client: own.append for client, own in concerns.items()}
        events = zip(block.kinds, block.origins, block.targets, strict=True)
        for index, (kind, origin, target) in enumerate(events):
            if kind == "S":
                for client in followers.get(origin, ()):
                    notes[client](index)
            elif kind == "P":
                if target in notes:
                    notes[target](index)
            elif kind == "F":
                if origin in notes:
                    followers.setdefault(target, set()).add(origin)
                if target in notes:
                    notes[target](index)
            elif kind == "U" and origin in notes and target in followers:
                followers[target].discard(origin)


def _woven(broadcasts: bytes, offsets: list[int], lines: list[bytes], indexes: list[int]) -> bytes:
    pieces, done = [], 0
    for index in indexes:
        here = offsets[index]
        if here != done:
            pieces.append(broadcasts[done:here])
            done = here
        pieces.append(lines[index])
    pieces.append(broadcasts[done:])
    return b"".join(pieces)
