"""From which batch on a connection is served, which users linger, and what is posted to the stream."""

from collections.abc import Callable

from fanout.clients.users import Users


class Connection:
    @property
    def write(self) -> Callable[[bytes], None]:
        raise NotImplementedError


def live(users: Users) -> set[bytes]:
    return set(users.live)


def pending(users: Users, limit: int = 10, now_s: float = 0.0) -> tuple[list[bytes], list[bytes]]:
    """What is posted next, as ids."""
    leaves, joins = users.take_pending(limit, now_s)
    return leaves, [user.id for user in joins]


def come(users: Users, *ids: bytes) -> dict[bytes, Connection]:
    connections = {user_id: Connection() for user_id in ids}
    for user_id, connection in connections.items():
        users.add(user_id, connection)
    return connections


def go(users: Users, connections: dict[bytes, Connection], now_s: float = 0.0) -> None:
    for user_id, connection in connections.items():
        users.remove(user_id, connection, now_s)


def made_live(users: Users, *ids: bytes) -> dict[bytes, Connection]:
    """Users who came, were posted and reached."""
    connections = come(users, *ids)
    pending(users, len(ids))
    users.posted((1, 0))
    users.reach((1, 0))
    return connections


def test_a_user_is_live_from_the_frame_that_covers_the_join() -> None:
    users = Users()
    come(users, b"1")
    assert pending(users) == ([], [b"1"])
    users.reach((99, 0))
    assert live(users) == set()
    users.posted((5, 1))
    users.reach((5, 0))
    assert live(users) == set()
    users.reach((5, 1))
    assert live(users) == {b"1"}


def test_a_frame_covers_all_joins_up_to_its_cursor() -> None:
    users = Users()
    for number in range(1, 5):
        come(users, b"%d" % number)
        pending(users)
        users.posted((5, number))
    users.reach((5, 3))
    assert live(users) == {b"1", b"2", b"3"}
    users.reach((7, 0))
    assert live(users) == {b"1", b"2", b"3", b"4"}
    assert users.entries_ahead == 0


def test_further_connections_join_without_news() -> None:
    users = Users()
    first = come(users, b"1")
    pending(users)
    second = come(users, b"1")
    assert users.pending_in_s(0) is None
    go(users, first)
    assert users.pending_in_s(0) is None
    go(users, second)
    assert pending(users) == ([b"1"], [])
    assert users.connections == 0


def test_many_who_come_together_are_posted_in_few_entries() -> None:
    users = Users()
    ids = [b"%d" % n for n in range(1, 8)]
    come(users, *ids)
    posted = []
    while users.pending_in_s(0) == 0:
        leaves, joins = pending(users, 3)
        assert leaves == []
        posted.append(joins)
    assert posted == [ids[:3], ids[3:6], ids[6:]]


def test_many_who_leave_are_posted_in_few_entries_and_in_order() -> None:
    users = Users()
    ids = [b"%d" % n for n in range(1, 8)]
    go(users, made_live(users, *ids))
    posted = []
    while users.pending_in_s(0) == 0:
        leaves, joins = pending(users, 3)
        assert joins == []
        posted.append(leaves)
    assert posted == [ids[:3], ids[3:6], ids[6:]]
    assert (users.by_id, live(users)) == ({}, set())


def test_coming_back_while_lingering_is_no_news_and_stays_live() -> None:
    users = Users(linger_s=2)
    go(users, made_live(users, b"1"), now_s=10)
    assert (users.pending_in_s(10), users.lingering) == (2, 1)
    assert pending(users, now_s=11.9) == ([], [])
    back = come(users, b"1")
    assert (users.pending_in_s(99), users.lingering) == (None, 0)
    assert live(users) == {b"1"}
    assert list(users.live[b"1"].connections) == list(back.values())


def test_who_does_not_come_back_leaves_once_lingering_is_over() -> None:
    users = Users(linger_s=2)
    connections = made_live(users, b"1", b"2")
    go(users, {b"2": connections[b"2"]}, now_s=10)
    go(users, {b"1": connections[b"1"]}, now_s=11)
    assert pending(users, now_s=12) == ([b"2"], [])
    assert live(users) == {b"1"}
    assert users.pending_in_s(12.5) == 0.5
    assert users.pending_in_s(99) == 0.0, "it is due, not overdue"
    assert pending(users, now_s=14.5) == ([b"1"], [])
    assert users.pending_in_s(13) is None


def test_coming_back_after_the_leave_was_posted_is_a_new_join() -> None:
    users = Users()
    go(users, made_live(users, b"1"))
    assert pending(users) == ([b"1"], [])
    new = come(users, b"1")
    users.posted((2, 0))
    users.reach((2, 0))
    assert live(users) == set()
    assert pending(users) == ([], [b"1"])
    users.posted((3, 0))
    users.reach((3, 0))
    assert list(users.live[b"1"].connections) == list(new.values())


def test_leaving_before_the_join_was_posted_is_no_news() -> None:
    users = Users()
    go(users, come(users, b"1"))
    assert users.pending_in_s(0) is None
    assert users.by_id == {}


def test_leaving_while_the_join_is_on_its_way() -> None:
    users = Users()
    connections = come(users, b"1")
    pending(users)
    go(users, connections)
    users.posted((1, 0))
    assert pending(users) == ([b"1"], [])
    users.reach((2, 0))
    assert live(users) == set()


def test_leaving_and_coming_back_while_the_join_is_on_its_way_is_no_news() -> None:
    users = Users(linger_s=2)
    connections = come(users, b"1")
    pending(users)
    go(users, connections)
    come(users, b"1")
    assert users.pending_in_s(0) is None
    users.posted((1, 0))
    users.reach((1, 0))
    assert live(users) == {b"1"}


# What was posted may not have arrived


