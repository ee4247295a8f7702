"""The network between a service's real RedisLink and the Redis double: delays, cuts, stalls, lost frames.

Rules kept here:

- Both directions keep their order, as TCP does. What is lost is lost with the connection, except that all of a
  batch's messages to one subscriber can vanish: a loss that a node must find by itself.
- A command whose connection breaks may have been run or not, and may even run after its sender gave up.
"""

import random
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from runtime.redis.link import RedisLink
from tests.schedules.loop import VirtualLoop
from tests.schedules.redis_double import Redis, RefusedError, Reply, encode

LATE_S = (0.0, 0.0, 0.01, 0.1, 0.3, 1.0)
"""How long commands on their way can be held up when their sender closes the connection."""


@dataclass(slots=True)
class Noise:
    """Chances of what goes wrong with one command or one message."""

    cut_before: float = 0.0
    cut_after: float = 0.0
    lose_batch: float = 0.0
    refuse: float = 0.0
    slow: float = 0.0


class Wire:
    """One connection, seen as the transport of a RedisLink. `owner` is the process that holds it."""

    def __init__(self, loop: VirtualLoop, redis: Redis, rng: random.Random, noise: Noise, owner: Any) -> None:
        self.owner = owner
        self.link: RedisLink
        self._loop = loop
        self._redis = redis
        self._rng = rng
        self._noise = noise
        self._commands = hiredis.Reader()
        self._sent_s = self._answered_s = 0.0
        self.open = True  # the server's end
        self._heard = True  # whether what comes still reaches the client
        self._lost = False  # whether the client knows that the connection is gone
        self._late_s = 0.0  # until when what the client sent is held up
        self._blocked: list[bytes] | None = None
        self._answers: list[bytes] = []
        self._messages: list[bytes] = []

    # The transport's side

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        self._sent_s = self._after(self._sent_s)
        self._loop.call_at(self._sent_s, self._arrive, data)

    def abort(self) -> None:
        """The client closes. What it sent may still arrive, even much later."""
        if not self._lost:
            self._heard, self._lost = False, True
            self._loop.call_soon(self.link.connection_lost, None)
            self._late_s = self._loop.time() + self._rng.choice(LATE_S)
            self._loop.call_at(self._late_s, self._close)

    # What goes wrong

    def cut(self) -> None:
        """The connection breaks: the server knows at once, the client a little later."""
        self._close()
        if self._rng.random() < 0.5:
            self._heard = False  # what is on its way is lost
        self._loop.call_at(self._after(0.0), self._tell_of_the_cut)

    def hang(self) -> None:
        """The connection is gone, and neither side is told."""
        self._close()

    def _tell_of_the_cut(self) -> None:
        if not self._lost:
            self._heard, self._lost = False, True
            self.link.connection_lost(None)

    def _close(self) -> None:
        if self.open:
            self.open = False
            self._blocked = None
            self._redis.forget(self)

    def _after(self, last_s: float) -> float:
        roll = self._rng.random()
        delay = roll * 0.002 if roll >= self._noise.slow else self._rng.random() * 0.2
        return max(last_s, self._loop.time() + delay, float(self.owner.stalled_until))

    # The server's side

    def _arrive(self, data: bytes) -> None:
        if self._loop.time() < self._late_s - 1e-9:
            self._loop.call_at(self._late_s - 1e-9, self._arrive, data)
            return
        self._commands.feed(data)
        while self.open and (command := self._commands.gets()) is not False:
            words = self.owner.world.asking(cast(list[bytes], command))
            if self._rng.random() < self._noise.cut_before:
                self.owner.world.trace("cut before", self.owner, words[0])
                self.cut()
            else:
                self._execute(words)
                self.flush()

    def _execute(self, command: list[bytes]) -> None:
        name = command[0]
        if self._rng.random() < self._noise.refuse:
            self.owner.world.trace("refused", self.owner, command[0])
            self._answers.append(encode(RefusedError(f"NOPERM this user may not run {name.decode()}")))
        elif name == b"SUBSCRIBE":
            self._redis.subscribe(self, command[1:])
        elif name == b"UNSUBSCRIBE":
            self._redis.unsubscribe(self, command[1:])
        else:
            try:
                reply = self._redis.run(command)
            except RefusedError as refusal:
                reply = refusal
            if reply is None and name == b"XREAD":
                self._blocked = command
                self._loop.call_later(int(command[4]) / 1000, self._end_block, command)
                return
            self._answers.append(encode(reply))
            self.flush()
            self.owner.world.saw(self.owner, command, reply, self._answered_s)
        if self._rng.random() < self._noise.cut_after:
            self.owner.world.trace("cut after", self.owner, command[0])
            self.cut()

    def wake(self) -> None:
        """Something was appended: answer a reader that waits."""
        if self._blocked is not None and (reply := self._redis.run(self._blocked)) is not None:
            self._blocked = None
            self._answers.append(encode(reply))
            self.flush()

    def _end_block(self, command: list[bytes]) -> None:
        if self._blocked is command:
            self._blocked = None
            self._answers.append(encode(None))
            self.flush()

    def message(self, message: list[Reply]) -> None:
        """A pub/sub message for this connection."""
        (self._messages if message[0] == b"message" else self._answers).append(encode(message))

    def publish(self) -> None:
        """Send on what one command has published to this connection."""
        if self._messages:
            if self._rng.random() < self._noise.lose_batch:
                self.owner.world.trace("lost", self.owner, self._messages)
            else:
                self._answers += self._messages
                self.flush()
            self._messages.clear()

    def flush(self) -> None:
        """Send the answers, together or in two pieces cut anywhere."""
        if not self._answers:
            return
        data, self._answers = b"".join(self._answers), []
        at = self._rng.randrange(len(data)) if self._rng.random() < 0.1 else 0
        for piece in (data[:at], data[at:]):
            if piece:
                self._answered_s = self._after(self._answered_s)
                self._loop.call_at(self._answered_s, self._deliver, piece)

    def _deliver(self, data: bytes) -> None:
        if self._heard:
            self.link.data_received(data)
