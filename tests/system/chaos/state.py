"""Compares what Redis holds after a round with what the events imply."""

from tests.support.deployment import Deployment


def state_differences(system: Deployment, followers: dict[int, set[int]], end: int) -> list[str]:
    """Differences in position, counters, waiting events and graph; `end`: the number after the last event."""
    found = {
        "next": system.state("next"),
        "released": system.state("released") + 1,
        "waiting": system.redis.zcard(system.keys.waiting) + end,
        "conflict": system.state("conflict") + end,
        "malformed": system.state("malformed") + end,
    }
    differences = [f"{name} is off by {n - end}" for name, n in found.items() if n != end]
    refused = {reason for reason, _ in system.rejected()} - {"no line end before the source closed"}
    differences += [f"refused: {reason}" for reason in refused]
    wanted = {(str(follower), str(author)) for author, users in followers.items() for follower in users}
    if _edges(system, system.keys.following) != wanted:
        differences.append("the follow sets differ from the events")
    if {(follower, author) for author, follower in _edges(system, system.keys.followers)} != wanted:
        differences.append("the follower sets differ from the events")
    return differences


def _edges(system: Deployment, prefix: str) -> set[tuple[str, str]]:
    """(user in the key, member) for every set with this prefix."""
    keys = list(system.redis.scan_iter(prefix.replace("{", "[{]") + "*", count=1000))
    return {(key[len(prefix) :], member) for key in keys for member in system.redis.smembers(key)}


def place_differences(system: Deployment, keepers: set[str]) -> list[str]:
    """Differences in the kept places, while the users `keepers` are connected and have asked to keep theirs."""
    nodes = system.redis.hkeys(system.keys.nodes)
    with system.redis.pipeline(transaction=True) as at_once:
        at_once.zrange(system.keys.away, 0, -1)
        at_once.hkeys(system.keys.since)
        for node in nodes:
            at_once.smembers(system.keys.online + node)
        away, since, *online = at_once.execute()
    there = set().union(*online)
    checks = {
        "are away and online": set(away) & there,
        "are away, and nobody knows since when they are routed": set(away) - set(since),
        "have no place, and asked for it": keepers - set(since),
        "have a place, and are neither online nor away": set(since) - there - set(away),
    }
    return [f"users {sorted(users)} {what}" for what, users in checks.items() if users]
