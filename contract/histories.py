"""Earlier histories of a deployment, and up to which number each of them goes on in the present one. Pure.

And on which Redis server the last term committed, which is how it is known that a history may have to be renewed.

A history is renewed when a term begins and nobody knows whether Redis has lost batches (`sequencer/history.py`). What
Redis has is older, but it is not another: up to the last number that it has released, both histories are the same. So a
position up to there is still one, under the new name; one beyond it is not.

    c20f11 9f31c2@70000 aa01bb@65000      a value of the key `histories`: the present one, and the latest one first

Rules kept here:

- A bound only ever sinks: what is left of the history before last is not more than what is left of the last one.
- What stands there for another present history than that of the state is left over, and counts for nothing.
- No more than `KEPT` are remembered. Who comes with a position of an older one begins anew.
"""

from contract.control import Position

KEPT = 16


def server_text(run_id: str, epoch: str) -> str:
    """A value of the key `server`: on which Redis server a term has committed, and which term that was."""
    return f"{run_id} {epoch}"


def server_in(text: bytes) -> tuple[bytes, bytes]:
    """The run id and the epoch in a value of the key `server`; both may be empty."""
    run_id, _, epoch = text.partition(b" ")
    return run_id, epoch


class Histories:
    """The present history and those before it."""

    def __init__(self, present: bytes, earlier: bytes = b"") -> None:
        """`earlier` as Redis has it."""
        self.present = present
        of, _, ends = earlier.partition(b" ")
        self._earlier = tuple(_positions(ends)) if of == present else ()

    def here(self, position: Position) -> Position | None:
        """The same place in the present history; None when it is not part of that."""
        if position.history == self.present:
            return position
        for end in self._earlier:
            if end.history == position.history and position.number <= end.number:
                return Position(self.present, position.number)
        return None

    def renewed(self, name: bytes, last_number: int) -> bytes:
        """What Redis should have when the history `name` begins behind `last_number`."""
        ends = [Position(self.present, last_number)] if self.present else []
        ends += [Position(end.history, min(end.number, last_number)) for end in self._earlier]
        return b" ".join((name, *map(bytes, ends[:KEPT])))


def _positions(text: bytes) -> list[Position]:
    found = []
    for part in text.split():
        try:
            found.append(Position.parse(part))
        except ValueError:
            return []
    return found
