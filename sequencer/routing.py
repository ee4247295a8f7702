"""Which users are notified of an event. Pure, and the hottest loop of the system.

Rules kept here:

- Memory holds online users only: an outbox for each, and the authors they follow (`sequencer/follows.py`). Offline
  users cost nothing, whatever the size of the graph.
- A status update goes to those who follow the author at that point of the sequence: the graph of online
  users changes event by event, in the same loop that routes.
"""

from collections.abc import Collection, Iterable

from contract.events import BARE_BYTES, Event
from sequencer.follows import Follows


class Routing:
    """The online users and what has been routed to them since the last `collect`."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, set[bytes]] = {}
        self.follows = Follows()
        self.broadcasts: list[bytes] = []
        self.changes: dict[tuple[bytes, bytes], bytes] = {}
        self._outboxes: dict[bytes, list[bytes]] = {}

    # Who is online

    def join(self, node: bytes, users: Iterable[bytes]) -> None:
        """Users came to a node; the authors followed by those who were offline are still to be loaded."""
        at_node = self.nodes.setdefault(node, set())
        for user in users:
            at_node.add(user)
            if user not in self._outboxes:
                self._outboxes[user] = []
                self.follows.enter(user, self._outboxes[user])

    def leave(self, node: bytes, users: Iterable[bytes]) -> None:
        """Users left a node; those on no other node are offline."""
        at_node = self.nodes.get(node, set())
        for user in users:
            at_node.discard(user)
            if user in self._outboxes and not any(user in others for others in self.nodes.values()):
                del self._outboxes[user]
                self.follows.leave(user)

    def drop_node(self, node: bytes) -> None:
        """A node is gone with all its users."""
        self.leave(node, list(self.nodes.get(node, ())))
        self.nodes.pop(node, None)

    def is_online(self, user: bytes) -> bool:
        return user in self._outboxes

    def is_elsewhere(self, user: bytes, nodes: Collection[bytes]) -> bool:
        """Whether the user is on a node that is none of these."""
        return any(user in users for node, users in self.nodes.items() if node not in nodes)

    @property
    def online_users(self) -> int:
        return len(self._outboxes)

    # Events

    def route(self, events: Iterable[Event], budget: int) -> tuple[int, int]:
        """Route released events in order until about `budget` deliveries are made; all authors are known (`Follows`).

        Returns how many events were routed, and what is left of the budget. It bounds a batch: one status update
        can go to every online user.
        """
        outboxes, follows = self._outboxes, self.follows
        followers = follows.followers
        broadcast, changes = self.broadcasts.append, self.changes
        routed = 0
        for line, _, author, receiver, change, follower, followee in events:
            if author:
                if fans := followers.get(author):
                    for outbox in fans.values():
                        outbox.append(line)
                    # Once for each 64 bytes, so that the budget bounds bytes too; no bare line is longer.
                    budget -= len(fans) * (1 + (len(line) - 1) // BARE_BYTES)
            elif change:
                changes[follower, followee] = change
                if change == b"F":
                    if followee in outboxes:
                        outboxes[followee].append(line)
                    if follower in outboxes:
                        follows.follow(follower, followee)
                elif follower in outboxes:
                    follows.unfollow(follower, followee)
            elif receiver:
                if receiver in outboxes:
                    outboxes[receiver].append(line)
            else:
                broadcast(line)
            routed += 1
            if budget <= routed:
                break
        return routed, budget - routed

    def collect(self) -> tuple[list[tuple[bytes, bytes]], bytes, dict[tuple[bytes, bytes], bytes]]:
        """Take what was routed: (user, lines) of each user with something, broadcasts, graph changes."""
        messages = []
        for user, lines in self._outboxes.items():
            if lines:
                messages.append((user, b"".join(lines)))
                lines.clear()
        broadcasts, changes = b"".join(self.broadcasts), self.changes
        self.broadcasts, self.changes = [], {}
        return messages, broadcasts, changes
