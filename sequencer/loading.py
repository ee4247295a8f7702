"""Reads whom the online users follow, in bounded steps between and within batches (`sequencer/follows.py`). Pure."""

from collections.abc import Sequence

from contract.events import Event
from sequencer.follows import Follows
from sequencer.questions import Asking, FollowerCounts, FollowersAmong, Following, FollowingCounts, ScanFollowing

EDGES_A_QUESTION = 50
"""Asking for the size of a set costs about as much as reading this many edges, and counts as such."""
EDGES_A_LOOK = 1000
"""With this many times fewer candidates than edges that a batch may read, all candidates are named in the question.
With more, it pays to ask first how many followers the author has."""


class Loader:
    """Fills the index of a term."""

    def __init__(self, follows: Follows, batch_edges: int) -> None:
        self._follows = follows
        self._questions = max(1, batch_edges // EDGES_A_QUESTION)
        self._few = batch_edges // EDGES_A_LOOK

    @property
    def busy(self) -> bool:
        """There is something left to do between batches."""
        return bool(self._follows.loading) or self._follows.forgetting

    def step(self, edges: int) -> Asking[None]:
        """Read about this many edges of the users who came first, and forget as many of those who left."""
        follows = self._follows
        follows.forget(edges)
        users = follows.first_loading(self._questions)
        if not users:
            return
        if follows.loading[users[0]].cursor:
            yield from self._scan(users[0], edges)
        else:
            yield from self._read(users, edges)

    def _read(self, users: list[bytes], edges: int) -> Asking[None]:
        """Read the whole sets of the first users, or the first piece of one that is too large for that."""
        follows = self._follows
        fitting = _fitting(users, (yield FollowingCounts(users)), edges)
        if not fitting:
            yield from self._scan(users[0], edges)
            return
        some = [user for user, size in fitting.items() if size]
        for user, authors in zip(some, (yield Following(some)), strict=True):
            follows.learn(user, authors)
        for user in fitting:
            follows.loaded(user)

    def ask(self, events: Sequence[Event], edges: int) -> Asking[int]:
        """Ask who of the loading users follows the authors of these events, the first ones first.

        Stops at about `edges` answers, but not before the first author. Returns how many there were.
        """
        follows = self._follows
        candidates = follows.unasked(events, self._questions)
        many = [author for author, users in candidates.items() if len(users) > self._few]
        counts = dict(zip(many, (yield FollowerCounts(many)), strict=True))
        questions: list[tuple[bytes, list[bytes] | None]] = []
        cost = 0
        for author, users in candidates.items():
            all_of_them = counts.get(author, len(users)) < len(users)
            size = counts[author] if all_of_them else len(users)
            if questions and cost + size > edges:
                break
            questions.append((author, None if all_of_them else users))
            cost += size + 1
        for (author, _), followers in zip(questions, (yield FollowersAmong(questions)), strict=True):
            follows.answered(author, followers)
        return cost

    def _scan(self, user: bytes, edges: int) -> Asking[None]:
        """Read a piece of a large set. It may change meanwhile: members that stay are found (SSCAN promises that),
        and those that come or go are routed here."""
        follows = self._follows
        loading = follows.loading[user]
        loading.cursor, authors = yield ScanFollowing(user, loading.cursor or b"0", edges)
        follows.learn(user, authors)
        if loading.cursor == b"0":
            follows.loaded(user)


def _fitting(users: list[bytes], sizes: list[int], edges: int) -> dict[bytes, int]:
    """The first users whose sets together have no more than `edges` members, and how many each has."""
    fitting = {}
    for user, size in zip(users, sizes, strict=True):
        edges -= size
        if edges < 0:
            break
        fitting[user] = size
    return fitting
