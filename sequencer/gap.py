"""A missing sequence number that others wait for: how long, and what is due. Pure: times are the caller's seconds."""

from runtime.logs import Log
from runtime.settings import Settings
from sequencer.ordering import Ordering

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


class GapWatch:
    """Warns of a gap in the order, and gives its numbers up when that is the policy."""

    def __init__(self, ordering: Ordering, settings: Settings, log: Log) -> None:
        self._ordering = ordering
        self._gap = Gap(settings.gap_warning_s, settings.gap_timeout_s)
        self._log = log

    def check(self, now_s: float) -> None:
        """Look whether something is due; to be called at least once a tick."""
        ordering, gap = self._ordering, self._gap
        gap.watch(ordering.next, bool(ordering.waiting) and not ordering.ready, now_s)
        if gap.warning_is_due(now_s):
            facts = {"missing": ordering.next, "waiting": len(ordering.waiting), "age_s": round(gap.age_s(now_s), 1)}
            self._log.warning("gap", **facts, advice="send it, or give it up with: parade skip")
        if gap.is_over(now_s):
            to = min(ordering.waiting)
            self._log.warning("skipping", missing=ordering.next, to=to, reason="gap_timeout_s is over")
            ordering.skip(to)

    def age_s(self, now_s: float) -> float:
        """How long a number has been missing; 0 when none is."""
        return self._gap.age_s(now_s)

    def why_stuck(self, now_s: float) -> str | None:
        """What keeps events from being released, if anything does."""
        if self._gap.is_long(now_s):
            waiting, age_s = len(self._ordering.waiting), self._gap.age_s(now_s)
            return f"{waiting} events have been waiting for number {self._ordering.next} for {age_s:.0f} s"
        return None
