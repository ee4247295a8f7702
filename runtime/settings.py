"""Every setting of every service: its name, default, unit and meaning, stated once.

Each has an environment name: `PARADE_` and the field's name in capitals. The services also take each as
an option (`parade fanout --client-port 9100`). The tables of docs/settings.md are checked against this class.
"""

import contextlib
import io
import itertools
import re
import sys
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.keys import Keys
from runtime.edge.origins import Origins
from runtime.errors import ParadeError
from runtime.redis.url import parse, redacted_within

KIB = 1024
MIB = 1024 * KIB
ENV_PREFIX = "PARADE_"
NAMESPACE = re.compile(r"[!-z|~]{1,100}")

NUMBERINGS = ("sources", "parade")
"""Who numbers the events."""

NOT_ABOVE = (
    ("lease_s", "node_silence_s", "nodes would be expelled before a silent sequencer is replaced"),
    ("away_s", "journal_s", "users would come back to a journal that no longer has what they missed"),
    ("client_stall_s", "node_patience_s", "a node would be expelled before it closes the clients that hold it up"),
)
"""Settings that contradict each other when the first is above the second, and why."""

DISTINCT = ("event_port", "client_port", "web_port", "health_port")
"""No two of them may be the same; 0 is any free port, or none."""


def _name(value: str) -> str:
    # Keys have it in braces, and Redis takes nothing else in the name of a connection.
    if not NAMESPACE.fullmatch(value):
        raise ValueError("must be 1 to 100 printable ASCII characters, without blanks and braces")
    return value


def _url(value: str) -> str:
    parse(value)
    return value


def _level(value: str) -> str:
    if value not in ("debug", "info", "warning", "error"):
        raise ValueError("must be debug, info, warning or error")
    return value


def _origins(value: str) -> str:
    Origins(value)
    return value


def _numbering(value: str) -> str:
    if value not in NUMBERINGS:
        raise ValueError(f"must be {' or '.join(NUMBERINGS)}")
    return value


