"""What a writer holds is bounded in memory, not only in bytes of lines."""

import tracemalloc

import pytest

from contract.frames import Frame, Lineage
from fanout.clients.server import ClientServer
from fanout.stats import FanoutStats
from fanout.upstream.clock import RedisClock
from fanout.writer import Writer
from runtime.context import Context
from runtime.settings import load


@pytest.mark.parametrize("users", [1, 100])
async def test_what_is_held_takes_about_as_much_memory_as_it_may(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with one short line has 10 bytes of lines, and takes 700."""
    context, stats = Context(load(namespace="t", window_bytes=64 * 1024)), FanoutStats()
    writer = Writer(context, "n", ClientServer(context, stats), RedisClock())
    monkeypatch.setattr(writer, "_must_wait", lambda: True)
    writer.begin_after(0, b"e1")
    tracemalloc.start()
    number = 0
    while writer.has_room:
        number += 1
        frame = Frame(number, b"1732391092341-0", 0, number, Lineage(b"e1", b"d@0", b"9f31c2"), number)
        messages = {b"%d" % user: b"%d|P|1|%d\n" % (number, user) for user in range(users)}
        writer.accept(Frame.decode(frame.encode()), messages)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 5 * writer.limit_bytes
