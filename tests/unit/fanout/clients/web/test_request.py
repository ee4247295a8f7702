"""What a request asks for, however its bytes come, and which ones are refused."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.control import Position
from fanout.clients.registration import Registered
from fanout.clients.web.request import HEAD_BYTES, NotServedError, Request, RequestHead, registered

HEAD = b"GET /events?user=50 HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nLast-Event-ID: x@7\r\n\r\n"
LOOP = asyncio.new_event_loop()


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Iterator[None]:
    yield
    LOOP.close()


def request(data: bytes) -> Request:
    found = RequestHead(LOOP).feed(data)
    assert found is not None
    return found


def with_query(query: str, last_event_id: str = "") -> Request:
    header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
    return request(f"GET /events?{query} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())


@given(st.lists(st.integers(1, len(HEAD)), max_size=6).map(sorted))
def test_a_head_may_come_in_pieces(cuts: list[int]) -> None:
    head = RequestHead(LOOP)
    pieces = [HEAD[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(HEAD)], strict=True)]
    found = [head.feed(piece) for piece in pieces if piece]
    assert found[:-1] == [None] * (len(found) - 1)
    last = found[-1]
    assert last is not None
    assert (last.method, last.path, last.query) == ("GET", "/events", "user=50")
    assert (last.origin, last.last_event_id, last.head, last.rest) == ("https://a.example", "x@7", HEAD, b"")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /events HTTP/1.1\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /events HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\n\r\nGET /events HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nOrigin: a\r\nOrigin: b\r\n\r\n", 400),
        (b"GET /events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a@1\r\nLast-Event-ID: a@2\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"50\n", 400),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", 400),
        (b"GET /events HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n1|B\n", 405),
        (b"HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /events/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET http://a/events HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
)
def test_what_is_not_served(head: bytes, status: int) -> None:
    with pytest.raises(NotServedError) as refused:
        request(head)
    assert refused.value.status == status


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_head_is_bounded_however_it_comes(size: int) -> None:
    head, fed = RequestHead(LOOP), 0
    data = b"GET /events HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"1" * 90) for n in range(99))
    while fed <= HEAD_BYTES - size:
        assert head.feed(data[fed : fed + size]) is None
        fed += size
    with pytest.raises(NotServedError) as refused:
        head.feed(data[fed : fed + size])
    assert refused.value.status == 431


def test_who_wants_events() -> None:
    at = Position(b"9f31c2", 7)
    assert registered(with_query("user=50")) == Registered(b"50", opted_in=True)
    assert registered(with_query("user=50&after=now&token=x")) == Registered(b"50", opted_in=True)
    assert registered(with_query("user=50&after=9f31c2@7")) == Registered(b"50", opted_in=True, after=at)
    assert registered(with_query("user=50&after=9f31c2%407")) == Registered(b"50", opted_in=True, after=at)
    assert registered(with_query("user=50&after=x@1", "9f31c2@7")) == Registered(b"50", opted_in=True, after=at)
    assert registered(with_query("user=50&user=60")) == Registered(b"50", opted_in=True)


@pytest.mark.parametrize(
    "query",
    ["", "user=", "user=0", "user=a", "user=50%20after=now", "user=50&after=x", "user=50&after=a@1%20b=c", "u=5"],
)
def test_who_makes_no_sense(query: str) -> None:
    with pytest.raises(NotServedError) as refused:
        registered(with_query(query))
    assert refused.value.status == 400
