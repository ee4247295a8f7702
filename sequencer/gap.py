"""A missing sequence number that others wait for: how long, and what is due. Pure: times are the caller's seconds."""

AGAIN_S = 60.0
"""Time between two warnings about the same gap."""


class Gap:
    """Follows the number to release next while events wait behind it."""

    def __init__(self, warning_s: float, timeout_s: float) -> None:
        self._warning_s = warning_s
        self._timeout_s = timeout_s
        self._number = 0
        self._since_s: float | None = None
        self._warned_s: float | None = None

    def watch(self, next_number: int, is_missing: bool, now_s: float) -> None:
        """`next_number` is to be released next; `is_missing` says that others wait for it."""
        if not is_missing:
            self._since_s = self._warned_s = None
        elif self._since_s is None or next_number != self._number:
            self._since_s, self._warned_s = now_s, None
        self._number = next_number

    def age_s(self, now_s: float) -> float:
        """How long it has been missing; 0 when nothing is."""
        return now_s - self._since_s if self._since_s is not None else 0.0

    def is_long(self, now_s: float) -> bool:
        """It has been missing for so long that the operator should look."""
        return self.age_s(now_s) >= self._warning_s

    def warning_is_due(self, now_s: float) -> bool:
        """Whether to warn now. If so, the warning counts as given."""
        if not self.is_long(now_s) or (self._warned_s is not None and now_s - self._warned_s < AGAIN_S):
            return False
        self._warned_s = now_s
        return True

    def is_over(self, now_s: float) -> bool:
        """It is to be given up, because of `gap_timeout_s`."""
        return 0 < self._timeout_s <= self.age_s(now_s)
