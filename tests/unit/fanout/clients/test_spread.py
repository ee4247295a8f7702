"""How the ends and the beginnings of connections are spread over time."""

from fanout.clients.spread import LEAST_WAIT_MS, LONGEST_WAIT_MS, Rush, Spread, drained


def test_a_drain_takes_longer_with_more_connections_up_to_what_it_may_take() -> None:
    assert drained(0, 3, 12, 500) == Spread(3, LEAST_WAIT_MS)
    assert drained(1_500, 3, 12, 500) == Spread(3, LEAST_WAIT_MS)
    assert drained(2_000, 3, 12, 500) == Spread(4, LEAST_WAIT_MS)
    assert drained(6_000, 3, 12, 500) == Spread(12, LEAST_WAIT_MS)
    assert drained(18_000, 3, 12, 500) == Spread(12, 24_000), "the rest of the time is the clients'"
    assert drained(6_100, 3, 12, 500) == Spread(12, 200)


def test_a_drain_never_takes_less_than_its_least_time() -> None:
    assert drained(1, 60, 12, 500) == Spread(60, LEAST_WAIT_MS)


def test_a_stop_in_haste_takes_no_time_and_the_clients_take_all_of_it() -> None:
    assert drained(10_000, 0, 12, 500) == Spread(0, 20_000)
    assert drained(10, 0, 12, 500) == Spread(0, LEAST_WAIT_MS)


def test_a_burst_of_10_seconds_is_let_in_and_then_so_many_a_second() -> None:
    rush = Rush(100)
    assert [rush.wait_ms(5) for _ in range(1_000)] == [0] * 1_000
    assert rush.wait_ms(5)
    assert [rush.wait_ms(6) > 0 for _ in range(102)] == [False] * 100 + [True] * 2


def test_each_that_is_refused_is_told_to_wait_longer_than_the_one_before() -> None:
    rush = Rush(100)
    for _ in range(1_000):
        rush.wait_ms(0)
    waits = [rush.wait_ms(0) for _ in range(300)]
    assert waits == sorted(waits)
    assert (waits[0], waits[99], waits[299]) == (1_010, 2_000, 4_000)
    for _ in range(10_000):
        assert rush.wait_ms(0) <= LONGEST_WAIT_MS
    assert rush.wait_ms(1) == 0
    assert [rush.wait_ms(1) for _ in range(101)][-2:] == [1_010, 1_020]


def test_no_limit() -> None:
    rush = Rush(0)
    assert [rush.wait_ms(0) for _ in range(10_000)] == [0] * 10_000
