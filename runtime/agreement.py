"""Which settings the services of one deployment should have in common. Pure.

Each service says its own in its report; `parade status` compares them.
"""

from runtime.settings import NUMBERINGS, Settings

MUST_AGREE: dict[str, tuple[str, ...]] = {
    "listener": ("first_sequence", "backlog_bytes", "wait_replicas", "line_bytes", "numbering", "producer_s"),
    "sequencer": (
        *("first_sequence", "reach", "gap_timeout_s", "wait_replicas", "lease_s", "tick_s"),
        *("batch_bytes", "batch_deliveries", "batch_edges", "window_bytes", "window_batches", "journal_bytes"),
        *("waiting_bytes", "node_silence_s", "node_patience_s", "journal_s", "away_s", "away_users", "numbering"),
    ),
    "fanout": ("lease_s", "tick_s", "window_bytes"),
}
"""What each service goes by that others go by, too: those of one deployment need the same values. With other ones a
listener fills the stream for all, a take-over changes what is promised, or a node takes its sequencer for dead."""
PORTS = {"listener": ("event_port",), "sequencer": (), "fanout": ("client_port",)}
"""What services of a kind have in common as a rule, and need not."""


def shared(settings: Settings, service: str) -> dict[str, float]:
    """The values that a service should have in common with others."""
    values = {name: getattr(settings, name) for name in (*MUST_AGREE[service], *PORTS[service])}
    return {name: NUMBERINGS.index(value) if name == "numbering" else value for name, value in values.items()}


def worded(setting: str, value: float) -> str:
    """A shared value as the operator sets it; reports have numbers only."""
    return NUMBERINGS[int(value)] if setting == "numbering" and value in (0, 1) else str(value)
