"""Messages become batches in order; a missing one is noticed; what came early is not lost."""

import asyncio
from typing import Any, cast

import pytest

from contract.frames import Frame, Lineage
from fanout.upstream.feed import Feed, FrameLostError
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink
from runtime.settings import load
from tests.support.batches import Kept

KEYS = load(namespace="t").keys


def a_frame(batch: int, safe: int | None = None, history: bytes = b"") -> Frame:
    return Frame(batch, b"1-0", 0, 1, Lineage(b"e", b"d@0", history), batch if safe is None else safe)


class Link(RedisLink):
    """A link that goes nowhere; what is sent is collected."""

    def __init__(self) -> None:
        super().__init__(5.0)
        self.sent: list[tuple[bytes | str, ...]] = []
        self._reads = asyncio.Event()
        self._reads.set()

    @property
    def is_paused(self) -> bool:
        return not self._reads.is_set()

    def pause(self) -> None:
        self._reads.clear()

    def resume(self) -> None:
        self._reads.set()

    async def resumed(self) -> None:
        await asyncio.wait_for(self._reads.wait(), 5)

    def send(self, *command: bytes | str) -> None:
        self.sent.append(command)


NODE = "node-1"


class Log:
    """Collects warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **fields: object) -> None:
        self.warnings.append((event, fields))


class Rig:
    """A feed on a link that goes nowhere; what it hands out is collected."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.link = Link()
        self.receiver = Kept()
        self.batches = self.receiver.batches
        settings = load(namespace="t").model_copy(update={"redis_timeout_s": timeout_s})
        self.log = Log()
        self.feed = Feed(Context(settings, log=cast(Any, self.log)), NODE, self.link, self.receiver)

    def publish(self, batch: int, safe: int | None = None, history: bytes = b"", **messages: bytes) -> None:
        assert self.link.on_message is not None
        for user, lines in messages.items():
            self.link.on_message([b"message", (KEYS.user + user.removeprefix("u")).encode(), lines])
        self.link.on_message([b"message", KEYS.broadcast.encode(), a_frame(batch, safe, history).encode()])

    def confirm(self, batch: int) -> None:
        assert self.link.on_message is not None
        self.link.on_message([b"message", KEYS.broadcast.encode(), b"safe=%d" % batch])

    async def subscribed(self, *channels: bytes) -> None:
        """Redis confirms channels, one by one."""
        assert self.link.on_message is not None
        for number, channel in enumerate(channels, 1):
            self.link.on_message([b"subscribe", channel, number])
        for _ in range(3):
            await asyncio.sleep(0)

    def go_on(self, last: int) -> None:
        self.feed.catch_up_from(last)
        self.feed.catch_up_ends()


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
    assert rig.feed.last_batch == 5
    with pytest.raises(FrameLostError, match="batch 6 is missing"):
        rig.feed.failed.result()


async def test_batches_read_elsewhere_come_before_those_that_came_early() -> None:
    rig = Rig()
    rig.publish(6)
    rig.publish(7)
    rig.feed.catch_up_from(3)
    for batch in (4, 5, 6):
        rig.feed.take(a_frame(batch), {})
    rig.feed.catch_up_ends()
    assert [batch for batch, _ in rig.batches] == [4, 5, 6, 7]


@pytest.mark.parametrize("early", [False, True])
async def test_another_deployments_batches_are_ignored_and_named_once(early: bool) -> None:
    rig = Rig()
    await asyncio.sleep(0.02)
    if not early:
        rig.feed.strangers.history = b"ours"
        rig.go_on(4)
    for batch in (5, 9, 10):
        rig.publish(batch, history=b"theirs", u1=b"of another\n")
    assert early or rig.feed.silent_s() >= 0.02
    rig.publish(5, history=b"ours", u2=b"a\n")
    rig.publish(6, u2=b"of a sequencer of an older version\n")
    if early:
        rig.feed.strangers.history = b"ours"
        rig.go_on(4)
    assert rig.batches == [(5, {b"2": b"a\n"}), (6, {b"2": b"of a sequencer of an older version\n"})]
    ((event, fields),) = rig.log.warnings
    assert (event, fields["history"], fields["other"]) == ("frame_of_another_deployment", "ours", "theirs")
    assert not rig.feed.failed.done()


