"""Framing gives the same lines whatever the read boundaries are, and holds no more than one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.events import SAMPLE_BYTES
from listener.framing import LineFramer, cut

LIMIT = 100


def frame(pieces: list[bytes]) -> tuple[bytes, list[bytes], bytes]:
    framer = LineFramer(LIMIT)
    lines = b"".join(framer.feed(piece) for piece in pieces)
    return lines, framer.refused, framer.close()


line_bodies = st.one_of(
    st.binary(max_size=120).map(lambda body: body.replace(b"\n", b"")),
    st.integers(LIMIT - 3, LIMIT + 3).map(lambda size: b"x" * size),
)


@given(st.lists(line_bodies), st.booleans(), st.lists(st.integers(1, 400)))
def test_any_read_boundaries_give_the_same(bodies: list[bytes], crlf: bool, cuts: list[int]) -> None:
    end = b"\r\n" if crlf else b"\n"
    lines = [body + end for body in bodies]
    data = b"".join(lines) + b"tail"
    pieces = []
    for size in cuts:
        pieces.append(data[:size])
        data = data[size:]
    pieces.append(data)
    expected = b"".join(line for line in lines if len(line) <= LIMIT)
    refused = [line[:SAMPLE_BYTES] for line in lines if len(line) > LIMIT]
    assert frame(pieces) == (expected, refused, b"tail")


def test_byte_by_byte() -> None:
    data = b"1|B\n" + b"y" * 500 + b"\n2|B\r\n3|"
    assert frame([data[i : i + 1] for i in range(len(data))]) == frame([data])
    assert frame([data]) == (b"1|B\n2|B\r\n", [b"y" * SAMPLE_BYTES], b"3|")


def test_a_line_without_end_is_never_held() -> None:
    framer = LineFramer(LIMIT)
    for _ in range(1000):
        framer.feed(b"z" * 1000)
        assert len(framer._tail) < LIMIT
    assert framer.feed(b"\n1|B\n") == b"1|B\n"
    assert framer.refused == [b"z" * SAMPLE_BYTES]


@pytest.mark.parametrize("limit", [1024, 4096, 65536])
def test_a_line_of_so_many_bytes_is_a_line_and_a_longer_one_is_not(limit: int) -> None:
    framer, line = LineFramer(limit), b"x" * (limit - 1) + b"\n"
    assert framer.feed(line + b"y" + line + line) == line + line
    assert framer.refused == [b"y" + b"x" * 63]


@pytest.mark.parametrize("rest", [b"", b"z", b"zz", b"zzz"])
def test_the_line_after_a_refused_one_counts_wherever_its_end_comes(rest: bytes) -> None:
    framer = LineFramer(LIMIT)
    assert framer.feed(b"z" * 150) == framer.feed(b"z") == b""
    assert framer.feed(rest + b"\n1|B\n2|B\n") == b"1|B\n2|B\n"
    assert framer.refused == [b"z" * SAMPLE_BYTES]


def test_a_line_is_refused_as_soon_as_it_can_not_end_in_time() -> None:
    framer = LineFramer(LIMIT)
    framer.feed(b"z" * (LIMIT - 1))
    assert framer.refused == []
    framer.feed(b"z")
    assert (framer.refused, framer._tail) == ([b"z" * SAMPLE_BYTES], b"")


def test_a_refused_line_leaves_no_tail() -> None:
    framer = LineFramer(LIMIT)
    framer.feed(b"z" * 1000)
    assert framer.close() == b""


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"") + b"\n"), min_size=1),
    st.integers(1, 100),
)
def test_cut_keeps_lines_whole(lines: list[bytes], size: int) -> None:
    chunk = b"".join(lines)
    head, rest = cut(chunk, size)
    assert head + rest == chunk
    assert head.endswith(b"\n")
    after = lines[head.count(b"\n")] if rest else b""
    assert head == lines[0] or len(head) <= size
    assert not rest or len(head) + len(after) > size, "as many lines as fit"


@pytest.mark.parametrize("size", [1, 3, 6, 100])
def test_a_line_without_end_is_not_cut(size: int) -> None:
    assert cut(b"no end", size) == (b"no end", b"")
    assert cut(b"1|B\nno end", 10) == (b"1|B\nno end", b"")
    assert cut(b"1|B\nno end", 9) == (b"1|B\n", b"no end")
