"""Guessing the dashboard's password is slowed down, and no viewer is kept out."""

import pytest

from console.web import password as module
from console.web.password import BURST, EACH_SECOND, FORGOTTEN_S, FREE, LONGEST_S, MOST_ADDRESSES, Password, network

GUESSER, VIEWER = "192.0.2.7", "192.0.2.8"


def guess(password: Password, address: str, now_s: float) -> bool:
    """One try with a wrong password; whether it was looked at."""
    if password.wait_s(address, now_s):
        return False
    assert not password.is_right(b"wrong", address, now_s)
    return True


def test_the_first_wrong_ones_cost_nothing() -> None:
    password = Password("grüße")
    assert [guess(password, GUESSER, 0.0) for _ in range(FREE)] == [True] * FREE
    assert password.wait_s(GUESSER, 0.0) == 0
    assert password.is_right("grüße".encode(), GUESSER, 0.0)


def test_then_the_address_waits_twice_as_long_each_time() -> None:
    password, now_s, waits = Password("secret"), 0.0, []
    for _ in range(FREE + 9):
        assert guess(password, GUESSER, now_s)
        waits.append(password.wait_s(GUESSER, now_s))
        if waits[-1]:
            assert not guess(password, GUESSER, now_s + waits[-1] * 0.9)
        now_s += waits[-1]
    assert waits == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_it_never_becomes_more_than_the_longest_wait() -> None:
    password, now_s = Password("secret"), 0.0
    for _ in range(3000):
        assert guess(password, GUESSER, now_s)
        now_s += password.wait_s(GUESSER, now_s)
    guess(password, GUESSER, now_s)
    assert password.wait_s(GUESSER, now_s) == LONGEST_S


def test_ten_thousand_tries_in_a_second_are_six_guesses() -> None:
    password = Password("secret")
    assert sum(guess(password, GUESSER, number / 10_001) for number in range(10_000)) == FREE + 1


def test_the_right_one_is_not_looked_at_either_while_its_address_waits() -> None:
    """Otherwise the wait would not hold up anyone who guesses."""
    password = Password("secret")
    for _ in range(FREE + 1):
        guess(password, GUESSER, 0.0)
    assert password.wait_s(GUESSER, 0.5) == 0.5
    assert password.wait_s(GUESSER, 1.0) == 0
    assert password.is_right(b"secret", GUESSER, 1.0)


def test_a_right_one_from_elsewhere_is_never_held_up_by_one_address() -> None:
    password = Password("secret")
    for number in range(100_000):
        guess(password, GUESSER, number / 1_000)
    assert password.wait_s(VIEWER, 100.0) == 0
    assert password.is_right(b"secret", VIEWER, 100.0)


def test_wrong_ones_are_forgotten_after_a_while() -> None:
    password = Password("secret")
    for _ in range(FREE + 1):
        guess(password, GUESSER, 0.0)
    assert [guess(password, GUESSER, FORGOTTEN_S + 1) for _ in range(FREE)] == [True] * FREE


def test_very_many_addresses_are_limited_together_and_who_was_right_before_is_not() -> None:
    password = Password("secret")
    assert password.is_right(b"secret", VIEWER, 0.0)
    looked_at = sum(guess(password, f"10.{n >> 8 & 255}.{n & 255}.1", n / 10_000) for n in range(10_000))
    assert looked_at == pytest.approx(BURST + EACH_SECOND, abs=1)
    assert 0 < password.wait_s("198.51.100.1", 0.9999) <= 1 / EACH_SECOND
    assert password.wait_s(VIEWER, 0.9999) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST", 1e9)
    password = Password("secret")
    for number in range(3 * MOST_ADDRESSES):
        address = f"10.{number >> 8 & 255}.{number & 255}.1"
        guess(password, address, 0.0)
        password.is_right(b"secret", address, 0.0)
    assert len(password._wrong) == len(password._right) == MOST_ADDRESSES


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.7") == network("192.0.2.7") == "192.0.2.7"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("unknown") == "unknown"