def test_before_anything_was_posted_there_is_nothing_to_post_again() -> None:
    users = Users()
    users.post_again()
    assert (users.pending_in_s(0), users.entries_ahead) == (None, 0)


def test_a_leave_that_did_not_arrive_is_posted_again() -> None:
    for again in (Users.not_posted, Users.post_again):
        users = Users()
        go(users, made_live(users, b"1"))
        for _ in range(3):
            assert pending(users) == ([b"1"], [])
            again(users)
        assert pending(users) == ([b"1"], [])
        users.posted((2, 0))
        assert users.pending_in_s(0) is None


def test_what_has_arrived_is_not_posted_again_when_something_else_is_refused() -> None:
    users = Users()
    come(users, b"1")
    pending(users)
    users.posted((1, 0))
    users.not_posted()
    assert users.pending_in_s(0) is None


def test_leaves_posted_again_and_new_ones_fill_an_entry_together() -> None:
    users = Users()
    ids = [b"%d" % n for n in range(1, 21)]
    connections = made_live(users, *ids)
    go(users, {user_id: connections[user_id] for user_id in ids[:6]})
    assert pending(users, 10) == (ids[:6], [])
    users.not_posted()
    go(users, {user_id: connections[user_id] for user_id in ids[6:]})
    assert pending(users, 10) == (ids[:10], [])
    assert pending(users, 20) == (ids[10:], [])


def test_who_comes_back_to_a_join_that_did_not_arrive_is_posted_again() -> None:
    users = Users(linger_s=2)
    connections = come(users, b"1")
    pending(users)
    go(users, connections)
    users.not_posted()
    assert users.pending_in_s(0) == 2
    come(users, b"1")
    assert pending(users) == ([], [b"1"])


def test_who_comes_back_to_a_join_of_an_earlier_connection_is_posted_again() -> None:
    users = Users(linger_s=2)
    connections = come(users, b"1")
    pending(users)
    users.posted((1, 0))
    go(users, connections)
    users.post_again()
    come(users, b"1")
    assert pending(users) == ([], [b"1"])


def test_a_user_who_is_back_and_gone_before_the_leave_is_known_to_have_failed_leaves_for_good() -> None:
    users = Users()
    go(users, made_live(users, b"1"))
    pending(users)
    back = come(users, b"1")
    users.not_posted()
    go(users, back)
    assert pending(users) == ([b"1"], [])


def test_a_user_who_comes_and_goes_while_the_leave_is_to_be_posted_again_leaves_for_good() -> None:
    users = Users()
    go(users, made_live(users, b"1"))
    pending(users)
    users.not_posted()
    go(users, come(users, b"1"))
    assert pending(users) == ([b"1"], []), "the stream may have the first join still"


def test_a_user_whose_leave_may_have_arrived_posts_a_join_and_nothing_else() -> None:
    users = Users()
    go(users, made_live(users, b"1"))
    assert pending(users) == ([b"1"], [])
    come(users, b"1")
    users.not_posted()
    assert pending(users) == ([], [b"1"])
    assert users.pending_in_s(0) is None


def test_a_user_who_comes_back_before_the_leave_is_posted_again() -> None:
    users = Users()
    go(users, made_live(users, b"1"))
    pending(users)
    users.post_again()
    back = come(users, b"1")
    assert pending(users) == ([], [b"1"])
    # The stream may have the first join still, so this leave is posted although no join of it was confirmed.
    users.not_posted()
    go(users, back)
    assert pending(users) == ([b"1"], [])


def test_a_refused_join_without_connections_left_is_posted_as_a_leave() -> None:
    users = Users()
    connections = come(users, b"1")
    pending(users)
    go(users, connections)
    users.not_posted()
    assert pending(users) == ([b"1"], [])


def test_a_refused_entry_leaves_earlier_ones_alone() -> None:
    users = Users()
    come(users, b"1")
    pending(users)
    users.posted((1, 0))
    come(users, b"2")
    assert pending(users) == ([], [b"2"])
    users.not_posted()
    assert users.entries_ahead == 1
    assert pending(users) == ([], [b"2"])
    users.posted((2, 0))
    users.reach((1, 0))
    assert live(users) == {b"1"}


def test_on_a_new_connection_everyone_who_is_not_live_is_posted_again() -> None:
    users = Users()
    made_live(users, b"1")
    come(users, b"2")
    pending(users)
    users.posted((2, 0))
    come(users, b"3")
    assert pending(users) == ([], [b"3"])
    users.post_again()
    assert users.entries_ahead == 0
    assert sorted(pending(users)[1]) == [b"2", b"3"]
    users.reach((2, 0))
    assert live(users) == {b"1"}


def test_nobody_is_in_both_halves_of_an_entry_and_nobody_here_is_given_up() -> None:
    # More leaves than one entry holds, an entry that fails, and some of the users back: each of these at once.
    users = Users()
    ids = [b"%d" % n for n in range(1, 31)]
    go(users, made_live(users, *ids))
    pending(users, 10)
    users.not_posted()
    come(users, *ids[5:15])
    while users.pending_in_s(0) == 0:
        leaves, joins = users.take_pending(10, 0)
        assert not set(leaves) & {user.id for user in joins}
        assert not set(leaves) & {user_id for user_id, user in users.by_id.items() if user.connections}
        users.posted((2, 0))
    users.reach((2, 0))
    assert live(users) == set(ids[5:15])


def test_a_user_with_many_connections_ends_them_in_any_order() -> None:
    users = Users()
    connections = [Connection() for _ in range(10)]
    for connection in connections:
        users.add(b"1", connection)
    for connection in reversed(connections[1:]):
        users.remove(b"1", connection, 0)
    assert list(users.by_id[b"1"].connections) == connections[:1]
