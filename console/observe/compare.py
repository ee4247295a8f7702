"""One deployment as it is now: figures from one snapshot, or from the difference of two. Pure.

Rules kept here:

- Everything comes from Redis, so it looks the same from anywhere, and a service that is cut off shows as silent.
- A rate is a difference over the time between the two reports that it comes from, not between the two looks.
- A counter that went back belongs to a deployment that was reset: it is counted from 0. A service that is new has no
  rate yet.
"""

from dataclasses import replace
from typing import TypeVar

from console.observe.advice import concerns
from console.observe.overview import (
    Backlog,
    Difference,
    Gap,
    Listener,
    Lost,
    Memory,
    Node,
    Overview,
    Places,
    Rates,
    Sequencer,
    Totals,
)
from console.observe.snapshot import Snapshot
from contract.reports import Report
from runtime.settings import Settings
from runtime.stats import SECONDS, quantile

GONE_S = 5.0
"""A service whose last report is older is gone."""
BUCKETS = len(SECONDS) + 1
"""Of a histogram of latencies: one for each bound, and one for what is above all of them."""


def overview(now: Snapshot, before: Snapshot | None = None) -> Overview:
    """What to show of `now`. Rates and latencies need a snapshot `before`, a second or more earlier."""
    look = _Look(now, before)
    p50, p99 = look.latencies_ms()
    found = Overview(
        time_ms=now.time_ms,
        next=now.number("next"),
        batch=now.number("batch"),
        epoch=now.state.get("epoch", ""),
        totals=Totals(**{name: now.number(name) for name in Totals.__dataclass_fields__}),
        rates=look.rates(),
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        backlog=look.backlog(),
        waiting=now.waiting,
        gap=look.gap(),
        lease=now.lease,
        sequencers=look.sequencers(),
        listeners=look.listeners(),
        nodes=look.nodes(),
        lost=look.lost(),
        differences=look.differences(),
        places=_places(look.leader),
        memory=_memory(now),
        is_volatile=look.is_volatile(),
        rejected_entries=now.rejected_entries,
        rejected=list(now.rejected),
    )
    return replace(found, warnings=concerns(found))


