"""The named scenarios, each for one kind of trouble, and the random mix of all faults."""

from random import Random

from tests.system.chaos.faults import FAULTS, PLACES
from tests.system.chaos.round import Plan
from tests.system.chaos.stage import SETTINGS

EVENTS = 45_000

SCENARIOS: dict[str, list[str]] = {
    "the_leader_is_killed_and_a_standby_takes_over": ["leader killed"] * 3,
    "the_leader_is_stopped_past_its_lease": ["leader stopped", "leader stopped"],
    "the_leader_is_stopped_once": ["leader stopped"],
    "a_standby_is_killed_and_stopped": ["standby killed", "standby stopped"],
    "all_sequencers_are_killed": ["every sequencer killed"] * 3,
    "commits_are_cut_off": [f"leader: cut {where} (commit)" for where in PLACES.values()],
    "the_leader_is_unheard_and_hears_nothing": ["leader: bytes to Redis lost", "leader: bytes from Redis lost"],
    "commits_arrive_late": ["leader: late commands", "leader: late commands"],
    "a_node_is_killed": ["fanout killed"],
    "a_node_is_stopped_for_a_moment": ["fanout stopped for a moment"],
    "a_node_runs_15_percent_of_the_time": ["fanout starved"],
    "nodes_are_killed": ["fanout killed", "fanout killed", "every fanout killed"],
    "a_node_is_stopped_until_it_is_expelled": ["fanout stopped", "fanout stopped"],
    "a_node_loses_connections_and_frames": [
        "fanout: cut in a message", "fanout: a frame lost", "fanout: all connections cut",
        "fanout: cut in a message", "fanout: a frame lost"],
    "a_node_is_unheard_and_hears_nothing": ["fanout: bytes from Redis lost", "fanout: bytes to Redis lost"],
    "joins_are_cut_off": [f"fanout: cut {where} (command)" for where in PLACES.values()],
    "joins_and_leaves_arrive_late": ["fanout: late commands", "fanout: late commands"],
    "listeners_are_killed": ["listener killed", "listener killed", "every listener killed"],
    "a_listener_is_cut_off_and_stopped": ["listener: bytes from Redis lost", "listener stopped"],
    "appends_are_cut_off": [f"listener: cut {where}" for where in PLACES.values()],
    "redis_is_killed_and_restarted": ["redis killed", "redis killed"],
    "redis_is_stopped": ["redis stopped"],
    "every_link_is_slow": ["listener: a slow link", "leader: a slow link", "fanout: a slow link"],
    "everything_is_killed": ["every service killed"] * 2,
}  # fmt: skip


OTHERS_PAUSE_S = {
    "the_leader_is_killed_and_a_standby_takes_over": 1.5,
    "the_leader_is_stopped_once": 1.5 + SETTINGS["lease_s"],
    "a_node_is_killed": 1.5,
    "a_node_is_stopped_for_a_moment": 1.5,
    "a_node_runs_15_percent_of_the_time": 1.5,
}
"""The longest silence that users of untouched nodes may notice: many times what it is on a machine that is not busy."""


def named(name: str, seed: int) -> Plan:
    """A scenario: its faults strike one after another while the stream runs."""
    faults = SCENARIOS[name]
    return Plan(seed, EVENTS, [((n + 0.2) / len(faults) * 0.9, fault) for n, fault in enumerate(faults)])


def random_mix(seed: int, events: int, faults: int) -> Plan:
    """Random faults at random times; they may overlap."""
    rng = Random(seed)
    return Plan(seed, events, sorted((rng.uniform(0.02, 0.98), rng.choice(list(FAULTS))) for _ in range(faults)))
