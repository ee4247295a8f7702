"""Whose place is kept: what is posted for users who opted in, and when their connections are ready."""

from typing import cast

from contract.control import Position
from fanout.clients.newcomer import Newcomer
from fanout.clients.served import ServedClient
from fanout.clients.users import Users


class Connection:
    pass


def opted_in(users: Users, user_id: bytes) -> Newcomer:
    newcomer = Newcomer(user_id, cast(ServedClient, Connection()), Position(b"9f31c2", 7))
    users.add_newcomer(newcomer)
    return newcomer


def bare(users: Users, user_id: bytes) -> ServedClient:
    connection = cast(ServedClient, Connection())
    users.add(user_id, connection)
    return connection


Posted = tuple[list[bytes], list[bytes], list[bytes], list[bytes]]


def taken(users: Users, now_s: float = 0.0) -> Posted:
    """(leave, join, keep, forget) of the next entry."""
    leaves, joins = users.take_pending(10, now_s)
    posting = users.posting
    assert list(posting.leaves) == leaves
    forget = [user_id for user_id, said_bye in posting.leaves.items() if said_bye]
    return leaves, [user.id for user in joins], [user.id for user in posting.keep], forget


def ready(users: Users) -> list[Newcomer]:
    return list(users.ready.values())


def kept(users: Users, user_id: bytes = b"1") -> Newcomer:
    """A newcomer whose user's place is kept."""
    newcomer = opted_in(users, user_id)
    taken(users)
    users.posted((1, 0))
    users.reach((1, 0))
    assert newcomer in ready(users)
    return newcomer


def test_a_user_who_opts_in_is_joined_with_keep_and_is_ready_once_that_is_reached() -> None:
    users = Users()
    newcomer = opted_in(users, b"1")
    bare(users, b"2")
    assert taken(users) == ([], [b"1", b"2"], [b"1"], [])
    users.posted((5, 0))
    users.reach((4, 9))
    assert ready(users) == []
    users.reach((5, 0))
    assert ready(users) == [newcomer]
    assert set(users.live) == {b"1", b"2"}
    assert users.live[b"1"].connections == {}, "nothing is written to it until it has what it missed"
    users.make_live(newcomer)
    assert list(users.live[b"1"].connections) == [newcomer.connection]
    assert (ready(users), users.connections) == ([], 2)


def test_further_connections_of_a_user_whose_place_is_kept_are_ready_at_once() -> None:
    users = Users()
    first = kept(users)
    second = opted_in(users, b"1")
    assert ready(users) == [first, second]
    assert users.pending_in_s(0) is None


def test_a_live_user_who_opts_in_is_joined_again_and_its_other_connections_go_on() -> None:
    users = Users()
    other = bare(users, b"1")
    assert taken(users) == ([], [b"1"], [], [])
    users.posted((1, 0))
    users.reach((1, 0))
    newcomer = opted_in(users, b"1")
    assert taken(users) == ([], [b"1"], [b"1"], [])
    users.posted((2, 0))
    assert list(users.live[b"1"].connections) == [other]
    assert ready(users) == []
    users.reach((2, 0))
    assert ready(users) == [newcomer]
    assert list(users.live[b"1"].connections) == [other]
    opted_in(users, b"1")
    assert users.pending_in_s(0) is None, "its place is kept once and for all"


def test_opting_in_while_a_bare_join_is_on_its_way_does_not_count_for_that_one() -> None:
    users = Users()
    bare(users, b"1")
    taken(users)
    newcomer = opted_in(users, b"1")
    users.posted((1, 0))
    assert taken(users) == ([], [b"1"], [b"1"], [])
    users.reach((1, 0))
    assert (set(users.live), ready(users)) == ({b"1"}, [])
    users.posted((2, 0))
    users.reach((2, 0))
    assert ready(users) == [newcomer]


def test_a_bare_connection_of_a_user_who_opted_in_changes_nothing() -> None:
    users = Users()
    newcomer = opted_in(users, b"1")
    bare(users, b"1")
    assert taken(users) == ([], [b"1"], [b"1"], [])
    users.posted((1, 0))
    users.reach((1, 0))
    assert ready(users) == [newcomer]


