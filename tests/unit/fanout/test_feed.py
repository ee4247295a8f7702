"""Messages become batches in order; a missing one is noticed; what came early is not lost."""

import pytest

from contract.frames import Frame, Place
from contract.keys import Keys
from contract.redis_link import RedisLink
from fanout.feed import Feed, FrameLostError, Messages

KEYS = Keys("t")


def a_frame(batch: int, safe: int | None = None) -> Frame:
    return Frame(batch, b"1-0", 0, 1, Place(b"e", b"d@0"), batch if safe is None else safe)


class Rig:
    """A feed on a link that goes nowhere; what it hands out is collected."""

    def __init__(self) -> None:
        self.link = RedisLink(5.0)
        self.batches: list[tuple[int, Messages]] = []
        self.feed = Feed(self.link, KEYS, 5.0, lambda frame, messages: self.batches.append((frame.batch, messages)))

    def publish(self, batch: int, safe: int | None = None, **messages: bytes) -> None:
        assert self.link.on_message is not None
        for user, lines in messages.items():
            self.link.on_message([b"message", (KEYS.user + user.removeprefix("u")).encode(), lines])
        self.link.on_message([b"message", KEYS.broadcast.encode(), a_frame(batch, safe).encode()])

    def confirm(self, batch: int) -> None:
        assert self.link.on_message is not None
        self.link.on_message([b"message", KEYS.broadcast.encode(), b"safe=%d" % batch])

    def go_on(self, last: int) -> None:
        self.feed.catch_up_from(last)
        self.feed.go_on()


async def test_batches_in_order_with_their_messages() -> None:
    rig = Rig()
    rig.go_on(4)
    rig.publish(5, u1=b"a\n", u2=b"b\n")
    rig.publish(6)
    assert rig.batches == [(5, {b"1": b"a\n", b"2": b"b\n"}), (6, {})]
    assert rig.feed.last_batch == 6


async def test_early_batches_wait_and_those_known_already_are_dropped() -> None:
    rig = Rig()
    for batch in (4, 5, 6, 7):
        rig.publish(batch, u1=b"%d\n" % batch)
    assert rig.batches == []
    rig.go_on(5)
    assert rig.batches == [(6, {b"1": b"6\n"}), (7, {b"1": b"7\n"})]


@pytest.mark.parametrize("batch", [4, 5, 7])
async def test_any_other_number_than_the_next_one_fails(batch: int) -> None:
    rig = Rig()
    rig.go_on(5)
    rig.publish(batch)
    rig.publish(6)
    assert rig.batches == []
    with pytest.raises(FrameLostError, match="batch 6 is missing"):
        rig.feed.failed.result()


async def test_batches_read_elsewhere_come_before_those_that_came_early() -> None:
    rig = Rig()
    rig.publish(6)
    rig.publish(7)
    rig.feed.catch_up_from(3)
    for batch in (4, 5, 6):
        rig.feed.take(a_frame(batch), {})
    rig.feed.go_on()
    assert [batch for batch, _ in rig.batches] == [4, 5, 6, 7]


async def test_what_is_not_safe_is_held() -> None:
    rig = Rig()
    rig.go_on(4)
    rig.publish(5, safe=0)
    rig.publish(6, safe=0)
    assert rig.batches == []
    rig.confirm(5)
    assert [batch for batch, _ in rig.batches] == [5]
    rig.publish(7, safe=6)
    assert [batch for batch, _ in rig.batches] == [5, 6]
    rig.confirm(7)
    assert [batch for batch, _ in rig.batches] == [5, 6, 7]
    assert not rig.feed.failed.done()
