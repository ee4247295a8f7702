"""What a request to publish asks for, and which ones make no sense."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from listener.asked import Asked, RefusedError, asked

MOST = 1000
NAMES = ["Content-Length", "Transfer-Encoding", "Content-Encoding", "Parade-Producer", "Parade-First-Line"]


def of(*headers: tuple[str, str]) -> Asked:
    return asked(CIMultiDict(headers), MOST)


def test_a_body_of_anybody() -> None:
    assert of(("content-length", "0")) == Asked(0, "", 1)
    assert of(("Content-Length", "1000"), ("Content-Encoding", "identity")) == Asked(1000)


def test_a_body_of_a_producer() -> None:
    found = of(("Content-Length", "5"), ("parade-producer", "orders-7"), ("parade-first-line", "341"))
    assert found == Asked(5, "orders-7", 341)


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ([], 411, "send Content-Length"),
        ([("Transfer-Encoding", "chunked")], 411, "not Transfer-Encoding"),
        ([("Content-Length", "5"), ("Transfer-Encoding", "chunked")], 411, "not Transfer-Encoding"),
        ([("Content-Length", "5"), ("Content-Length", "5")], 400, "more than one Content-Length"),
        ([("Content-Length", "-5")], 400, "not a number"),
        ([("Content-Length", "+5")], 400, "not a number"),
        ([("Content-Length", "5, 5")], 400, "not a number"),
        ([("Content-Length", "²")], 400, "not a number"),
        ([("Content-Length", "1001")], 413, "at most 1000 bytes"),
        ([("Content-Length", "9" * 18)], 413, "at most 1000 bytes"),
        ([("Content-Length", "5"), ("Content-Encoding", "gzip")], 400, "without Content-Encoding"),
        ([("Content-Length", "5"), ("Parade-Producer", "a")], 400, "belong together"),
        ([("Content-Length", "5"), ("Parade-First-Line", "1")], 400, "belong together"),
        ([("Content-Length", "5"), ("Parade-Producer", ""), ("Parade-First-Line", "1")], 400, "1 to 64"),
        ([("Content-Length", "5"), ("Parade-Producer", "a b"), ("Parade-First-Line", "1")], 400, "1 to 64"),
        ([("Content-Length", "5"), ("Parade-Producer", "a\udcff"), ("Parade-First-Line", "1")], 400, "1 to 64"),
        ([("Content-Length", "5"), ("Parade-Producer", "a"), ("Parade-First-Line", "0")], 400, "counted from 1"),
        ([("Content-Length", "5"), ("Parade-Producer", "a"), ("Parade-First-Line", "1" * 16)], 400, "counted from 1"),
        ([("Content-Length", "5"), ("Parade-Producer", "a"), ("Parade-Producer", "b")], 400, "more than one"),
    ],
)
def test_what_makes_no_sense(headers: list[tuple[str, str]], status: int, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        of(*headers)
    assert refused.value.status == status
    assert reason in refused.value.reason


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=20) | st.sampled_from(["1", "999", "chunked"]))))
def test_any_headers_are_understood_or_refused(headers: list[tuple[str, str]]) -> None:
    with contextlib.suppress(RefusedError):
        found = of(*headers)
        assert 0 <= found.length <= MOST
        assert found.first >= 1
        assert len(found.producer) <= 64