def test_a_join_with_keep_that_did_not_arrive_is_posted_again_with_keep() -> None:
    users = Users()
    bare(users, b"1")
    taken(users)
    users.posted((1, 0))
    users.reach((1, 0))
    newcomer = opted_in(users, b"1")
    for again in (users.not_posted, users.post_again):
        assert taken(users) == ([], [b"1"], [b"1"], [])
        again()
    assert taken(users) == ([], [b"1"], [b"1"], [])
    users.posted((2, 0))
    users.post_again()
    assert taken(users) == ([], [b"1"], [b"1"], []), "posted, but over a connection that was lost"
    users.posted((3, 0))
    users.reach((3, 0))
    assert ready(users) == [newcomer]
    users.post_again()
    assert users.pending_in_s(0) is None


def test_who_ends_its_connection_is_not_ready_any_more() -> None:
    users = Users()
    newcomer, other = kept(users), opted_in(users, b"2")
    users.remove(b"1", newcomer.connection, 0)
    users.remove(b"2", other.connection, 0)
    assert (ready(users), users.connections, users.lingering) == ([], 0, 1)
    users.reach((9, 0))
    assert ready(users) == []


def test_a_place_stays_kept_while_the_user_lingers() -> None:
    users = Users(linger_s=2)
    newcomer = kept(users)
    users.make_live(newcomer)
    users.remove(b"1", newcomer.connection, 10)
    back = opted_in(users, b"1")
    assert ready(users) == [back]
    assert users.pending_in_s(99) is None
    users.remove(b"1", back.connection, 20)
    assert taken(users, 22) == ([b"1"], [], [], [])
    opted_in(users, b"1")
    assert ready(users) == [], "it has left, so its join has to be consumed anew"
    assert taken(users, 22) == ([], [b"1"], [b"1"], [])


def test_who_comes_back_before_the_old_join_is_reached_needs_its_own() -> None:
    users = Users()
    first = opted_in(users, b"1")
    taken(users)
    users.posted((1, 0))
    users.remove(b"1", first.connection, 0)
    assert taken(users) == ([b"1"], [], [], [])
    users.posted((2, 0))
    second = opted_in(users, b"1")
    assert taken(users) == ([], [b"1"], [b"1"], [])
    users.posted((3, 0))
    users.reach((2, 0))
    assert ready(users) == []
    users.reach((3, 0))
    assert ready(users) == [second]


def test_bye_of_the_last_connection_is_posted_with_the_leave() -> None:
    users = Users(linger_s=2)
    first = kept(users)
    second = opted_in(users, b"1")
    users.remove(b"1", first.connection, 10, forget=True)
    users.remove(b"1", second.connection, 10)
    assert taken(users, 12) == ([b"1"], [], [], []), "the last one did not say it"
    third = opted_in(users, b"1")
    taken(users)
    users.remove(b"1", third.connection, 20, forget=True)
    assert taken(users, 21.9) == ([], [], [], [])
    assert taken(users, 22) == ([b"1"], [], [], [b"1"])


def test_bye_is_forgotten_when_the_user_opts_in_again_and_not_when_it_comes_bare() -> None:
    users = Users(linger_s=2)
    users.remove(b"1", kept(users).connection, 10, forget=True)
    back = opted_in(users, b"1")
    users.remove(b"1", back.connection, 11)
    assert taken(users, 13) == ([b"1"], [], [], [])
    users.remove(b"2", kept(users, b"2").connection, 20, forget=True)
    users.remove(b"2", bare(users, b"2"), 21)
    assert taken(users, 23) == ([b"2"], [], [], [b"2"])


def test_bye_outlasts_a_post_that_fails() -> None:
    users = Users()
    users.remove(b"1", kept(users).connection, 0, forget=True)
    for _ in range(2):
        assert taken(users) == ([b"1"], [], [], [b"1"])
        users.not_posted()
    users.remove(b"1", bare(users, b"1"), 0)
    assert taken(users) == ([b"1"], [], [], [b"1"])
    users.posted((2, 0))
    assert taken(users) == ([], [], [], [])
