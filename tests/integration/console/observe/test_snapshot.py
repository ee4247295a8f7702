"""Reading a snapshot from a real server, with expected and with unexpected data."""

import json

import redis

from console.observe.snapshot import Rejection, read
from contract.keys import Keys
from contract.reports import Heartbeat, Report


def test_an_empty_server(server_url: str, namespace: str) -> None:
    with redis.Redis.from_url(server_url) as client:
        seen = read(client, Keys(namespace))
        seconds, _ = client.time()
        assert abs(seen.time_ms / 1000 - int(seconds)) < 10
        assert (seen.state, seen.nodes, seen.services, seen.lease, seen.lowest_waiting) == ({}, {}, {}, None, None)
        assert int(seen.memory["used_memory"]) > 0
        assert seen.appends is False
        assert not client.keys(f"{{{namespace}}}*"), "looking writes nothing"


def test_everything_that_is_there(server_url: str, namespace: str) -> None:
    keys = Keys(namespace)
    with redis.Redis.from_url(server_url) as client:
        client.hset(keys.state, mapping={"next": 7, "received": 9})
        client.hset(keys.nodes, "n-1", "40 1700000000000 3 1")
        facts = {"not_ready": [], "sources": 2}
        client.hset(keys.services, "listener/a", f"1700000000123 {json.dumps(facts)}")
        client.set(keys.lease, "a-1-f")
        client.zadd(keys.waiting, {b"9|B\n": 9, b"12|B\n": 12})
        client.xadd(keys.events, {"raw": b"9|B\n"}, id="1700000000000-1")
        for number in range(1, 13):
            client.xadd(keys.rejected, {"reason": "not an event", "line": b"\xff?%d\r\n" % number}, id=f"{number}-0")
        seen = read(client, keys)
        client.delete(*client.keys(f"{keys.prefix}*"))
    assert (seen.number("next"), seen.number("received"), seen.number("late")) == (7, 9, 0)
    assert seen.nodes == {"n-1": Heartbeat(40, 1700000000000, 3, 1)}
    assert seen.services == {"listener/a": Report(1700000000123, facts)}
    assert (seen.lease, seen.waiting, seen.lowest_waiting) == ("a-1-f", 2, 9)
    assert (seen.events_entries, seen.oldest_entry_ms) == (1, 1700000000000)
    assert seen.rejected_entries == 12
    assert len(seen.rejected) == 10
    assert seen.rejected[0] == Rejection("12-0", 12, "not an event", "\\xff?12")


def test_a_user_who_may_not_ask_about_memory_sees_the_rest(server_url: str, namespace: str) -> None:
    keys = Keys(namespace)
    with redis.Redis.from_url(server_url) as client:
        client.set(keys.lease, "a-1-f")
        client.execute_command("ACL", "SETUSER", namespace, "on", "nopass", "~*", "+@all", "-info")
        with redis.Redis.from_url(server_url.replace("://", f"://{namespace}:any@")) as restricted:
            seen = read(restricted, keys)
        client.execute_command("ACL", "DELUSER", namespace)
        client.delete(keys.lease)
    assert (seen.lease, seen.memory, seen.appends) == ("a-1-f", {}, None)
