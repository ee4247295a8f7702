"""How long to wait before the next connection. Pure: chance is handed in.

Rules kept here:

- Full jitter: each pause is a random part of a ceiling, which doubles with each try that brought no answer. So many
  peers that lose one server do not come to the next one together.
- A server that says BYE with a time has the return spread over that time, at least.
"""

from collections.abc import Callable

FIRST_S, MOST_S = 0.2, 5.0
"""The ceiling of the first pause, and of all later ones."""


class Pauses:
    """The pauses of one peer. `chance()` is from 0 to 1."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._failures = 0

    def answered(self) -> None:
        """A server has answered: the next break is a first one."""
        self._failures = 0

    def next_s(self, max_wait_ms: int = 0) -> float:
        """The pause before the next try; `max_wait_ms` is what the BYE said."""
        ceiling_s = min(MOST_S, FIRST_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        return self._chance() * max(ceiling_s, max_wait_ms / 1000)
