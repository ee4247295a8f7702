"""A receiver of batches that keeps them, in place of a node's writer."""

import asyncio

from contract.frames import Frame, Messages


class Kept:
    """Keeps what a feed hands on; it has room until the test takes it away."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, Messages]] = []
        self.advanced = asyncio.Event()
        self.has_room = True
        self.limit_bytes = 8 << 20

    def accept(self, frame: Frame, messages: Messages) -> None:
        self.batches.append((frame.batch, messages))
