"""From which batch on a connection is served, and what the stream is told."""

from collections.abc import Callable

from fanout.members import Members


class Connection:
    @property
    def write(self) -> Callable[[bytes], None]:
        raise NotImplementedError


def live(members: Members) -> set[bytes]:
    return set(members.live)


def test_a_user_is_live_from_the_frame_that_covers_the_join() -> None:
    members = Members()
    members.add(b"1", Connection())
    leaves, joins = members.take_news(10)
    assert (leaves, [user.id for user in joins]) == ([], [b"1"])
    members.reach((99, 0))
    assert live(members) == set()
    members.joined(joins, (5, 1))
    members.reach((5, 0))
    assert live(members) == set()
    members.reach((5, 1))
    assert live(members) == {b"1"}


def test_further_connections_join_without_news() -> None:
    members = Members()
    first, second = Connection(), Connection()
    members.add(b"1", first)
    members.take_news(10)
    members.add(b"1", second)
    assert not members.has_news
    members.remove(b"1", first)
    assert not members.has_news
    members.remove(b"1", second)
    assert members.take_news(10) == ([b"1"], [])
    assert members.connections == 0


def test_many_who_come_together_are_told_in_few_entries() -> None:
    members = Members()
    ids = [b"%d" % n for n in range(1, 8)]
    for user_id in ids:
        members.add(user_id, Connection())
    told = []
    while members.has_news:
        leaves, joins = members.take_news(3)
        assert leaves == []
        told.append([user.id for user in joins])
    assert told == [ids[:3], ids[3:6], ids[6:]]


def test_who_comes_back_is_not_told_before_the_leave() -> None:
    members = Members()
    first = {user_id: Connection() for user_id in (b"1", b"2")}
    for user_id, connection in first.items():
        members.add(user_id, connection)
    members.take_news(10)
    for user_id, connection in first.items():
        members.remove(user_id, connection)
    members.add(b"2", Connection())
    assert members.take_news(1) == ([b"1"], [])
    leaves, joins = members.take_news(1)
    assert (leaves, [user.id for user in joins]) == ([b"2"], [b"2"])


def test_leaving_before_the_join_was_posted_is_no_news() -> None:
    members = Members()
    connection = Connection()
    members.add(b"1", connection)
    members.remove(b"1", connection)
    assert not members.has_news


def test_leaving_while_the_join_is_on_its_way() -> None:
    members = Members()
    connection = Connection()
    members.add(b"1", connection)
    _, joins = members.take_news(10)
    members.remove(b"1", connection)
    members.joined(joins, (1, 0))
    members.reach((2, 0))
    assert live(members) == set()
    assert members.take_news(10) == ([b"1"], [])


def test_coming_back_is_a_new_join_after_the_leave() -> None:
    members = Members()
    old, new = Connection(), Connection()
    members.add(b"1", old)
    _, first = members.take_news(10)
    members.joined(first, (1, 0))
    members.reach((1, 0))
    members.remove(b"1", old)
    members.add(b"1", new)
    members.reach((2, 0))
    assert live(members) == set()
    leaves, second = members.take_news(10)
    assert (leaves, [user.id for user in second]) == ([b"1"], [b"1"])
    members.joined(second, (3, 0))
    members.reach((3, 0))
    assert members.live[b"1"].connections == [new]


def test_a_leave_that_waits_holds_its_join_back() -> None:
    members = Members()
    connections = [Connection() for _ in range(3)]
    for user, connection in zip((b"1", b"2", b"3"), connections, strict=True):
        members.add(user, connection)
    members.take_news(10)
    for user, connection in zip((b"1", b"2", b"3"), connections, strict=True):
        members.remove(user, connection)
    members.add(b"3", Connection())
    assert members.take_news(2) == ([b"1", b"2"], [])
    leaves, joins = members.take_news(2)
    assert (leaves, [user.id for user in joins]) == ([b"3"], [b"3"])
    assert not members.has_news
