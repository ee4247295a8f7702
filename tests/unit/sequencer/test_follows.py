"""The index of who follows whom is exact at every event, however much of it is still being read."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contract.events import parse
from runtime.settings import load
from sequencer.follows import Follows
from sequencer.graph import Graph as RealGraph
from sequencer.loading import Loader
from sequencer.questions import (
    Asking,
    FollowerCounts,
    FollowersAmong,
    Following,
    FollowingCounts,
    Question,
    ScanFollowing,
    T,
)


def edge_set(*edges: str) -> set[tuple[bytes, bytes]]:
    """`1>7` is user 1 who follows author 7."""
    return {(follower, followee) for follower, followee in (edge.encode().split(b">") for edge in edges)}


class Graph:
    """What Redis has, and what it was asked for: (command, members that it looked at)."""

    def __init__(self, edges: set[tuple[bytes, bytes]]) -> None:
        self.edges = edges
        self.asked: list[tuple[str, int]] = []

    def answer(self, question: Question) -> Any:
        match question:
            case FollowingCounts(users):
                return self.following_counts(users)
            case Following(users):
                return self.following(users)
            case ScanFollowing(user, cursor, count):
                return self.scan_following(user, cursor, count)
            case FollowerCounts(authors):
                return self.follower_counts(authors)
            case FollowersAmong(pairs):
                return self.followers_among(pairs)
        raise AssertionError(question)

    def following_counts(self, users: Sequence[bytes]) -> list[int]:
        self.asked.append(("following_counts", len(users)))
        return [len(self._following(user)) for user in users]

    def following(self, users: Sequence[bytes]) -> list[list[bytes]]:
        found = [self._following(user) for user in users]
        self.asked.append(("following", sum(map(len, found))))
        return found

    def scan_following(self, user: bytes, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
        rest = [author for author in self._following(user) if author >= cursor]
        self.asked.append(("scan_following", len(rest[:count])))
        return (rest[count] if rest[count:] else b"0"), rest[:count]

    def follower_counts(self, authors: Sequence[bytes]) -> list[int]:
        return [sum(followee == author for _, followee in self.edges) for author in authors]

    def followers_among(self, questions: Sequence[tuple[bytes, list[bytes] | None]]) -> list[list[bytes]]:
        found = []
        for author, users in questions:
            followers = sorted(user for user, followee in self.edges if followee == author)
            self.asked.append(("followers_among", len(followers if users is None else users)))
            found.append([user for user in followers if users is None or user in users])
        return found

    def _following(self, user: bytes) -> list[bytes]:
        return sorted(author for follower, author in self.edges if follower == user)


class Index:
    """The index with its loader, and beside it the graph as it is at the present event."""

    def __init__(self, edges: set[tuple[bytes, bytes]], batch_edges: int) -> None:
        self.graph = Graph(set(edges))
        self.now = set(edges)
        self.follows = Follows()
        self.loader = Loader(self.follows, batch_edges)
        self.batch_edges = batch_edges
        self.online: set[bytes] = set()

    def toggle(self, user: bytes) -> None:
        if user in self.online:
            self.online.discard(user)
            self.follows.leave(user)
        else:
            # A join comes before all events of its batch, so Redis has all changes up to it.
            self.graph.edges = set(self.now)
            self.online.add(user)
            self.follows.enter(user, [])

    def change(self, follower: bytes, followee: bytes, follow: bool) -> None:
        (self.now.add if follow else self.now.discard)((follower, followee))
        if follower in self.online:
            (self.follows.follow if follow else self.follows.unfollow)(follower, followee)

    def followers(self, author: bytes) -> set[bytes]:
        """Who is told of a status update of the author, asked about first if need be."""
        events = parse(b"1|S|%b\n" % author)
        if not self.follows.known(events):
            self.run(self.loader.ask(events, self.batch_edges))
        assert self.follows.known(events) == 1
        found = self.follows.followers.get(author, {})
        current = {user: outbox for user, outbox in found.items() if outbox is self.follows._outboxes.get(user)}
        return set(current)

    def run(self, step: Asking[T]) -> T:
        """Take a step to its end."""
        try:
            question = next(step)
            while True:
                question = step.send(self.graph.answer(question))
        except StopIteration as end:
            result: T = end.value
            return result

    def expected(self, author: bytes) -> set[bytes]:
        return {user for user, followee in self.now if followee == author and user in self.online}


users = st.sampled_from([b"1", b"2", b"3"])
authors = st.sampled_from([b"7", b"8", b"9"])
edges = st.sets(st.tuples(users, authors), max_size=9)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("toggle"), users),
        st.tuples(st.just("change"), users, authors, st.booleans()),
        st.tuples(st.just("status"), authors),
        st.tuples(st.just("commit")),
        st.tuples(st.just("step"), st.integers(1, 4)),
    ),
    max_size=60,
)


@pytest.mark.slow
@hypothesis_settings(max_examples=500)
@given(edges, steps, st.sampled_from([1, 2, 50_000]))
def test_a_status_update_goes_to_exactly_those_who_follow_at_that_moment(
    edges: set[tuple[bytes, bytes]], steps: list[tuple[Any, ...]], batch_edges: int
) -> None:
    index = Index(edges, batch_edges)
    for name, *given_ in steps:
        if name == "toggle":
            index.toggle(*given_)
        elif name == "change":
            index.change(*given_)
        elif name == "commit":
            index.graph.edges = set(index.now)
        elif name == "status":
            assert index.followers(*given_) == index.expected(*given_)
        elif index.graph.edges == index.now:  # a step is taken before the first event of a batch
            index.run(index.loader.step(*given_))
    index.graph.edges = set(index.now)
    for _ in range(100):
        index.run(index.loader.step(3))
    assert not index.loader.busy
    assert index.follows.known(parse(b"1|S|7\n2|S|8\n3|S|9\n")) == 3
    for author in (b"7", b"8", b"9"):
        assert set(index.follows.followers.get(author, ())) == index.expected(author)


def test_an_unfollow_in_this_batch_outdoes_what_redis_still_says() -> None:
    index = Index(edge_set("1>7"), 50_000)
    index.toggle(b"1")
    index.change(b"1", b"7", follow=False)
    assert index.followers(b"7") == set()


def test_what_was_unfollowed_while_away_is_not_brought_back() -> None:
    index = Index(edge_set("1>7", "1>8"), 50_000)
    index.toggle(b"1")
    index.run(index.loader.step(10))
    index.toggle(b"1")
    index.change(b"1", b"7", follow=False)
    index.graph.edges = set(index.now)
    index.toggle(b"1")  # before a single edge of the first stay is forgotten
    assert index.followers(b"7") == set()
    assert index.followers(b"8") == {b"1"}
    index.run(index.loader.step(10))
    assert set(index.follows.followers) == {b"8"}


def test_no_step_reads_or_forgets_more_than_it_may() -> None:
    index = Index({(b"1", b"%d" % author) for author in range(1000, 2000)}, 100)
    index.toggle(b"1")
    read = 0
    while index.follows.loading:
        before = len(index.graph.asked)
        index.run(index.loader.step(100))
        pieces = [size for what, size in index.graph.asked[before:] if what != "following_counts"]
        assert sum(pieces) <= 100
        read += sum(pieces)
    assert read == 1000
    index.toggle(b"1")
    for left in range(900, -1, -100):
        index.run(index.loader.step(100))
        assert len(index.follows.followers) == left


def test_users_with_small_sets_are_read_together() -> None:
    index = Index({(b"%d" % user, b"7") for user in range(1, 51)}, 50_000)
    for user in range(1, 51):
        index.toggle(b"%d" % user)
    index.run(index.loader.step(50_000))
    assert index.graph.asked == [("following_counts", 50), ("following", 50)]
    assert not index.follows.loading


def test_who_follows_nobody_is_not_asked_for_twice() -> None:
    index = Index(edge_set("2>7"), 50_000)
    for user in (b"1", b"2", b"3"):
        index.toggle(user)
    index.run(index.loader.step(50_000))
    assert index.graph.asked == [("following_counts", 3), ("following", 1)]
    assert not index.follows.loading


def test_a_step_that_only_forgets_lets_others_run() -> None:
    index = Index(edge_set("1>7", "1>8"), 50_000)
    index.toggle(b"1")
    index.run(index.loader.step(10))
    index.toggle(b"1")
    step = RealGraph(cast(Any, None), load().keys).step(index.loader.step(1))
    assert step.send(None) is None
    assert len(index.follows.followers) == 1
    step.close()


def test_an_author_is_asked_about_once_and_then_only_for_those_who_came_since() -> None:
    index = Index(edge_set("1>7", "2>7", "3>8"), 50_000)
    index.toggle(b"1")
    assert index.followers(b"7") == {b"1"}
    assert index.followers(b"7") == {b"1"}
    assert index.graph.asked == [("followers_among", 1)]
    index.toggle(b"2")
    index.toggle(b"3")
    assert index.followers(b"7") == {b"1", b"2"}
    assert index.graph.asked == [("followers_among", 1), ("followers_among", 2)]


def test_asking_looks_through_the_smaller_side() -> None:
    crowd = [b"%d" % user for user in range(100, 200)]
    index = Index({(user, b"8") for user in crowd} | edge_set("100>7"), 2000)
    for user in crowd:
        index.toggle(user)
    assert index.followers(b"7") == {b"100"}  # one follower, a hundred candidates
    assert index.graph.asked[-1] == ("followers_among", 1)
    index.graph.edges |= {(b"%d" % user, b"9") for user in range(1000, 2000)}
    assert index.followers(b"9") == set()  # a thousand followers
    assert index.graph.asked[-1] == ("followers_among", 100)


def test_asking_about_many_authors_stops_at_what_it_may_cost_but_not_before_the_first() -> None:
    index = Index(set(), 2000)
    for user in range(100, 200):
        index.toggle(b"%d" % user)
    index.graph.edges = {(b"%d" % user, author) for user in range(1, 51) for author in (b"7", b"8", b"9")}
    events = parse(b"1|S|7\n2|S|8\n3|S|9\n")
    assert index.run(index.loader.ask(events, 110)) == 102
    assert index.follows.known(events) == 2
    assert index.run(index.loader.ask(events[2:], 1)) == 51
    assert index.follows.known(events) == 3


def a_follows(*users: bytes) -> Follows:
    follows = Follows()
    for user in users:
        follows.enter(user, [])
    return follows


def test_only_authors_not_asked_about_yet_are_asked_about_and_only_for_those_who_came_since() -> None:
    follows = a_follows(b"1", b"2")
    events = parse(b"1|S|7\n2|B\n3|S|8\n4|P|7|9\n5|F|9|7\n6|S|7\n7|S|9\n")
    assert follows.known(events) == 0
    assert follows.unasked(events, 10) == {b"7": [b"1", b"2"], b"8": [b"1", b"2"], b"9": [b"1", b"2"]}
    assert list(follows.unasked(events, 2)) == [b"7", b"8"]
    follows.answered(b"7", [])
    assert follows.known(events) == 2, "other kinds need no answer"
    assert list(follows.unasked(events, 10)) == [b"8", b"9"]
    follows.enter(b"3", [])
    assert follows.unasked(events, 1) == {b"7": [b"3"]}
    follows.loaded(b"3")
    assert follows.known(events) == 2, "those who were asked about are still known"
    follows.answered(b"7", [])
    assert list(follows.unasked(events, 10)) == [b"8", b"9"], "asked about since the last who is loading came"


def test_when_all_are_loaded_every_author_is_known_and_no_answer_is_kept() -> None:
    follows = a_follows(b"1", b"2")
    events = parse(b"1|S|7\n2|S|8\n")
    follows.answered(b"7", [])
    follows.loaded(b"1")
    assert follows.known(events) == 1
    follows.loaded(b"2")
    assert (follows.known(events), follows._asked) == (2, {})
    follows.enter(b"3", [])
    assert follows.known(events) == 0


def test_following_and_unfollowing_for_long_keeps_nothing() -> None:
    follows = a_follows(b"1")
    follows.loaded(b"1")
    for number in range(1000):
        follows.follow(b"1", b"%d" % number)
        follows.unfollow(b"1", b"%d" % number)
    assert (follows.followers, follows._following) == ({}, {b"1": set()})


def left_with(*authors: int) -> Follows:
    """Users who left, each with so many authors of their own."""
    follows = Follows()
    for user, count in enumerate(authors, 1):
        name = b"%d" % user
        follows.enter(name, [])
        follows.learn(name, [b"%d" % (1000 * user + author) for author in range(count)])
        follows.leave(name)
    return follows


@pytest.mark.parametrize(("edges", "left"), [(1, [2, 4]), (2, [1, 4]), (3, [4]), (4, [4]), (5, [3]), (100, [])])
def test_forgetting_goes_in_order_and_as_far_as_told(edges: int, left: list[int]) -> None:
    follows = left_with(3, 4)
    assert follows.forgetting
    follows.forget(edges)
    assert [len(authors) for _, _, authors in follows._left] == left
    assert len(follows.followers) == sum(left)
    assert follows.forgetting == bool(left)


def test_who_followed_nobody_costs_one() -> None:
    follows = left_with(*[0] * 100)
    follows.forget(30)
    assert len(follows._left) == 70


def test_forgetting_a_stay_leaves_the_next_one_alone() -> None:
    follows = a_follows(b"1")
    follows.learn(b"1", [b"7", b"8"])
    follows.leave(b"1")
    outbox: list[bytes] = []
    follows.enter(b"1", outbox)
    follows.learn(b"1", [b"7"])
    follows.forget(100)
    assert follows.followers == {b"7": {b"1": outbox}}
    assert follows.followers[b"7"][b"1"] is outbox
