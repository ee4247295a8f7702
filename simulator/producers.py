"""The events of several producers, whose numbers Parade gives, and how their order becomes known. Pure.

    *|P|32|56|2.341|a payload      line 341 of producer 2; the fields behind the kind are as always

What is known beforehand is the order of each producer's own lines, and what is not is how Parade mixes them. So each
line says whose it is, and the clients see which number it got. Lines that nobody is notified of show no number (no
unfollow does). They have no effect on others that depends on the mixing, because of one rule: **whoever follows or
unfollows an author, and the author's status updates, come from the same producer.** So which client is owed which line
is known for any mixing, and a line without a number may stand anywhere between those of its producer.

`Order` learns the numbers, finds wrong ones, and gives all lines in the order of their numbers, for the oracle. A line
that should have come and did not stands there with `?` for its number, which no client can have received.
"""

import heapq
import random
import re
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from simulator.payload import Payloads
from simulator.workload import KINDS, Block, Workload

CHUNK = 10_000
PROBLEMS = 10
"""The most problems that are kept."""

_TAGGED = re.compile(
    rb"^([1-9][0-9]*)\|(?:B|S\|[0-9]+|[PFU]\|[0-9]+\|[0-9]+)\|([0-9]+)\.([0-9]+)(?=[|\n])", re.MULTILINE
)


class Line(NamedTuple):
    """An event of a producer; `text` is what stands behind its number."""

    kind: str
    origin: int
    target: int
    text: str


class Producers:
    """What each producer sends; the same seed gives the same lines. The first one sends one more line, the last of all.

    That is a broadcast, so who has received it has received everything. `work.users` must be at least `count`.
    """

    def __init__(self, work: Workload, count: int) -> None:
        self.work = work
        self.count = count

    def share(self, producer: int) -> int:
        """How many lines a producer sends, without the last one of all."""
        return self.work.events // self.count + (producer < self.work.events % self.count)

    def last(self) -> Line:
        """The last line of all, from the first producer."""
        return Line("B", 0, 0, f"|B|0.{self.share(0)}\n")

    def lines(self, producer: int) -> Iterator[Line]:
        """All lines of a producer in its order."""
        work, count = self.work, self.share(producer)
        rng = random.Random(f"{work.seed} {producer}")
        payloads = Payloads(rng.randrange(1 << 32), work.payload) if work.payload else None
        uniform, base = rng.random, work.first_user
        own = len(range(producer, work.users, self.count))
        for start in range(0, count, CHUNK):
            kinds = rng.choices(KINDS, work.mix, k=min(CHUNK, count - start))
            for ordinal, kind in enumerate(kinds, start):
                anyone, author = int(uniform() * work.users) + base, int(uniform() * own) * self.count + producer + base
                origin, target = (author, anyone) if kind == "S" else (anyone, author)
                if kind == "P":
                    target = int(uniform() * work.users) + base
                fields = {"B": "|B", "S": f"|S|{origin}"}.get(kind, f"|{kind}|{origin}|{target}")
                payload = f"|{payloads.next()}" if payloads else ""
                yield Line(kind, origin, target, f"{fields}|{producer}.{ordinal}{payload}\n")
        if producer == 0:
            yield self.last()

    def arrival(self, producer: int) -> Iterator[tuple[bytes, list[int]]]:
        """What a producer sends, one piece after another, without the last line of all."""
        lines = islice(self.lines(producer), self.share(producer))
        while texts := [f"*{line.text}" for line in islice(lines, self.work.max_batch)]:
            data = "".join(texts).encode("latin-1")
            yield data, [len(data)]


class Order:
    """The numbers that Parade gave, as the clients see them."""

    def __init__(self, producers: Producers, first: int) -> None:
        self._producers = producers
        self._first = first
        self._numbers = [array("q", bytes(8 * producers.share(one))) for one in range(producers.count)]
        self._numbers[0].append(0)
        self.problems: list[str] = []

    @property
    def last_number(self) -> int:
        """The number of the last line of all; 0 while nobody has received it."""
        return self._numbers[0][-1]

    @property
    def end(self) -> int:
        """The number behind the last one, when none is left out."""
        return self._first + sum(map(len, self._numbers))

    def learn(self, lines: bytes) -> None:
        """Note the numbers of lines that a client has received."""
        for found in _TAGGED.findall(lines):
            number, producer, ordinal = map(int, found)
            if producer >= len(self._numbers) or ordinal >= len(self._numbers[producer]):
                self._problem(f"line {producer}.{ordinal} came with number {number}, and nobody sent it")
                continue
            known = self._numbers[producer][ordinal]
            if not known:
                self._numbers[producer][ordinal] = number
            elif known != number:
                self._problem(f"line {producer}.{ordinal} came with number {known} and with {number}")

    def blocks(self) -> Iterator[Block]:
        """All lines in the order of their numbers, block by block."""
        self._check()
        merged = heapq.merge(*(self._keyed(producer) for producer in range(self._producers.count)))
        while some := list(islice(merged, CHUNK)):
            lines = [line for _, line in some]
            yield Block(
                0,
                [line.kind for line in lines],
                [line.origin for line in lines],
                [line.target for line in lines],
                [line.text for line in lines],
                b"",
                [],
            )

    def _keyed(self, producer: int) -> Iterator[tuple[tuple[int, int, int], Line]]:
        reached = 0
        numbers = self._numbers[producer]
        for ordinal, line in enumerate(self._producers.lines(producer)):
            number = numbers[ordinal]
            reached = max(reached, number)
            yield (reached, producer, ordinal), line._replace(text=f"{number or '?'}{line.text}")

    def _check(self) -> None:
        """Each producer's numbers grow, by as much as there are lines at least; no two lines have the same."""
        for producer, numbers in enumerate(self._numbers):
            before, ordinal_before = self._first - 1, -1
            for ordinal, number in enumerate(numbers):
                if number and number - before < ordinal - ordinal_before:
                    order = f"line {producer}.{ordinal} has number {number}, after line {producer}.{ordinal_before}"
                    self._problem(f"{order} has number {before}")
                if number:
                    before, ordinal_before = number, ordinal
        ordered = heapq.merge(*(sorted(filter(None, numbers)) for numbers in self._numbers))
        before = 0
        for number in ordered:
            if number == before:
                self._problem(f"two lines have number {number}")
            if not self._first <= number < self.end:
                self._problem(f"number {number} is not one of {self._first} to {self.end - 1}")
            before = number

    def _problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS:
            self.problems.append(text)
