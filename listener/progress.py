"""How the order moves on, from one look at Redis to the next, and what of it sources are to be told. Pure.

Rules kept here:

- A number is called missing when it has been the next one for `GAP_S` while events waited, in all looks of that time.
- When the history is another one, the next number is lower than it was, or the data is on another server, what was
  confirmed before may be lost. What is not known (an empty name) has not changed.
"""

from dataclasses import dataclass

from contract.frames import differ

GAP_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What Redis says."""

    next: int
    history: bytes
    skipped: int
    """How many numbers have been given up so far."""
    is_missing: bool
    """Events wait for the next number, which does not wait itself."""
    server: bytes = b""


@dataclass(frozen=True, slots=True)
class News:
    """What is new since the last look."""

    is_back: bool = False
    """Redis may have lost what it had confirmed."""
    has_skipped: bool = False
    """Numbers may have been given up."""

    def with_earlier(self, news: "News") -> "News":
        """Together with what was new before and has not been told."""
        return News(self.is_back or news.is_back, self.has_skipped or news.has_skipped)


class Progress:
    """Follows the looks; times are the caller's seconds. `gap` is the number that is missing, or 0."""

    def __init__(self) -> None:
        self.gap = 0
        self._last: Look | None = None
        self._since_s = 0.0

    def see(self, look: Look, now_s: float) -> News:
        """A look at Redis."""
        last, self._last = self._last, look
        if last is None or look.next != last.next or not look.is_missing:
            self._since_s = now_s
        self.gap = look.next if look.is_missing and now_s - self._since_s >= GAP_S else 0
        if last is None:
            return News(has_skipped=True)
        is_back = look.next < last.next or differ(look.history, last.history) or differ(look.server, last.server)
        return News(is_back, look.skipped != last.skipped)
