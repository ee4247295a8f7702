"""What must come out, from the rules of the protocol alone: small, slow, and without any code of the services."""

import random
from dataclasses import dataclass


class WrongError(AssertionError):
    """The system broke one of its promises."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; what does not apply is 0."""

    number: int
    kind: str
    origin: int
    target: int
    payload: bytes | None = None

    @property
    def line(self) -> bytes:
        fields = {"B": (), "S": (self.origin,)}.get(self.kind, (self.origin, self.target))
        bare = "|".join(map(str, (self.number, self.kind, *fields))).encode()
        return bare + (b"" if self.payload is None else b"|" + self.payload) + b"\n"


PAYLOADS = (None, None, None, b"", b"a|b", b"\r", b"1|B\r2|B", b"\x00\xff\x85\x0b", b"9" * 70)


def events(rng: random.Random, count: int, users: int) -> list[Event]:
    """Events 1 to `count` among users 1 to `users`."""
    return [
        Event(at, rng.choice("FFUBPSS"), rng.randint(1, users), rng.randint(1, users), rng.choice(PAYLOADS))
        for at in range(1, count + 1)
    ]


class Oracle:
    """The notifications of each user, and the follow graph after the last event."""

    def __init__(self, sequence: list[Event], users: int) -> None:
        self.told: dict[int, list[tuple[int, bytes]]] = {user: [] for user in range(1, users + 1)}
        self.follows: set[tuple[int, int]] = set()
        for event in sequence:
            for user in self._concerned(event):
                self.told[user].append((event.number, event.line))

    def since(self, user: int, number: int) -> bytes:
        """All that the user is told from event `number` on."""
        return b"".join(line for at, line in self.told[user] if at >= number)

    def _concerned(self, event: Event) -> list[int]:
        edge = (event.origin, event.target)
        if event.kind == "F":
            self.follows.add(edge)
        elif event.kind == "U":
            self.follows.discard(edge)
            return []
        elif event.kind == "B":
            return list(self.told)
        elif event.kind == "S":
            return [follower for follower, followee in self.follows if followee == event.origin]
        return [event.target]