class _OfAll(BaseSettings):
    """Those of all services. One class after another adds those of one service, so that each can be read by itself."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        extra="forbid",
        frozen=True,
    )

    redis_url: Annotated[str, AfterValidator(_url)] = Field(
        "redis://127.0.0.1:6379/0", repr=False, description="Redis or Valkey server"
    )
    namespace: Annotated[str, AfterValidator(_name)] = Field(
        "parade", description="prefix of every key, so that deployments can share a Redis"
    )
    host: str = Field("127.0.0.1", description="address that the event and client ports bind to")
    event_port: int = Field(9090, ge=0, le=65535, description="port for event sources")
    client_port: int = Field(9099, ge=0, le=65535, description="port for user clients")
    web_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port for HTTP: WebSocket and server-sent events of a node, POST, WebSocket of a listener; 0: none",
    )
    web_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "", description="origins whose pages may use the web port, separated by commas, or *; empty: none"
    )
    log_level: Annotated[str, AfterValidator(_level)] = Field("info", description="debug, info, warning or error")
    redis_timeout_s: float = Field(5.0, gt=1, description="longest wait for an answer from Redis")
    shutdown_s: float = Field(4.0, gt=0, description="longest time that a service takes to stop, after drain_s")
    health_host: str = Field("127.0.0.1", description="address that the health port binds to")
    health_port: int = Field(0, ge=0, le=65535, description="port for /metrics, /livez and /readyz over HTTP; 0: none")
    proxy_protocol: bool = Field(
        False, description="expect a PROXY line (version 1) from a load balancer on every connection"
    )
    stop_on_stdin_end: bool = Field(False, description="stop when standard input ends; set by `parade up`")
    share_port: bool = Field(
        False, description="share the ports with other processes that `parade up` has started; set by `parade up`"
    )


class _OfListeners(_OfAll):
    """Those of listeners, and what Redis has to do before an event or a batch counts."""

    line_bytes: int = Field(
        4 * KIB, ge=KIB, le=64 * KIB, description="longest event line with its end; longer ones are refused"
    )
    numbering: Annotated[str, AfterValidator(_numbering)] = Field(
        "sources", description="who numbers the events: sources, or parade; then lines come with * as their number"
    )
    producer_s: float = Field(
        7 * 24 * 3600.0, ge=60, description="how long the count of a producer that is not connected is kept"
    )
    entry_bytes: int = Field(32 * KIB, ge=KIB, description="largest stream entry")
    listener_buffer_bytes: int = Field(
        1 * MIB, ge=4 * KIB, description="event bytes that a listener holds before it stops reading its sources"
    )
    backlog_bytes: int = Field(
        8 * MIB, ge=4 * KIB, description="unconsumed event bytes in Redis at which listeners append no more"
    )
    source_connections: int = Field(
        1_000, ge=0, description="sources that one listener serves; 0: as many as its open files allow"
    )
    source_connections_per_address: int = Field(
        0, ge=0, description="sources that one listener serves from one address; 0: no limit"
    )

    durable: bool = Field(True, description="warn when Redis does not write its data to disk")
    wait_replicas: int = Field(
        0, ge=0, description="replicas of Redis that must have an event or a batch before it counts"
    )


class _OfSequencers(_OfListeners):
    """Those of sequencers."""

    first_sequence: int = Field(1, ge=1, description="sequence number that a new deployment releases first")
    lease_s: float = Field(2.0, ge=1, description="how long a sequencer that is silent keeps the lease")
    tick_s: float = Field(
        1.0, gt=0, description="longest time between frames; an idle sequencer publishes an empty batch then"
    )
    reach: int = Field(1_000_000, ge=1, description="how far ahead of the next number an event may be; more is refused")
    waiting_bytes: int = Field(
        64 * MIB, ge=KIB, description="bytes of events that may wait for a missing number; about, more is refused"
    )
    batch_bytes: int = Field(
        128 * KIB, ge=KIB, description="raw event bytes after which a batch is closed, plus 40 for each online user"
    )
    batch_deliveries: int = Field(
        200_000, ge=1, description="notifications after which a batch is closed; a broadcast counts once"
    )
    batch_edges: int = Field(
        20_000, ge=1, description="edges of the follow graph that are read for one batch, for users who have just come"
    )
    rejected_per_batch: int = Field(
        100, ge=1, description="refused lines of one batch that are recorded; more are only counted"
    )
    journal_part_users: int = Field(1_000, ge=1, le=3_000, description="users in one part of a batch in the journal")
    window_bytes: int = Field(
        4 * MIB, ge=KIB, description="published bytes that a node may be behind before the sequencer waits"
    )
    window_batches: int = Field(16, ge=1, description="batches that a node may be behind before the sequencer waits")
    journal_bytes: int = Field(
        32 * MIB,
        ge=KIB,
        description="published bytes kept in Redis for nodes that missed something, and for users who come back",
    )
    journal_s: float = Field(300.0, gt=0, description="seconds for which published batches are kept in Redis, at most")
    away_s: float = Field(
        120.0, gt=0, description="how long the place of a user is kept who asked for it and has no connection"
    )
    away_users: int = Field(
        100_000, ge=0, description="users without a connection whose place is kept; the oldest go first"
    )
    node_silence_s: float = Field(5.0, gt=1, description="silence after which a node is expelled")
    node_patience_s: float = Field(
        30.0, gt=1, description="how long a node may make the sequencer wait, without progress, before it is expelled"
    )
    gap_warning_s: float = Field(5.0, gt=0, description="age of a gap at which the sequencer warns and is not ready")
    gap_timeout_s: float = Field(
        0.0, ge=0, description="age of a gap at which its numbers are given up; 0 waits forever"
    )
    rejected_entries: int = Field(10_000, ge=1, description="refused lines kept in the `rejected` stream")


class Settings(_OfSequencers):
    """Settings from the environment, from options, or from defaults; here those of nodes."""

    linger_s: float = Field(
        2.0, ge=0, description="how long a user without connections stays online, so that coming back costs nothing"
    )
    entry_users: int = Field(1_000, ge=1, description="users in one stream entry of joins and leaves")
    entries_ahead: int = Field(
        8, ge=1, description="entries of joins and leaves that a node may be ahead of the sequencer"
    )
    joins_per_user: float = Field(
        2.0, ge=0, description="joins a second of one user at a node, with a burst of 10 s; 0: no limit"
    )
    joins_per_address: float = Field(
        0.0, ge=0, description="joins a second from one address at a node, with a burst of 10 s; 0: no limit"
    )
    client_joins_per_s: float = Field(
        2_000.0, ge=0, description="registrations a second at one node, with a burst of 10 s; 0: no limit"
    )
    registration_s: float = Field(
        10.0, gt=0, description="time for a client to send its user id, and for a balancer to send its PROXY line"
    )
    client_connections: int = Field(
        0, ge=0, description="clients that one node serves; 0: as many as its open files allow"
    )
    client_connections_per_address: int = Field(
        0, ge=0, description="clients that one node serves from one address; 0: no limit"
    )
    client_buffer_bytes: int = Field(
        64 * MIB,
        ge=4 * KIB,
        description="unsent bytes at which a client is closed; also the limit for all slow clients together",
    )
    node_buffer_bytes: int = Field(
        24 * MIB, ge=4 * KIB, description="unsent bytes of all its clients at which a node waits"
    )
    drain_s: float = Field(
        3.0, ge=0, description="shortest time over which a stopping node spreads the end of its connections; 0: at once"
    )
    drain_per_s: int = Field(
        500, ge=1, description="connections that a stopping node ends in a second, as long as drain_most_s allows it"
    )
    drain_most_s: float = Field(
        12.0, ge=0, description="longest time over which a stopping node spreads that, if it is above drain_s"
    )
    resume_bytes: int = Field(
        32 * MIB, ge=KIB, description="bytes that a client which comes back may have missed; more is not sent again"
    )
    rebalance: bool = Field(
        False, description="close a few connections each second while a node has clearly more than the average"
    )
    client_stall_s: float = Field(
        10.0,
        gt=0,
        description="how long a client may accept nothing, while its node would wait for it, before it is closed",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check(self)
        return self

    @property
    def keys(self) -> Keys:
        """The names of this deployment's keys and channels."""
        return Keys(self.namespace, parse(self.redis_url).db)

    @property
    def gives_numbers(self) -> bool:
        """Parade numbers the events, and lines come without a number."""
        return self.numbering == "parade"


