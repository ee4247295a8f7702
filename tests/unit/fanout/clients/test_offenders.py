"""Users are remembered for a while, addresses only when most of their connections did it, and never too many."""

from hypothesis import given
from hypothesis import strategies as st

from fanout.clients.offenders import MOST, REMEMBERED_S, Offenders


def test_a_user_is_remembered_for_some_minutes() -> None:
    subject = Offenders()
    assert not subject.has(b"7", "192.0.2.1", 0)
    subject.add(b"7", "192.0.2.1", 0, 1, 0)
    assert subject.has(b"7", "192.0.2.2", REMEMBERED_S - 1)
    assert not subject.has(b"8", "192.0.2.1", 1)
    assert not subject.has(b"7", "192.0.2.1", REMEMBERED_S)


def test_the_last_offence_counts() -> None:
    subject = Offenders()
    for now_s in (0, 200):
        subject.add(b"7", "192.0.2.1", 0, 1, now_s)
    assert subject.has(b"7", "", 200 + REMEMBERED_S - 1)
    assert (subject.count(200 + REMEMBERED_S - 1), subject.count(200 + REMEMBERED_S)) == (1, 0)


def test_an_address_is_remembered_when_most_of_its_connections_did_it() -> None:
    subject = Offenders()
    subject.add(b"7", "192.0.2.1", 50, 100, 0)
    assert not subject.has(b"1", "192.0.2.1", 1)
    subject.add(b"8", "192.0.2.1", 51, 100, 1)
    assert subject.has(b"1", "192.0.2.1", 2)
    assert not subject.has(b"1", "192.0.2.2", 2)
    assert subject.count(2) == 3


@given(st.lists(st.integers(0, 9), max_size=50))
def test_the_newest_displace_the_oldest(users: list[int]) -> None:
    subject = Offenders(most=4)
    for now_s, user in enumerate(users):
        subject.add(b"%d" % user, "", 0, 1, now_s)
        newest = list(dict.fromkeys(reversed(users[: now_s + 1])))
        assert {user for user in range(10) if subject.has(b"%d" % user, "", now_s)} == set(newest[:4])
        assert subject.count(now_s) == len(newest[:4])


def test_nobody_fills_the_memory() -> None:
    subject = Offenders()
    for user in range(2 * MOST):
        subject.add(b"%d" % user, str(user), 1, 1, 0)
    assert subject.count(0) == 2 * MOST
