"""Who comes to a node and who leaves, in the entries before the first event of a batch. Pure.

They count together: a user who comes back in the same batch has not left, and one who has left again is never loaded.
Joins are applied before leaves, so that a user who changes nodes stays online. The same holds for places: one that was
asked for by a user who has left again is not kept, and one that was given up by a user who is back is.
"""

from collections.abc import Collection

from contract.entries import Entry
from sequencer.away import Places

Move = tuple[bytes, bytes]
"""(node, user)"""


class Moves:
    """The joins and leaves of some entries; the last word on each user at each node counts."""

    def __init__(self) -> None:
        self.gone: tuple[bytes, ...] = ()
        """The nodes that leave with all their users."""
        self._there: dict[Move, bool] = {}
        self._kept: set[Move] = set()
        self._forgotten: set[Move] = set()

    def add(self, entry: Entry) -> None:
        """The next entry, of a node."""
        if entry.node_leaves:
            self.gone += (entry.node,)
            return
        node = entry.node
        self._there |= {(node, user): False for user in entry.leaves}
        self._there |= {(node, user): True for user in entry.joins}
        if self._kept or entry.keep:
            self._kept -= {(node, user) for user in entry.leaves}
            self._kept |= {(node, user) for user in entry.keep}
        if self._forgotten or entry.forget:
            self._forgotten -= {(node, user) for user in entry.leaves}
            self._forgotten |= {(node, user) for user in entry.forget}

    @property
    def joining(self) -> list[bytes]:
        """The nodes to which somebody comes."""
        return list(dict.fromkeys(node for (node, _), there in self._there.items() if there and node not in self.gone))

    def apply(self, places: Places, known: Collection[bytes], number: int) -> dict[Move, bool]:
        """Move the users; returns (node, user) → whether the user is there now, but for the nodes that leave.

        `known`: of the nodes to which somebody comes, those that belong to the deployment. `number` is the next to be
        released.
        """
        moved: dict[Move, bool] = {}
        for (node, user), there in self._there.items():
            if there and node in known:
                places.join(node, user)
                moved[node, user] = True
                if (node, user) in self._kept:
                    places.keep(user, number)
        for (node, user), there in self._there.items():
            if not there:
                places.leave(node, (user,), (user,) if (node, user) in self._forgotten else ())
                if node not in self.gone:
                    moved[node, user] = False
        for node in self.gone:
            places.drop_node(node)
        return moved
