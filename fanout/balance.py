"""How many connections a node gives up so that they come back to emptier nodes. Pure.

Rules kept here:

- Only a node with clearly more than the average gives up any, so nodes never pass connections to and fro.
- A tenth of the surplus a round, so that it settles in some ten rounds and floods no other node.
"""

from collections.abc import Sequence
from math import ceil

CLEARLY = 1.2
SLACK = 10
MOST_A_ROUND = 100


def surplus_to_close(own: int, all_nodes: Sequence[int]) -> int:
    """Connections to close this round, given the connections of all live nodes (own included)."""
    average = sum(all_nodes) / max(1, len(all_nodes))
    if own <= average * CLEARLY + SLACK:
        return 0
    return min(MOST_A_ROUND, ceil((own - average) / 10))
