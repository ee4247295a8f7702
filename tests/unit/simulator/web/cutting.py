"""Any cutting of the bytes gives the same lines."""

import itertools

from hypothesis import strategies as st

from simulator.wire import Wire


def cuts(most: int = 8) -> st.SearchStrategy[list[float]]:
    """Places to cut, as parts of the whole."""
    return st.lists(st.floats(0, 1), max_size=most)


def pieces(data: bytes, places: list[float]) -> list[bytes]:
    """The data, cut there."""
    ends = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def heard(wire: Wire, parts: list[bytes]) -> tuple[bytes, bytes]:
    """The lines, and what was replied, when these parts come."""
    lines, replies = [], []
    for part in parts:
        lines.append(wire.receive(part))
        replies.append(wire.reply())
    return b"".join(lines), b"".join(replies)


def each_way(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and with a cut at every place."""
    return [
        [data],
        [data[at : at + 1] for at in range(len(data))],
        *([data[:at], data[at:]] for at in range(len(data))),
    ]
