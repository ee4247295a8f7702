"""Compares the oracle with a literal implementation of the rules, event by event, for every user."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.oracle import Oracle
from simulator.workload import Workload, blocks


def notified_by_the_rules(line: str, followers: dict[int, set[int]], everyone: list[int]) -> list[int]:
    """The users who are notified of one event, straight from the table of events."""
    _, kind, *ids = line.strip().split("|")
    users = [int(text) for text in ids]
    match kind:
        case "F":
            followers.setdefault(users[1], set()).add(users[0])
            return [users[1]]
        case "U":
            followers.get(users[1], set()).discard(users[0])
            return []
        case "B":
            return everyone
        case "P":
            return [users[1]]
        case _:
            return list(followers.get(users[0], ()))


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 50))
def test_the_oracle_follows_the_rules(seed: int, users: int, max_batch: int) -> None:
    work = Workload(300, users, seed, max_batch)
    clients = list(range(1, users + 1, 2))
    oracle = Oracle(clients, keep=True)
    followers: dict[int, set[int]] = {}
    received = dict.fromkeys(clients, "")
    for block in blocks(work):
        oracle.feed(block)
        for line in block.lines:
            for user in notified_by_the_rules(line, followers, clients):
                if user in received:
                    received[user] += line
    for client in clients:
        expected = oracle.expected[client]
        assert expected.bytes.decode() == received[client]
        assert (expected.size, expected.lines) == (len(received[client]), received[client].count("\n"))


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (list(blocks(Workload(250_000, 50, 1))) for _ in range(2))
    assert first == second
    assert b"".join(b.arrival for b in first) != b"".join(b.arrival for b in blocks(Workload(250_000, 50, 2)))


def test_arrival_is_a_shuffle_within_the_pieces() -> None:
    work = Workload(1000, 50, 7, max_batch=20)
    (block,) = blocks(work)
    assert sum(block.sends) == len(block.arrival)
    assert len(block.sends) == 50
    arrived = block.arrival.decode().splitlines(keepends=True)
    assert arrived != block.lines
    for start in range(0, 1000, 20):
        assert sorted(arrived[start : start + 20]) == sorted(block.lines[start : start + 20])


def test_user_ids_start_at_first_user() -> None:
    (block,) = blocks(Workload(500, 7, 3, first_user=1000))
    assert set(block.origins) | set(block.targets) == set(range(1000, 1007))
