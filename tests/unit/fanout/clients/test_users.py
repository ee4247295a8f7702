"""From which batch on a connection is served, who lingers, and what the stream is told."""

from collections.abc import Callable

from fanout.clients.users import Members


class Connection:
    @property
    def write(self) -> Callable[[bytes], None]:
        raise NotImplementedError


def live(members: Members) -> set[bytes]:
    return set(members.live)


def news(members: Members, limit: int = 10, now_s: float = 0.0) -> tuple[list[bytes], list[bytes]]:
    """What is told next, as ids."""
    leaves, joins = members.take_news(limit, now_s)
    return leaves, [user.id for user in joins]


def come(members: Members, *ids: bytes) -> dict[bytes, Connection]:
    connections = {user_id: Connection() for user_id in ids}
    for user_id, connection in connections.items():
        members.add(user_id, connection)
    return connections


def go(members: Members, connections: dict[bytes, Connection], now_s: float = 0.0) -> None:
    for user_id, connection in connections.items():
        members.remove(user_id, connection, now_s)


def made_live(members: Members, *ids: bytes) -> dict[bytes, Connection]:
    """Users who came, were told of and reached."""
    connections = come(members, *ids)
    news(members, len(ids))
    members.told((1, 0))
    members.reach((1, 0))
    return connections


def test_a_user_is_live_from_the_frame_that_covers_the_join() -> None:
    members = Members()
    come(members, b"1")
    assert news(members) == ([], [b"1"])
    members.reach((99, 0))
    assert live(members) == set()
    members.told((5, 1))
    members.reach((5, 0))
    assert live(members) == set()
    members.reach((5, 1))
    assert live(members) == {b"1"}


def test_a_frame_covers_all_joins_up_to_its_cursor() -> None:
    members = Members()
    for number in range(1, 5):
        come(members, b"%d" % number)
        news(members)
        members.told((5, number))
    members.reach((5, 3))
    assert live(members) == {b"1", b"2", b"3"}
    members.reach((7, 0))
    assert live(members) == {b"1", b"2", b"3", b"4"}
    assert members.entries_ahead == 0


def test_further_connections_join_without_news() -> None:
    members = Members()
    first = come(members, b"1")
    news(members)
    second = come(members, b"1")
    assert members.news_in_s(0) is None
    go(members, first)
    assert members.news_in_s(0) is None
    go(members, second)
    assert news(members) == ([b"1"], [])
    assert members.connections == 0


def test_many_who_come_together_are_told_in_few_entries() -> None:
    members = Members()
    ids = [b"%d" % n for n in range(1, 8)]
    come(members, *ids)
    told = []
    while members.news_in_s(0) == 0:
        leaves, joins = news(members, 3)
        assert leaves == []
        told.append(joins)
    assert told == [ids[:3], ids[3:6], ids[6:]]


def test_many_who_leave_are_told_in_few_entries_and_in_order() -> None:
    members = Members()
    ids = [b"%d" % n for n in range(1, 8)]
    go(members, made_live(members, *ids))
    told = []
    while members.news_in_s(0) == 0:
        leaves, joins = news(members, 3)
        assert joins == []
        told.append(leaves)
    assert told == [ids[:3], ids[3:6], ids[6:]]
    assert (members.users, live(members)) == ({}, set())


def test_coming_back_while_lingering_is_no_news_and_stays_live() -> None:
    members = Members(linger_s=2)
    go(members, made_live(members, b"1"), now_s=10)
    assert (members.news_in_s(10), members.lingering) == (2, 1)
    assert news(members, now_s=11.9) == ([], [])
    back = come(members, b"1")
    assert (members.news_in_s(99), members.lingering) == (None, 0)
    assert live(members) == {b"1"}
    assert list(members.live[b"1"].connections) == list(back.values())


def test_who_does_not_come_back_leaves_once_lingering_is_over() -> None:
    members = Members(linger_s=2)
    connections = made_live(members, b"1", b"2")
    go(members, {b"2": connections[b"2"]}, now_s=10)
    go(members, {b"1": connections[b"1"]}, now_s=11)
    assert news(members, now_s=12) == ([b"2"], [])
    assert live(members) == {b"1"}
    assert members.news_in_s(12.5) == 0.5
    assert members.news_in_s(99) == 0.0, "it is due, not overdue"
    assert news(members, now_s=14.5) == ([b"1"], [])
    assert members.news_in_s(13) is None


def test_coming_back_after_the_leave_was_told_is_a_new_join() -> None:
    members = Members()
    go(members, made_live(members, b"1"))
    assert news(members) == ([b"1"], [])
    new = come(members, b"1")
    members.told((2, 0))
    members.reach((2, 0))
    assert live(members) == set()
    assert news(members) == ([], [b"1"])
    members.told((3, 0))
    members.reach((3, 0))
    assert list(members.live[b"1"].connections) == list(new.values())


def test_leaving_before_the_join_was_posted_is_no_news() -> None:
    members = Members()
    go(members, come(members, b"1"))
    assert members.news_in_s(0) is None
    assert members.users == {}


def test_leaving_while_the_join_is_on_its_way() -> None:
    members = Members()
    connections = come(members, b"1")
    news(members)
    go(members, connections)
    members.told((1, 0))
    assert news(members) == ([b"1"], [])
    members.reach((2, 0))
    assert live(members) == set()


def test_leaving_and_coming_back_while_the_join_is_on_its_way_is_no_news() -> None:
    members = Members(linger_s=2)
    connections = come(members, b"1")
    news(members)
    go(members, connections)
    come(members, b"1")
    assert members.news_in_s(0) is None
    members.told((1, 0))
    members.reach((1, 0))
    assert live(members) == {b"1"}


