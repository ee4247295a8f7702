"""Frames and stream ids survive the way there and back, and sort as Redis sorts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.frames import Frame, after, stream_id

ids = st.tuples(st.integers(0, 2**48), st.integers(0, 2**32)).map(lambda pair: b"%d-%d" % pair)


@given(
    st.integers(1),
    ids,
    st.integers(1),
    st.sampled_from([(), (b"a",), (b"a", b"b-1")]),
    st.sampled_from([b"", b"1|B\n2|B\r\n"]),
)
def test_there_and_back(batch: int, cursor: bytes, number: int, gone: tuple[bytes, ...], lines: bytes) -> None:
    frame = Frame(batch, cursor, number, gone, lines)
    assert Frame.decode(frame.encode()) == frame


def test_a_frame_reads_plainly() -> None:
    assert Frame(42, b"17-0", 70001, (), b"69998|B\n").encode() == b"batch=42 cursor=17-0 next=70001 gone=\n69998|B\n"


@pytest.mark.parametrize("payload", [b"", b"hello", b"batch=x cursor=1-0 next=1 gone=\n", b"batch=1\n"])
def test_what_is_no_frame(payload: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        Frame.decode(payload)


@given(ids)
def test_after_is_the_next_id(cursor: bytes) -> None:
    milliseconds, sequence = stream_id(cursor)
    assert stream_id(after(cursor)) == (milliseconds, sequence + 1)