class _Look:
    """Two snapshots side by side."""

    def __init__(self, now: Snapshot, before: Snapshot | None) -> None:
        self._now = now
        self._before = before
        self._seconds = max(0.0, (now.time_ms - before.time_ms) / 1000) if before else 0.0
        self._live = {name: report for name, report in now.services.items() if self.age_s(report.time_ms) <= GONE_S}

    def age_s(self, time_ms: int | None) -> float:
        return max(0, self._now.time_ms - time_ms) / 1000 if time_ms is not None else 0.0

    # What flows

    def rates(self) -> Rates | None:
        if self._before is None or not self._seconds:
            return None
        return Rates(
            lines_in=self._sum("listener", "received_lines"),
            bytes_in=self._sum("listener", "received_bytes"),
            received=self._state_rate("received"),
            released=self._state_rate("released"),
            published_bytes=self._sum("sequencer", "published_bytes"),
            notifications=self._sum("fanout", "notifications"),
            bytes_out=self._sum("fanout", "sent_bytes"),
        )

    def latencies_ms(self) -> tuple[float | None, float | None]:
        """The median and the 99th percentile of the batches written out between the snapshots, of all nodes."""
        counts = [0] * BUCKETS
        for name, report in self._of("fanout"):
            earlier = self._earlier(name)
            new, old = _latencies(report), _latencies(earlier) if earlier else None
            if new and old:
                counts = [count + _growth(*pair) for count, *pair in zip(counts, new, old, strict=True)]
        p50, p99 = (quantile(counts, share) for share in (0.5, 0.99))
        return (None if p50 is None else round(p50 * 1000, 2)), (None if p99 is None else round(p99 * 1000, 2))

    def _state_rate(self, name: str) -> float:
        earlier = self._before.number(name) if self._before else 0
        return round(_growth(self._now.number(name), earlier) / self._seconds, 1)

    def _sum(self, service: str, field: str) -> float:
        return round(sum(self._rate(name, field) or 0.0 for name, _ in self._of(service)), 1)

    def _rate(self, name: str, field: str) -> float | None:
        report, earlier = self._now.services.get(name), self._earlier(name)
        if report is None or earlier is None or report.time_ms <= earlier.time_ms:
            return None
        seconds = (report.time_ms - earlier.time_ms) / 1000
        return round(_growth(report.number(field), earlier.number(field)) / seconds, 1)

    # Who is there

    def sequencers(self) -> list[Sequencer]:
        lease = self._now.lease
        return [
            Sequencer(name, _token(report), _token(report) == lease, report.not_ready)
            for name, report in self._of("sequencer")
        ]

    @property
    def leader(self) -> Report | None:
        """The report of the sequencer that has the lease."""
        reports = (report for _, report in self._of("sequencer"))
        return next((report for report in reports if _token(report) == self._now.lease), None)

    def is_volatile(self) -> bool:
        """Redis keeps less than the deployment wants; False when it does not say."""
        wanted = any(report.facts.get("durable") is True for _, report in self._of("sequencer"))
        return wanted and self._now.appends is False

    def listeners(self) -> list[Listener]:
        return [
            Listener(
                name=name,
                sources=int(report.number("sources")),
                lines_per_s=self._rate(name, "received_lines"),
                is_paused=bool(report.number("paused")),
                not_ready=report.not_ready,
            )
            for name, report in self._of("listener")
        ]

    def nodes(self) -> list[Node]:
        names = {str(report.facts.get("node", "")): name for name, report in self._of("fanout")}
        return [self._node(node, names.get(node, "")) for node in sorted(self._now.nodes)]

    def _node(self, node: str, name: str) -> Node:
        beat = self._now.nodes[node]
        before = self._before.nodes.get(node) if self._before else None
        behind = max(0, self._now.number("batch") - beat.batch)
        report = self._now.services.get(name) or Report(0, {})
        left_behind = self.leader.facts.get("node_left_behind", {}) if self.leader else {}
        return Node(
            id=node,
            name=name,
            connections=beat.connections,
            users=int(report.number("users")),
            batches_behind=behind,
            is_stalled=behind > 1 and before is not None and before.batch == beat.batch and self._seconds >= 1,
            left_behind=str(left_behind.get(node, "")),
            silent_s=self.age_s(beat.time_ms),
            notifications_per_s=self._rate(name, "notifications"),
            bytes_per_s=self._rate(name, "sent_bytes"),
            unsent_bytes=int(report.number("unsent_bytes")),
            slow_clients=int(report.number("slow_clients")),
            slow_closed=self._slow_closed(name),
            is_waiting=bool(report.number("waiting")),
            not_ready=report.not_ready,
        )

    def _slow_closed(self, name: str) -> int:
        report, earlier = self._now.services.get(name), self._earlier(name)
        if report is None or earlier is None:
            return 0
        return _growth(_closed_for_slowness(report), _closed_for_slowness(earlier))

    def lost(self) -> list[Lost]:
        silent = {name: self.age_s(report.time_ms) for name, report in sorted(self._now.services.items())}
        return [Lost(name, seconds) for name, seconds in silent.items() if seconds > GONE_S]

    def differences(self) -> list[Difference]:
        found: dict[str, dict[float, str]] = {}
        for name, report in sorted(self._live.items()):
            for setting, value in report.settings.items():
                found.setdefault(setting, {}).setdefault(value, name)
        return [
            Difference(setting, sorted(found[setting].items()))
            for setting in Settings.model_fields
            if len(found.get(setting, ())) > 1
        ]

    def _of(self, service: str) -> list[tuple[str, Report]]:
        return [(name, report) for name, report in sorted(self._live.items()) if name.startswith(f"{service}/")]

    def _earlier(self, name: str) -> Report | None:
        return self._before.services.get(name) if self._before else None

    # What waits

    def backlog(self) -> Backlog:
        now, before = self._now, self._before
        stays = before is not None and self._seconds >= 1 and before.state.get("cursor") == now.state.get("cursor")
        is_stuck = stays and now.events_entries > 0
        return Backlog(now.number("backlog"), now.events_entries, self.age_s(now.oldest_entry_ms), is_stuck)

    def gap(self) -> Gap | None:
        lowest, next_number = self._now.lowest_waiting, self._now.number("next")
        if lowest is None or lowest <= next_number:
            return None
        return Gap(next_number, lowest - 1, self._now.waiting, round(self._gap_age_s(next_number), 1))

    def _gap_age_s(self, number: int) -> float:
        """How long `number` has been missing, as far as it is known: from the leader, or from having looked twice."""
        before = self._before
        seen_s = self._seconds if before and before.lowest_waiting and before.number("next") == number else 0.0
        for _, report in self._of("sequencer"):
            age_s = report.number("gap_age_seconds")
            if _token(report) == self._now.lease and report.number("next") == number and age_s > 0:
                return max(seen_s, age_s + self.age_s(report.time_ms))
        return seen_s


Number = TypeVar("Number", int, float)


def _growth(now: Number, before: Number) -> Number:
    return now - before if now >= before else now


def _token(report: Report) -> str:
    return str(report.facts.get("token", ""))


def _latencies(report: Report) -> list[int] | None:
    """How many batches fell into each bucket; None if the node has other buckets than ours: it runs another version."""
    counts: list[int] = report.facts.get("latency_seconds", [])
    return counts if len(counts) == BUCKETS else None


def _closed_for_slowness(report: Report) -> int:
    peers: dict[str, int] = report.facts.get("peers", {})
    return sum(count for event, count in peers.items() if event.startswith("slow_client_closed"))


def _places(leader: Report | None) -> Places | None:
    if leader is None or "journal_seconds" not in leader.facts:
        return None
    return Places(
        away=int(leader.number("away_users")),
        kept=int(leader.number("kept_users")),
        away_s=leader.settings.get("away_s", Settings.model_fields["away_s"].default),
        journal_s=round(leader.number("journal_seconds"), 1),
        journal_is_full=bool(leader.number("journal_full")),
    )


def _memory(now: Snapshot) -> Memory | None:
    if not now.memory:
        return None
    used, most, policy = (now.memory[name] for name in ("used_memory", "maxmemory", "maxmemory_policy"))
    return Memory(int(used or 0), int(most or 0), policy)
