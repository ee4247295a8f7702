"""What a sequencer counts. Names end in their unit.

A process that stands by shows 0 for every gauge, and counts nothing, so that sums over all processes are true.
"""

from collections import Counter
from dataclasses import dataclass

from contract.entries import SKIPPED
from runtime.stats import Histogram, by_node, by_reason, counter, gauge, histogram
from sequencer.standings import EXPELLED, LEFT_BEHIND

COUNTED = ("received", "released", "late", "duplicate", "rejected", SKIPPED)
"""The counts of a batch that are stats too."""
EVENTS = (1, 10, 100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


@dataclass
class SequencerStats:
    lease_held: int = gauge("1 while this process sequences, 0 while it stands by")
    terms: int = counter("times that this process began to sequence")
    term_ends: Counter[str] = by_reason(
        "ends of terms: the lease was lost, Redis was lost or refused something", "lease lost", "Redis lost"
    )
    commit_errors: int = counter("commits that Redis refused, or whose answer never came")
    next: int = gauge("sequence number to release next")
    received: int = counter("events taken from the stream")
    released: int = counter("events released in order")
    late: int = counter("events dropped because their number was released or skipped before")
    duplicate: int = counter("events dropped because the same line waits already")
    rejected: int = counter("lines refused: malformed, in conflict with a waiting one, or too far ahead")
    skipped: int = counter("sequence numbers given up, by hand or by gap_timeout_s")
    waiting: int = gauge("events that wait for a missing number")
    gap_age_seconds: float = gauge("how long events have been waiting for `next`; 0: none wait")
    backlog_bytes: int = gauge("event bytes in the stream that no batch has consumed")
    backlog_entries: int = gauge("stream entries that no batch has consumed")
    backlog_age_seconds: float = gauge("age of the oldest stream entry that no batch has consumed")
    batches: int = counter("batches committed, ticks included")
    published_bytes: int = counter("notification bytes handed to Redis for the nodes")
    batch_events: Histogram = histogram("events released by a batch that released any", EVENTS)
    read_seconds: Histogram = histogram("time that a batch waited for entries")
    compute_seconds: Histogram = histogram("time that a batch took to order and route")
    commit_seconds: Histogram = histogram("time that a commit took in Redis and on the way there and back")
    window_seconds: float = counter("time spent waiting for nodes that are behind")
    unwritten_bytes: int = gauge("bytes published and not written yet by the slowest node that is waited for")
    nodes: int = gauge("fanout nodes of the deployment")
    nodes_behind: int = gauge("batches that the slowest node is behind")
    left_behind: Counter[str] = by_reason("times that the others went on without a node, by reason", *LEFT_BEHIND)
    node_left_behind: dict[str, str] = by_node("1 while the others go on without this node, and why")
    online_users: int = gauge("users that are connected to any node")
    away_users: int = gauge("users without a connection whose place is kept")
    kept_users: int = gauge("users whose place is kept, or is going to be: online and away")
    loading_users: int = gauge("online users whose follow sets are still being read")
    journal_seconds: float = gauge("how far back the journal reaches")
    journal_full: int = gauge("1 while the journal gives batches up for its bytes, younger than journal_s")
    expulsions: Counter[str] = by_reason("nodes expelled, by reason", *EXPELLED)
    redis_memory_bytes: int = gauge("memory that Redis uses")
    redis_memory_limit_bytes: int = gauge("maxmemory of Redis; 0: no limit")

    def count(self, counts: Counter[str], published_bytes: int) -> None:
        """A batch was committed."""
        self.batches += 1
        self.published_bytes += published_bytes
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + counts.get(name, 0))
        if released := counts["released"]:
            self.batch_events.observe(released)