async def test_a_frame_of_another_history_wakes_the_heartbeat_which_knows_whether_ours_was_renewed() -> None:
    rig = Rig()
    rig.feed.strangers.history = b"ours"
    rig.go_on(4)
    rig.publish(5, history=b"ours")
    assert not rig.receiver.advanced.is_set()
    rig.publish(6, history=b"renewed")
    assert rig.receiver.advanced.is_set()


async def test_as_long_as_its_history_is_unknown_each_batch_is_taken() -> None:
    rig = Rig()
    rig.go_on(4)
    rig.publish(5, history=b"some")
    assert rig.batches == [(5, {})]


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


async def test_the_first_batch_of_all_is_held_until_it_is_safe() -> None:
    rig = Rig()
    assert rig.feed.last_batch == 0
    rig.go_on(0)
    rig.publish(1, safe=0)
    assert rig.batches == []
    rig.confirm(1)
    assert [batch for batch, _ in rig.batches] == [1]


async def test_what_is_safe_stays_safe() -> None:
    rig = Rig()
    rig.go_on(4)
    rig.confirm(6)
    rig.publish(5, safe=4)
    rig.publish(6, safe=3)
    rig.publish(7, safe=6)
    assert [batch for batch, _ in rig.batches] == [5, 6]


async def test_when_a_frame_was_heard_last() -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    rig = Rig()
    assert 0 <= rig.feed.silent_s() <= loop.time() - began_s
    await asyncio.sleep(0.02)
    rig.confirm(1)
    assert rig.feed.silent_s() >= 0.02, "no frame yet"
    heard_s = loop.time()
    rig.publish(1)
    assert rig.feed.silent_s() <= loop.time() - heard_s


def channels_of(first: int, last: int) -> tuple[bytes, ...]:
    return tuple(f"{KEYS.user}{user}".encode() for user in range(first, last + 1))


async def test_a_start_subscribes_to_the_frames_first_and_then_to_a_thousand_users_at_a_time() -> None:
    rig, frames, own = Rig(), KEYS.broadcast.encode(), (KEYS.node + NODE).encode()
    start = asyncio.create_task(rig.feed.start(b"%d" % user for user in range(1, 2501)))
    await rig.subscribed()
    assert rig.link.sent == [("SUBSCRIBE", frames)]
    await rig.subscribed(frames)
    expected: list[tuple[str | bytes, ...]] = [("SUBSCRIBE", frames), ("SUBSCRIBE", own)]
    for first, last in ((1, 1000), (1001, 2000), (2001, 2500)):
        assert rig.link.sent == expected, "one command after the other"
        await rig.subscribed(*rig.link.sent[-1][1:-1])  # type: ignore[arg-type]
        assert rig.link.sent == expected, "the last channel is not confirmed yet"
        await rig.subscribed(rig.link.sent[-1][-1])  # type: ignore[arg-type]
        expected.append(("SUBSCRIBE", *channels_of(first, last)))
    assert rig.link.sent == expected
    assert not start.done()
    await rig.subscribed(*channels_of(2001, 2500))
    assert start.done()
    await start


async def test_subscriptions_are_confirmed_in_their_order() -> None:
    rig = Rig()
    first, second = (asyncio.create_task(rig.feed.subscribe([user])) for user in (b"1", b"2"))
    await rig.subscribed(*channels_of(7, 7))
    assert not first.done()
    await rig.subscribed(*channels_of(1, 1))
    assert (first.done(), second.done()) == (True, False)
    await rig.subscribed(*channels_of(2, 2))
    assert second.done()


async def test_a_subscription_that_was_given_up_does_not_disturb_the_next_one() -> None:
    rig = Rig()
    first, second = (asyncio.create_task(rig.feed.subscribe([user])) for user in (b"1", b"2"))
    await rig.subscribed()
    first.cancel()
    await rig.subscribed(*channels_of(1, 2))
    assert second.done()
    assert second.exception() is None


