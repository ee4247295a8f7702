"""What a fanout node counts. Names end in their unit."""

from collections import Counter
from dataclasses import dataclass

from fanout.clients.pressure import REASONS
from runtime.stats import Histogram, by_reason, counter, gauge, histogram

EXPELLED, JOURNAL_TOO_SHORT, OLDER_DATA = ENDS = ("expelled", "journal too short", "older data in Redis")
"""Why a node must close the connections that it has: it can no longer give them every line."""

TRIMMED, AWAY, AHEAD, HISTORY, LARGE = RESETS = ("trimmed", "away", "ahead", "history", "large")
"""Why a client can't go on where it wants to."""

HALF_CLOSED = "accepts nothing after its own end"
"""Why a client is closed that has ended its sending side: it does not take what is still unsent."""


@dataclass
class FanoutStats:
    connections: int = gauge("client connections that are registered")
    users: int = gauge("users with at least one connection here")
    lingering_users: int = gauge("users whose last connection ended, and whose leave has not taken effect yet")
    opted_in: int = gauge("client connections that opted in with after=")
    newcomers: int = gauge("connections that opted in and are not live yet")
    resumed: int = counter("connections that were told RESUMED")
    resets: Counter[str] = by_reason("connections that were told RESET, by reason", *RESETS)
    replayed_lines: int = counter("notifications read again in the journal and written to connections that resumed")
    replayed_bytes: int = counter("bytes of these")
    replays_lost: int = counter("connections closed after RESUMED, since the journal was trimmed before they had it")
    joins: int = counter("users whose join was posted")
    batches: int = counter("batches written out, ticks included")
    notifications: int = counter("notifications written to connections")
    sent_bytes: int = counter("bytes written to connections")
    latency_seconds: Histogram = histogram(
        "time from the arrival in Redis of a batch's oldest entry to its write-out here, one observation a batch"
    )
    unsent_bytes: int = gauge("bytes written to connections that the kernel has not taken yet")
    slow_clients: int = gauge("connections that have unsent bytes")
    clients_set_aside: int = gauge("connections that the node does not wait for, since they accept next to nothing")
    slow_clients_closed: Counter[str] = by_reason(
        "connections closed because they did not keep up, by reason", *REASONS, HALF_CLOSED
    )
    slow_clients_left: int = counter("connections that their clients ended while they were set aside")
    slow_offenders: int = gauge("users and addresses that were slow within the last minutes and are judged sooner")
    waiting: int = gauge("1 while the node holds batches back for slow clients")
    batches_behind: int = gauge("batches committed and not written out here")
    journal_batches: int = counter("batches read again in the journal")
    reconnects: int = counter("times that the node continued with new connections to Redis")
    frames_missed: int = counter("times that a published frame did not get here")
    lives: int = counter("node ids that this process has had")
    connections_lost: Counter[str] = by_reason(
        "connections closed because their promise could not be kept, by reason", *ENDS
    )
    peers: Counter[str] = by_reason("what happened to connections: registered, left, refused, closed, and why")
