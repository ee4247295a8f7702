"""Whether a deployment's history goes on when a term begins. Pure.

A client's position is a number of one history (`contract/control.py`). When Redis comes back with older data, the
numbers after its last batch are given out a second time, maybe to other events; positions among those from before must
not be taken for positions in what follows. So the history is renewed unless it is known that nothing that was published
is missing. On the same server nothing is: it has not been restarted since the last term committed there. On another
one, which may be the same after a restart, a process knows it that was the last to send a batch, and finds

- that batch, or
- the one before, and all that the batch took from the stream: it will come out the same again.

Its batch was under way when Redis ended, so that the second case is as usual as the first.

Positions up to what Redis has released go on in the new history (`contract/histories.py`), so that renewing it for
nothing costs nobody a connection or a line.

A leader of which this process never learnt, and of whose batches none is left, can't be seen from here: it took over
from this process, and Redis then went back to what this process had sent.
"""

from dataclasses import dataclass

KEPT = ""
NONE_YET, SERVER_UNKNOWN, ANOTHER_LED, BATCHES_LOST = REASONS = (
    "there was none yet",
    "it is not known on which server the last batch was committed",
    "Redis is another server or was restarted, and this process did not lead before",
    "Redis is another server or was restarted, and batches are missing",
)
"""Why a history begins."""


@dataclass(frozen=True, slots=True)
class Place:
    """A batch of a term, by the term's epoch and the batch's number."""

    epoch: bytes
    batch: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The last batch that this process sent, whether it was answered or not."""

    place: Place
    before: Place
    """The batch that it follows."""
    cursor: bytes
    skip_to: int


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis has when a term begins."""

    history: bytes
    server: str
    """The run id of this server."""
    last_server: str
    """The one on which the last term committed, or the deployment began; empty when that is not known."""
    last: Place
    """The last batch committed."""
    skip_to: int
    has_sent_entries: bool
    """The stream has all that the batch sent last has consumed."""


def why_renew(found: Found, sent: Sent | None) -> str:
    """Why a new history begins; KEPT when it does not."""
    if not found.history:
        return NONE_YET
    if sent is not None and found.last.batch < sent.before.batch:
        return BATCHES_LOST  # even on the same server: it was a replica of an older one for a while
    if found.server == found.last_server:
        return KEPT
    if sent is not None and found.last == sent.place:
        return KEPT
    if sent is not None and found.last == sent.before:
        comes_again = found.has_sent_entries and found.skip_to == sent.skip_to
        return KEPT if comes_again else BATCHES_LOST
    if sent is not None and found.last.batch < sent.place.batch:
        return BATCHES_LOST
    return ANOTHER_LED if found.last_server else SERVER_UNKNOWN
