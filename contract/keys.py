"""Every Redis key and channel of one deployment. No other file spells one.

The braces are a hash tag: they keep a deployment in one slot of a Redis Cluster, which one atomic
script needs (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one namespace; two deployments with different ones can share a Redis."""

    namespace: str

    @property
    def prefix(self) -> str:
        return f"{{{self.namespace}}}:"

    @property
    def events(self) -> str:
        """Stream: event lines, presence of users, skips (`contract/entries.py`)."""
        return self.prefix + "events"

    @property
    def state(self) -> str:
        """Hash: `next`, `batch`, `cursor`, `backlog` (bytes not yet consumed) and the counters."""
        return self.prefix + "state"

    @property
    def waiting(self) -> str:
        """Sorted set: event lines ahead of a gap, scored by sequence number."""
        return self.prefix + "waiting"

    @property
    def followers(self) -> str:
        """Prefix of the sets of a user's followers."""
        return self.prefix + "followers:"

    @property
    def following(self) -> str:
        """Prefix of the sets of those whom a user follows."""
        return self.prefix + "following:"

    @property
    def online(self) -> str:
        """Prefix of the sets of a node's users, connected or lingering."""
        return self.prefix + "online:"

    @property
    def nodes(self) -> str:
        """Hash: fanout node → its last heartbeat (`contract/reports.py`)."""
        return self.prefix + "nodes"

    @property
    def services(self) -> str:
        """Hash: `<service>/<name>` → its last report (`contract/reports.py`)."""
        return self.prefix + "services"

    @property
    def lease(self) -> str:
        """String that expires: the token of the process that sequences."""
        return self.prefix + "lease"

    @property
    def deliveries(self) -> str:
        """Stream, bounded: the journal of the last batches (`contract/frames.py`)."""
        return self.prefix + "deliveries"

    @property
    def rejected(self) -> str:
        """Stream, capped: refused lines and skipped numbers (`contract/entries.py`)."""
        return self.prefix + "rejected"

    def type_of(self, key: str) -> str:
        """What Redis's TYPE says of a key of this deployment; empty for any other key."""
        sets = (self.followers, self.following, self.online)
        return self.types.get(key) or ("set" if key.startswith(sets) else "")

    @property
    def types(self) -> dict[str, str]:
        """The keys of a deployment that are not prefixes, and their types."""
        return {
            **dict.fromkeys((self.events, self.deliveries, self.rejected), "stream"),
            **dict.fromkeys((self.state, self.nodes, self.services), "hash"),
            self.waiting: "zset",
            self.lease: "string",
        }

    @property
    def check(self) -> str:
        """Key and channel that exist for a moment, to find out what the Redis user may do."""
        return self.prefix + "check"

    @property
    def user(self) -> str:
        """Prefix of the channels that carry one user's notifications."""
        return self.prefix + "user:"

    @property
    def broadcast(self) -> str:
        """Channel that closes each batch and carries its broadcasts."""
        return self.prefix + "broadcast"
