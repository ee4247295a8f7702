"""Every Redis key and channel of one deployment. No other file spells one.

The braces are a hash tag: they keep a deployment in one slot of a Redis Cluster, which one atomic
script needs (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).

Redis keeps the keys of its databases apart, but pub/sub knows no databases
(https://redis.io/docs/latest/develop/pubsub/#database--scoping). So a channel's name has the number of the database:
`{parade}:3:user:50`; that of database 0 stands without one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one namespace in one database; deployments that differ in either can share a Redis."""

    namespace: str
    db: int = 0

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
    def away(self) -> str:
        """Sorted set: users without a connection whose place is kept, scored by its end, in ms of Redis time."""
        return self.prefix + "away"

    @property
    def since(self) -> str:
        """Hash: user whose place is kept, or is going to be → the number from which routing has been unbroken."""
        return self.prefix + "since"

    @property
    def producer(self) -> str:
        """Prefix of the hashes of producers, which expire: `generation` and `received`, the lines taken so far."""
        return self.prefix + "producer:"

    @property
    def server(self) -> str:
        """String: the run id of the Redis server on which the last term committed, and the epoch of that term."""
        return self.prefix + "server"

    @property
    def histories(self) -> str:
        """String: earlier histories, and up to which number each goes on (`contract/histories.py`)."""
        return self.prefix + "histories"

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
        if key.startswith((self.followers, self.following, self.online)):
            return "set"
        return "hash" if key.startswith(self.producer) else self.types.get(key, "")

    @property
    def types(self) -> dict[str, str]:
        """The keys of a deployment that are not prefixes, and their types."""
        return {
            **dict.fromkeys((self.events, self.deliveries, self.rejected), "stream"),
            **dict.fromkeys((self.state, self.nodes, self.services, self.since), "hash"),
            **dict.fromkeys((self.waiting, self.away), "zset"),
            **dict.fromkeys((self.lease, self.server, self.histories), "string"),
        }

    @property
    def check(self) -> str:
        """Key and channel that exist for a moment, to find out what the Redis user may do."""
        return self.prefix + "check"

    @property
    def user(self) -> str:
        """Prefix of the channels that carry one user's notifications."""
        return self._channels + "user:"

    @property
    def node(self) -> str:
        """Prefix of the channels that say which nodes are there: each node has subscribed to its own."""
        return self._channels + "node:"

    @property
    def leader(self) -> str:
        """Prefix of the channels that say which sequencers are there: each has subscribed to its own token's."""
        return self._channels + "leader:"

    @property
    def broadcast(self) -> str:
        """Channel that closes each batch and carries its broadcasts."""
        return self._channels + "broadcast"

    @property
    def _channels(self) -> str:
        return f"{self.prefix}{self.db}:" if self.db else self.prefix
