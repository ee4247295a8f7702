"""Threads that send beside a test; what goes wrong in one is raised where the test waits for it."""

import threading

from tests.support.deployment import PATIENCE_S


class SenderThread(threading.Thread):
    """Does what `send` does, which has a deadline of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.problem: BaseException | None = None

    def send(self) -> None:
        """Send all there is."""
        raise NotImplementedError

    def run(self) -> None:
        try:
            self.send()
        except BaseException as problem:
            self.problem = problem

    def wait(self) -> None:
        """Wait until all is sent."""
        self.join(3 * PATIENCE_S)
        assert not self.is_alive()
        assert self.problem is None, self.problem