def load(**given: Any) -> Settings:
    """Settings from the environment; `given` wins. ParadeError names the first setting that is wrong."""
    try:
        return Settings(**given)
    except ValidationError as problem:
        first = problem.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        shown = str(first["input"])
        about = f"{environment_name(name)}='{redacted_within(shown, [shown])}': " if name else ""
        message = about + first["msg"].removeprefix("Value error, ")
        raise ParadeError(message) from None


def load_for_service(service: str, options: list[str], command: str) -> Settings:
    """Settings for `<command> <options>`; `--help` explains them all and ends the process."""
    if not options:
        return load()
    Settings.__doc__ = (
        f"The {service} of Parade. Every option can be set in the environment too: "
        f"--client-port as {environment_name('client_port')}."
    )
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return load(_cli_parse_args=options, _cli_prog_name=command)
    finally:
        sys.stderr.write(redacted_within(errors.getvalue(), options))


def _check(settings: Settings) -> None:
    """ValueError when two settings contradict each other."""
    for low, high, why in NOT_ABOVE:
        if getattr(settings, low) > getattr(settings, high):
            given = f"{environment_name(low)}={getattr(settings, low):g} must not be above {environment_name(high)}"
            raise ValueError(f"{given}={getattr(settings, high):g}: {why}")
    for one, other in itertools.combinations(DISTINCT, 2):
        if (port := getattr(settings, one)) and port == getattr(settings, other):
            both = f"{environment_name(one)} and {environment_name(other)}"
            raise ValueError(f"{both} are both {port}: each needs a port of its own")


def environment_name(field: str) -> str:
    """`client_port` → `PARADE_CLIENT_PORT`."""
    return ENV_PREFIX + field.upper()
