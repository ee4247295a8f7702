"""Who is told what, event by event, as the online users and the graph change."""

from collections.abc import Iterable

import pytest

from contract.events import parse
from sequencer.routing import Routing


def routed(routing: Routing, text: bytes, budget: int = 1000) -> dict[bytes, bytes]:
    routing.route(parse(text), budget)
    messages, broadcasts, _ = routing.collect()
    return dict(messages) | ({b"*": broadcasts} if broadcasts else {})


def online(*users: bytes, following: Iterable[bytes] = ()) -> Routing:
    """A routing with these users at a node, all of whom follow the same authors."""
    routing = Routing()
    routing.join(b"n1", users)
    for user in users:
        routing.follows.learn(user, following)
        routing.follows.loaded(user)
    return routing


def test_each_kind_tells_whom_it_should() -> None:
    routing = online(b"1", b"2")
    assert routed(routing, b"1|F|1|2\n") == {b"2": b"1|F|1|2\n"}
    assert routed(routing, b"2|S|2\n") == {b"1": b"2|S|2\n"}
    assert routed(routing, b"3|P|9|1\n") == {b"1": b"3|P|9|1\n"}
    assert routed(routing, b"4|B\n") == {b"*": b"4|B\n"}
    assert routed(routing, b"5|U|1|2\n") == {}
    assert routed(routing, b"6|S|2\n7|P|1|9\n8|U|1|2\n9|U|7|8\n") == {}


def test_a_status_update_goes_to_the_followers_of_that_moment() -> None:
    routing = online(b"1")
    text = b"1|S|5\n2|F|1|5\n3|S|5\n4|U|1|5\n5|S|5\n6|F|1|5\n7|S|5\n"
    assert routed(routing, text) == {b"1": b"3|S|5\n7|S|5\n"}


def test_the_last_change_of_an_edge_wins_and_offline_edges_are_kept_for_the_store() -> None:
    routing = Routing()
    routing.route(parse(b"1|F|1|2\n2|U|1|2\n3|F|3|4\n"), 100)
    _, _, changes = routing.collect()
    assert changes == {(b"1", b"2"): b"U", (b"3", b"4"): b"F"}
    assert not routing.follows.followers


def test_following_oneself() -> None:
    routing = online(b"1")
    assert routed(routing, b"1|F|1|1\n2|S|1\n") == {b"1": b"1|F|1|1\n2|S|1\n"}


def test_a_user_on_two_nodes_is_offline_only_after_both() -> None:
    routing = online(b"1")
    routing.join(b"n2", [b"1"])
    routing.leave(b"n1", [b"1"])
    assert routed(routing, b"1|P|2|1\n") == {b"1": b"1|P|2|1\n"}
    assert (routing.nodes, routing.online_users, routing.is_online(b"1")) == ({b"n1": set(), b"n2": {b"1"}}, 1, True)
    routing.drop_node(b"n2")
    assert (routing.nodes, routing.online_users) == ({b"n1": set()}, 0)
    assert routed(routing, b"2|P|2|1\n") == {}
    assert not routing.is_online(b"1")


def test_leaving_frees_everything() -> None:
    routing = online(b"1", b"2", following=[b"7", b"8"])
    assert routed(routing, b"1|S|7\n") == {b"1": b"1|S|7\n", b"2": b"1|S|7\n"}
    routing.leave(b"n1", [b"1", b"2", b"3"])
    routing.leave(b"unknown", [b"1"])
    assert routing.follows.forgetting
    routing.follows.forget(100)
    follows = routing.follows
    assert (follows.followers, follows._following, follows._outboxes, routing._outboxes) == ({}, {}, {}, {})
    assert not follows.forgetting


@pytest.mark.parametrize("budget", [1, 2, 300])
def test_an_event_costs_one_of_the_budget_whoever_is_told(budget: int) -> None:
    events = parse(b"".join(b"%d|B\n%d|P|1|2\n" % (number, number) for number in range(1, 501)))
    assert Routing().route(events, budget) == (budget, 0)


def test_the_budget_bounds_a_batch() -> None:
    users = [b"%d" % n for n in range(1, 11)]
    routing = online(*users, following=[b"99"])
    events = parse(b"".join(b"%d|S|99\n" % n for n in range(1, 101)))
    done, left = routing.route(events, 50)
    messages, _, _ = routing.collect()
    assert 0 < done < 10
    assert left <= 0
    assert sum(lines.count(b"\n") for _, lines in messages) == done * 10
    assert routing.route(events[done:], 1) == (1, -10)
