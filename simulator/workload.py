"""Seeded events: the same seed gives the same events, in the same order of arrival.

Events are generated in blocks, so that ten million of them never exist as objects at the same time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from simulator.payload import Payloads, Sizes

KINDS = "FUBPS"
BLOCK = 100_000


@dataclass(frozen=True, slots=True)
class Workload:
    """What to generate. `first` is the first sequence number; `mix` holds the weights of the kinds F, U, B, P, S.

    User ids start at `first_user`. The event with the number `leave_out` is never sent and has no effect. With
    `payload` each event carries one of such a size.
    """

    events: int
    users: int
    seed: int
    max_batch: int = 100
    mix: tuple[float, ...] = (1, 1, 1, 1, 1)
    first: int = 1
    first_user: int = 1
    leave_out: int | None = None
    payload: Sizes | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events in sequence order, one list for each field, and their bytes in order of arrival.

    An event that is left out has an empty kind and an empty line. All text is Latin-1: a character for each byte.
    `sends` has the size in bytes of each piece of `arrival`; the source sends a piece at once.
    """

    first: int
    kinds: list[str]
    origins: list[int]
    targets: list[int]
    lines: list[str]
    arrival: bytes
    sends: list[int]


def blocks(work: Workload) -> Iterator[Block]:
    """All events of a workload, block by block."""
    rng = random.Random(work.seed)
    payloads = Payloads(work.seed, work.payload) if work.payload else None
    size = max(1, BLOCK // work.max_batch) * work.max_batch
    for start in range(0, work.events, size):
        yield _block(rng, payloads, work, work.first + start, min(size, work.events - start))


def _block(rng: random.Random, payloads: Payloads | None, work: Workload, first: int, count: int) -> Block:
    kinds = rng.choices(KINDS, work.mix, k=count)
    # Three times as fast as randrange, and uniform enough for this purpose.
    uniform, users, base = rng.random, work.users, work.first_user
    origins = [int(uniform() * users) + base for _ in range(count)]
    targets = [int(uniform() * users) + base for _ in range(count)]
    lines = [
        f"{number}|B\n"
        if kind == "B"
        else f"{number}|S|{origin}\n"
        if kind == "S"
        else f"{number}|{kind}|{origin}|{target}\n"
        for number, kind, origin, target in zip(range(first, first + count), kinds, origins, targets, strict=True)
    ]
    if payloads is not None:
        lines = [f"{line[:-1]}|{payloads.next()}\n" for line in lines]
    if work.leave_out is not None and first <= work.leave_out < first + count:
        kinds[work.leave_out - first] = lines[work.leave_out - first] = ""
    sends = []
    pieces = []
    for start in range(0, count, work.max_batch):
        piece = lines[start : start + work.max_batch]
        piece.sort(key=lambda _: uniform())  # shuffles in half the time of random.shuffle
        text = "".join(piece)
        sends.append(len(text))
        pieces.append(text)
    return Block(first, kinds, origins, targets, lines, "".join(pieces).encode("latin-1"), sends)
