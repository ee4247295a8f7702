"""Frames and stream ids survive the way there and back, and sort as Redis sorts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.frames import Frame, Lineage, after, differ, stream_id

ids = st.tuples(st.integers(0, 2**48), st.integers(0, 2**32)).map(lambda pair: b"%d-%d" % pair)


@given(
    st.integers(1),
    ids,
    st.integers(1),
    st.sampled_from([(), (b"a",), (b"a", b"b-1"), (b"a=b=c",)]),
    st.sampled_from([b"", b"1|B\n2|B\r\n"]),
)
def test_there_and_back(batch: int, cursor: bytes, number: int, gone: tuple[bytes, ...], lines: bytes) -> None:
    frame = Frame(batch, cursor, 7, number, Lineage(b"e2", b"e1@3"), batch - 1, gone, lines)
    assert Frame.decode(frame.encode()) == frame


def test_a_frame_reads_plainly() -> None:
    frame = Frame(42, b"17-0", 17, 70001, Lineage(b"c81d04", b"51e07a@40", b"9f31c2"), 42, (), b"69998|B\n")
    header = b"batch=42 cursor=17-0 since=17 next=70001 epoch=c81d04 after=51e07a@40 safe=42 gone= history=9f31c2"
    assert frame.encode() == header + b"\n69998|B\n"


HEADER = b"batch=42 cursor=17-0 since=17 next=70001 epoch=9f31c2 after=51e07a@40 safe=42 gone=n-1"


@pytest.mark.parametrize(
    "header", [HEADER + b" zone=west", b"zone=west " + HEADER, HEADER.replace(b" next", b" x next")]
)
def test_a_frame_with_more_pairs_is_understood(header: bytes) -> None:
    expected = Frame(42, b"17-0", 17, 70001, Lineage(b"9f31c2", b"51e07a@40"), 42, (b"n-1",), b"69998|B\n")
    assert Frame.decode(header + b"\n69998|B\n") == expected


def test_a_frame_of_an_older_version_has_no_history() -> None:
    assert Frame.decode(HEADER + b"\n").lineage.history == b""
    assert Frame.decode(HEADER + b" history=a7\n").lineage.history == b"a7"
    with pytest.raises(ValueError, match="not a frame"):
        Frame.decode(HEADER + b" history=a|7\n")


@pytest.mark.parametrize(
    ("one", "other", "they_differ"),
    [(b"a", b"b", True), (b"a", b"a", False), (b"", b"a", False), (b"a", b"", False), (b"", b"", False)],
)
def test_histories_differ_when_both_are_known(one: bytes, other: bytes, they_differ: bool) -> None:
    assert differ(one, other) == they_differ


@pytest.mark.parametrize("name", [b"batch", b"cursor", b"since", b"next", b"epoch", b"after", b"safe", b"gone"])
def test_a_frame_that_lacks_a_pair_is_refused(name: bytes) -> None:
    pairs = [pair for pair in HEADER.split(b" ") if not pair.startswith(name + b"=")]
    with pytest.raises(ValueError, match="not a frame"):
        Frame.decode(b" ".join(pairs) + b"\n")


@pytest.mark.parametrize(
    ("epoch", "batch", "continues"),
    [
        (b"new", 41, True),  # within one term
        (b"old", 41, False),  # this node has written a batch that the new term does not know
        (b"old", 40, False),  # 41 lies between
        (b"new", 40, False),
        (b"old", 42, False),
        (b"new", 42, False),
        (b"new", 43, False),  # this node is ahead
    ],
)
def test_a_frame_within_a_term_continues_its_own_epoch_only(epoch: bytes, batch: int, continues: bool) -> None:
    assert Frame(42, b"1-0", 0, 1, Lineage(b"new", b"old@40"), 42).continues(epoch, batch) == continues


@pytest.mark.parametrize(("epoch", "continues"), [(b"old", True), (b"new", True), (b"other", False), (b"", False)])
def test_the_first_frame_of_a_term_continues_the_epoch_before(epoch: bytes, continues: bool) -> None:
    assert Frame(41, b"1-0", 0, 1, Lineage(b"new", b"old@40"), 41).continues(epoch, 40) == continues


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"batch=x cursor=1-0 since=0 next=1 epoch= after=@0 safe=1 gone=\n", b"batch=1\n"]
)
def test_what_is_no_frame(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        Frame.decode(payload)


@given(ids)
def test_after_is_the_next_id(cursor: bytes) -> None:
    milliseconds, sequence = stream_id(cursor)
    assert stream_id(after(cursor)) == (milliseconds, sequence + 1)
