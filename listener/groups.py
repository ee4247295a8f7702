"""Whose lines an entry has, and what appending it came to. Pure.

An entry of the stream has lines of many sources. Those who want acknowledgements, and producers, need to know when
theirs are in Redis, so such an entry is cut into *groups*: bytes that follow each other and belong to one owner.

Rules kept here:

- A group is appended as a whole or not at all; it also counts the lines that were refused behind its events.
- `Producer.received` grows only by groups that Redis has confirmed, so an append that is repeated says the same again,
  and Redis sees that it is done already.
"""

from dataclasses import dataclass, field
from typing import Final

from listener.acks import Acks, Producer

DONE, FENCED, WENT_BACK = 0, 1, 2
"""What `append_groups.lua` says of a group: it is in the stream, now or already; a newer HELLO of its producer was
said; Redis has fewer lines of the producer than it had confirmed. Only the first one is appended."""
ANYBODY: Final = 0
"""In place of a producer: these lines are always appended."""
NEVER: Final = 2**53 - 1
"""A generation that no producer has: lines under it are not appended."""


@dataclass(slots=True)
class Group:
    """`size` bytes of events and `lines` lines, with the refused ones. `acks` is None: nobody wants to know."""

    acks: Acks | None
    size: int
    lines: int

    def producer(self, own: Producer | None) -> Producer | None:
        """Under whose name these lines are taken; `own` is the listener's name for lines that have none."""
        return (self.acks.producer if self.acks else None) or own


@dataclass(slots=True)
class Entry:
    """What is to be appended at once. Without groups nobody wants to know about it."""

    lines: bytes = b""
    groups: list[Group] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lines or self.groups)

    def is_counted(self, own: Producer | None) -> bool:
        """Whether Redis has to count lines for a producer."""
        return any(group.producer(own) for group in self.groups)

    def keys(self, own: Producer | None) -> list[str]:
        """The keys of the producers, each once."""
        return list(dict.fromkeys(producer.key for group in self.groups if (producer := group.producer(own))))

    def arguments(self, own: Producer | None) -> list[int]:
        """For each group: which producer (a place among `keys`, from 1), generation, lines before it, lines, bytes."""
        places = {key: place for place, key in enumerate(self.keys(own), 1)}
        handed: dict[int, int] = {}
        found: list[int] = []
        for group in self.groups:
            producer = group.producer(own)
            if producer is None:
                found += (ANYBODY, 0, 0, group.lines, group.size)
                continue
            before = handed.get(id(producer), producer.received)
            handed[id(producer)] = before + group.lines
            # Lines before these were refused, and Redis may have come to the same count in another way.
            is_over = group.acks is not None and group.acks.is_over
            generation = NEVER if is_over else producer.generation
            found += (places[producer.key], generation, before, group.lines, group.size)
        return found

    def settled(self, own: Producer | None, verdicts: list[int]) -> "Entry":
        """Take note of what came of each group; returns what is left to be appended.

        That are only lines under the listener's own name, when Redis no longer knows of it what we do: the listener
        says HELLO again then.
        """
        rest = Entry()
        at = 0
        for group, verdict in zip(self.groups, verdicts, strict=True):
            producer = group.producer(own)
            if verdict == DONE:
                _confirm(group, producer)
            elif producer is own and producer is not None:
                rest.lines += self.lines[at : at + group.size]
                rest.groups.append(group)
            elif group.acks:
                group.acks.is_fenced = group.acks.is_fenced or verdict == FENCED
                group.acks.went_back = group.acks.went_back or verdict == WENT_BACK
            at += group.size
        return rest

    def confirmed(self) -> None:
        """All of it is in Redis; for an entry that no producer counts."""
        for group in self.groups:
            _confirm(group, None)

    def tell(self) -> None:
        """Tell each source once what came of its lines."""
        for acks in dict.fromkeys(group.acks for group in self.groups):
            if acks is not None:
                acks.on_news()


def _confirm(group: Group, producer: Producer | None) -> None:
    if group.acks is not None:
        group.acks.done(group.lines)
    if producer is not None:
        producer.received += group.lines
