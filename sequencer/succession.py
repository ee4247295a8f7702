"""When a standby may take the lease over before it expires: once the leader's process has ended. Pure.

Each sequencer subscribes to a channel of its own (`sequencer/beacon.py`). The kernel closes the sockets of a process
that dies, so Redis counts no subscription any more. A leader that has only lost that connection opens it again at once,
before two looks in a row, `LOOK_S` apart, have found none. If it is slower, it loses the lease; the check in
`commit.lua` sees to it that it commits nothing after that.
"""

LOOK_S = 0.1
"""The time between two tries of a standby."""


class Succession:
    """What a standby has seen of the leader."""

    def __init__(self) -> None:
        self._holder = b""
        self._was_there = False
        self.ended = b""
        """The holder of the lease, if the last look found that its process has ended."""

    def saw(self, holder: bytes, subscriptions: int) -> None:
        """`holder` has the lease, and `subscriptions` connections have subscribed to its channel.

        One whose subscription was never seen is of an older version, which has none.
        """
        if holder != self._holder:
            self._holder, self._was_there = holder, False
        self._was_there = self._was_there or subscriptions > 0
        self.ended = holder if self._was_there and not subscriptions else b""