# What was told may not have arrived


def test_before_anything_was_told_there_is_nothing_to_tell_again() -> None:
    members = Members()
    members.tell_again()
    assert (members.news_in_s(0), members.entries_ahead) == (None, 0)


def test_a_leave_that_did_not_arrive_is_told_again() -> None:
    for again in (Members.refused, Members.tell_again):
        members = Members()
        go(members, made_live(members, b"1"))
        for _ in range(3):
            assert news(members) == ([b"1"], [])
            again(members)
        assert news(members) == ([b"1"], [])
        members.told((2, 0))
        assert members.news_in_s(0) is None


def test_what_has_arrived_is_not_told_again_when_something_else_is_refused() -> None:
    members = Members()
    come(members, b"1")
    news(members)
    members.told((1, 0))
    members.refused()
    assert members.news_in_s(0) is None


def test_leaves_told_again_and_new_ones_fill_an_entry_together() -> None:
    members = Members()
    ids = [b"%d" % n for n in range(1, 21)]
    connections = made_live(members, *ids)
    go(members, {user_id: connections[user_id] for user_id in ids[:6]})
    assert news(members, 10) == (ids[:6], [])
    members.refused()
    go(members, {user_id: connections[user_id] for user_id in ids[6:]})
    assert news(members, 10) == (ids[:10], [])
    assert news(members, 20) == (ids[10:], [])


def test_who_comes_back_to_a_join_that_did_not_arrive_is_told_again() -> None:
    members = Members(linger_s=2)
    connections = come(members, b"1")
    news(members)
    go(members, connections)
    members.refused()
    assert members.news_in_s(0) == 2
    come(members, b"1")
    assert news(members) == ([], [b"1"])


def test_who_comes_back_to_a_join_of_an_earlier_connection_is_told_again() -> None:
    members = Members(linger_s=2)
    connections = come(members, b"1")
    news(members)
    members.told((1, 0))
    go(members, connections)
    members.tell_again()
    come(members, b"1")
    assert news(members) == ([], [b"1"])


def test_a_user_who_is_back_and_gone_before_the_leave_is_known_to_have_failed_leaves_for_good() -> None:
    members = Members()
    go(members, made_live(members, b"1"))
    news(members)
    back = come(members, b"1")
    members.refused()
    go(members, back)
    assert news(members) == ([b"1"], [])


def test_a_user_who_comes_and_goes_while_the_leave_is_to_be_told_again_leaves_for_good() -> None:
    members = Members()
    go(members, made_live(members, b"1"))
    news(members)
    members.refused()
    go(members, come(members, b"1"))
    assert news(members) == ([b"1"], []), "the stream may have the first join still"


def test_a_user_whose_leave_may_have_arrived_is_told_as_having_come_and_nothing_else() -> None:
    members = Members()
    go(members, made_live(members, b"1"))
    assert news(members) == ([b"1"], [])
    come(members, b"1")
    members.refused()
    assert news(members) == ([], [b"1"])
    assert members.news_in_s(0) is None


def test_a_user_who_comes_back_before_the_leave_is_told_again() -> None:
    members = Members()
    go(members, made_live(members, b"1"))
    news(members)
    members.tell_again()
    back = come(members, b"1")
    assert news(members) == ([], [b"1"])
    # The stream may have the first join still, so this leave is told although no join of it was confirmed.
    members.refused()
    go(members, back)
    assert news(members) == ([b"1"], [])


def test_a_refused_join_without_connections_left_is_told_as_a_leave() -> None:
    members = Members()
    connections = come(members, b"1")
    news(members)
    go(members, connections)
    members.refused()
    assert news(members) == ([b"1"], [])


def test_a_refused_entry_leaves_earlier_ones_alone() -> None:
    members = Members()
    come(members, b"1")
    news(members)
    members.told((1, 0))
    come(members, b"2")
    assert news(members) == ([], [b"2"])
    members.refused()
    assert members.entries_ahead == 1
    assert news(members) == ([], [b"2"])
    members.told((2, 0))
    members.reach((1, 0))
    assert live(members) == {b"1"}


def test_on_a_new_connection_everyone_who_is_not_live_is_told_again() -> None:
    members = Members()
    made_live(members, b"1")
    come(members, b"2")
    news(members)
    members.told((2, 0))
    come(members, b"3")
    assert news(members) == ([], [b"3"])
    members.tell_again()
    assert members.entries_ahead == 0
    assert sorted(news(members)[1]) == [b"2", b"3"]
    members.reach((2, 0))
    assert live(members) == {b"1"}


def test_nobody_is_in_both_halves_of_an_entry_and_nobody_here_is_given_up() -> None:
    # More leaves than one entry holds, an entry that fails, and some of the users back: each of these at once.
    members = Members()
    ids = [b"%d" % n for n in range(1, 31)]
    go(members, made_live(members, *ids))
    news(members, 10)
    members.refused()
    come(members, *ids[5:15])
    while members.news_in_s(0) == 0:
        leaves, joins = members.take_news(10, 0)
        assert not set(leaves) & {user.id for user in joins}
        assert not set(leaves) & {user_id for user_id, user in members.users.items() if user.connections}
        members.told((2, 0))
    members.reach((2, 0))
    assert live(members) == set(ids[5:15])


def test_a_user_with_many_connections_ends_them_in_any_order() -> None:
    members = Members()
    connections = [Connection() for _ in range(10)]
    for connection in connections:
        members.add(b"1", connection)
    for connection in reversed(connections[1:]):
        members.remove(b"1", connection, 0)
    assert list(members.users[b"1"].connections) == connections[:1]