async def test_a_subscription_that_is_not_confirmed_in_time() -> None:
    rig = Rig(timeout_s=0.01)
    with pytest.raises(RedisUnavailableError, match=r"was not confirmed within 0\.01 s"):
        await rig.feed.subscribe([b"1"])


async def test_channels_are_given_up_in_one_command() -> None:
    rig = Rig()
    rig.feed.unsubscribe([b"1", b"2"])
    assert rig.link.on_message is not None
    rig.link.on_message([b"unsubscribe", channels_of(1, 1)[0], 1])
    assert rig.link.sent == [("UNSUBSCRIBE", *channels_of(1, 2))]


async def test_without_room_nothing_more_is_read_and_nothing_is_lost() -> None:
    rig = Rig()
    rig.feed.catch_up_ends()
    rig.publish(1)
    assert not rig.link.is_paused
    rig.receiver.has_room = False
    rig.publish(2)
    assert rig.link.is_paused
    rig.publish(3)  # what had been read already
    await asyncio.sleep(0.02)
    assert rig.link.is_paused
    assert rig.feed.silent_s() == 0.0, "it is not the sequencer that is silent"
    rig.receiver.has_room = True
    await rig.link.resumed()
    rig.publish(4)
    assert [batch for batch, _ in rig.batches] == [1, 2, 3, 4]


async def test_what_comes_while_the_node_catches_up_is_bounded_too() -> None:
    rig = Rig()
    lines = b"1|B\n" * 250_000
    for batch in range(5, 14):
        assert not rig.link.is_paused
        rig.publish(batch, u1=lines)
    assert rig.link.is_paused, "9 MB of two windows of 4 MiB each"
    rig.receiver.has_room = False
    rig.feed.catch_up_from(4)
    rig.feed.catch_up_ends()
    await asyncio.sleep(0.02)
    assert rig.link.is_paused, "now the receiver decides"
    rig.receiver.has_room = True
    await rig.link.resumed()
    assert [batch for batch, _ in rig.batches] == list(range(5, 14))


async def test_a_subscription_is_given_time_while_nothing_is_read() -> None:
    rig = Rig(timeout_s=0.05)
    rig.feed.catch_up_ends()
    rig.receiver.has_room = False
    rig.publish(1)
    subscribing = asyncio.create_task(rig.feed.subscribe([b"7"]))
    await asyncio.sleep(0.2)
    assert not subscribing.done()
    rig.receiver.has_room = True
    await rig.link.resumed()
    await rig.subscribed(*channels_of(7, 7))
    await subscribing


async def test_a_subscription_that_is_not_confirmed_after_a_pause_fails() -> None:
    rig = Rig(timeout_s=0.05)
    rig.feed.catch_up_ends()
    rig.receiver.has_room = False
    rig.publish(1)
    subscribing = asyncio.create_task(rig.feed.subscribe([b"7"]))
    await asyncio.sleep(0.01)
    rig.receiver.has_room = True
    with pytest.raises(RedisUnavailableError, match="not confirmed"):
        await asyncio.wait_for(subscribing, 5)


async def test_a_feed_that_starts_while_much_is_published_is_confirmed_all_the_same() -> None:
    """Room comes with `catch_up_ends`, which comes after `start`: a pause before that would never end."""
    rig = Rig()
    starting = asyncio.create_task(rig.feed.start([b"1"]))
    answered = 0
    while not starting.done():
        await asyncio.sleep(0)
        for _, *channels in rig.link.sent[answered:]:
            answered += 1
            await asyncio.wait_for(rig.link.resumed(), 0.5)  # Redis answers in order, and the node reads in order
            await rig.subscribed(*map(bytes, channels))  # type: ignore[arg-type]
            if KEYS.broadcast.encode() in channels:
                for batch in range(5, 14):
                    rig.publish(batch, u1=b"1|B\n" * 250_000)
    await starting


async def test_a_subscription_whose_connection_is_lost_fails_at_once() -> None:
    rig = Rig(timeout_s=60)
    subscribing = asyncio.create_task(rig.feed.subscribe([b"7"]))
    await asyncio.sleep(0)
    rig.link.connection_lost(None)
    with pytest.raises(RedisUnavailableError, match="lost the connection"):
        await asyncio.wait_for(subscribing, 5)
