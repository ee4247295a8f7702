"""What is wrong with a deployment, in the order of how bad it is, and what to do about it. Pure.

The names are for scripts and do not change. What flow control does under load (a full backlog that is being consumed, a
node that waits for a moment) is not a fault: it is a notice at most.
"""

from collections.abc import Iterator

from console.observe.overview import CRITICAL, NOTICE, WARNING, Concern, Difference, Node, Overview
from runtime.agreement import PORTS, worded
from runtime.settings import Settings, environment_name

GAP_S: float = Settings.model_fields["gap_warning_s"].default
"""A younger gap is normal, since events come in any order."""
BACKLOG_S = 5.0
"""Age of the oldest unconsumed entry from which it is mentioned; it is a fault only when nothing is consumed."""
SILENT_S = 3.0
"""A node sends a heartbeat each second; the sequencer expels it after `node_silence_s` without one."""
MEMORY_SHARE = 0.8
ORDER = (CRITICAL, WARNING, NOTICE)


def concerns(seen: Overview) -> list[Concern]:
    """Everything that is wrong, the worst first."""
    found = [*_sequencing(seen), *_missing_parts(seen), *_flow(seen), *_services(seen), *_redis(seen)]
    return sorted(found, key=lambda concern: ORDER.index(concern.severity))


def _sequencing(seen: Overview) -> Iterator[Concern]:
    if seen.lease is None:
        advice = "a standby takes over within seconds; without one start a sequencer: parade sequencer"
        yield Concern(CRITICAL, "no_sequencer", "no process sequences: no event is released", advice)
    gap = seen.gap
    if gap is not None and gap.age_s >= GAP_S:
        numbers = f"number {gap.first}" if gap.first == gap.last else f"numbers {gap.first} to {gap.last}"
        text = f"{gap.waiting:,} events have been waiting for {numbers} for {gap.age_s:,.0f} s"
        yield Concern(CRITICAL, "gap", text, "send what is missing, or give it up with: parade skip")


def _missing_parts(seen: Overview) -> Iterator[Concern]:
    if not seen.nodes:
        yield Concern(CRITICAL, "no_node", "no fanout node: no client is served", "start one: parade fanout")
    if not seen.listeners:
        yield Concern(CRITICAL, "no_listener", "no listener: events can't come in", "start one: parade listener")


def _flow(seen: Overview) -> Iterator[Concern]:
    backlog = seen.backlog
    if backlog.age_s >= BACKLOG_S:
        text = f"{backlog.bytes:,} bytes in the stream are not consumed, the oldest for {backlog.age_s:.0f} s"
        if backlog.is_stuck:
            advice = "nothing is being consumed: see the sequencer's log and the node that is furthest behind"
            yield Concern(WARNING, "backlog", text, advice)
        else:
            yield Concern(NOTICE, "backlog", text, "it is being consumed: sources send as fast as the system can work")
    for node in seen.nodes:
        yield from _node(node)
    places = seen.places
    if places is not None and places.are_short:
        text = f"the journal reaches back {places.journal_s:.0f} s, and users may be away for {places.away_s:.0f} s"
        advice = "who comes back later than it reaches gets RESET; give it more PARADE_JOURNAL_BYTES"
        yield Concern(WARNING, "journal_short", text, advice)


def _node(node: Node) -> Iterator[Concern]:
    if node.silent_s >= SILENT_S:
        text = f"node {node.id} has been silent for {node.silent_s:.0f} s, with {node.connections:,} connections"
        yield Concern(WARNING, "node_silent", text, "it is expelled soon; see whether it runs and reaches Redis")
    if node.left_behind:
        text = f"node {node.id} is left behind ({node.left_behind}), {node.batches_behind:,} batches"
        advice = "the others go on without it, and it catches up by itself; see its log and its machine"
        yield Concern(WARNING, "node_left_behind", text, advice)
    elif node.is_stalled and node.silent_s < SILENT_S:
        text = f"node {node.id} is {node.batches_behind:,} batches behind and writes nothing"
        advice = "it may hold up the others for a moment; see its log and its clients"
        yield Concern(WARNING, "node_behind", text, advice)
    if node.slow_closed:
        text = f"node {node.id} has just closed {node.slow_closed:,} clients that did not keep up"
        yield Concern(WARNING, "slow_clients", text, "see `slow_client_closed` in its log for who they were")
    elif node.is_waiting:
        text = f"node {node.id} waits for {node.slow_clients:,} slow clients ({node.unsent_bytes:,} bytes unsent)"
        yield Concern(NOTICE, "slow_clients", text, "those that accept nothing are set aside, then closed")


def _services(seen: Overview) -> Iterator[Concern]:
    gap_is_said = seen.gap is not None and seen.gap.age_s >= GAP_S
    for sequencer in seen.sequencers:
        if not (sequencer.is_leader and gap_is_said):
            yield from _not_ready(sequencer.name, sequencer.not_ready)
    for listener in seen.listeners:
        yield from _not_ready(listener.name, listener.not_ready)
    for node in seen.nodes:
        yield from _not_ready(node.name, node.not_ready)
    for lost in seen.lost:
        text = f"{lost.name} is gone: its last report is {lost.silent_s:.0f} s old"
        advice = "it died or can't reach Redis: see its log; forgotten after a minute"
        yield Concern(WARNING, "service_lost", text, advice)
    for difference in seen.differences:
        yield _difference(difference)


def _difference(found: Difference) -> Concern:
    values = " and ".join(f"{worded(found.setting, value)} for {process}" for value, process in found.values)
    text = f"services disagree: {environment_name(found.setting)} is {values}"
    separate = "two deployments need different namespaces or databases"
    if any(found.setting in ports for ports in PORTS.values()):
        return Concern(NOTICE, "settings_differ", text, f"nothing, if it is meant; {separate}")
    return Concern(WARNING, "settings_differ", text, f"start them with the same value; {separate}")


def _not_ready(name: str, reasons: list[str]) -> Iterator[Concern]:
    for reason in reasons:
        yield Concern(WARNING, "not_ready", f"{name} is not ready: {reason}", "see its log")


def _redis(seen: Overview) -> Iterator[Concern]:
    if seen.is_volatile:
        text = "Redis writes no append-only file: a restart of it loses events that it has taken"
        advice = "run: redis-cli CONFIG SET appendonly yes, or set PARADE_DURABLE=false"
        yield Concern(WARNING, "not_durable", text, advice)
    memory = seen.memory
    if memory is None or not memory.most_bytes:
        return
    share = memory.used_bytes / memory.most_bytes
    if share >= MEMORY_SHARE:
        text = f"Redis uses {share:.0%} of its memory ({memory.used_bytes:,} of {memory.most_bytes:,} bytes)"
        advice = "raise maxmemory; once it is full, events stay in their sources' sockets"
        yield Concern(WARNING, "memory", text, advice)
    if memory.policy != "noeviction":
        text = f"Redis may delete keys when its memory is full (maxmemory-policy {memory.policy})"
        yield Concern(CRITICAL, "eviction", text, "run: redis-cli CONFIG SET maxmemory-policy noeviction")
