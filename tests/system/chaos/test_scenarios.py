"""Runs each scenario, and two random mixes of about 200,000 events: nothing may be lost or duplicated.

They share one stage, which saves twenty starts and lets sequence numbers and graph continue, as in a real deployment.
A stage on which something went wrong is not used again.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.system.chaos.round import Plan, Round, Verdict
from tests.system.chaos.scenarios import OTHERS_PAUSE_S, SCENARIOS, named, random_mix
from tests.system.chaos.stage import Stage, staged

pytestmark = pytest.mark.slow

SEED = 1
ATTEMPTS = 4
MIX_SEEDS = (1, 2)
MIX_EVENTS, MIX_FAULTS = 200_000, 14


class Stages:
    """Provides a stage, and replaces it after a failure."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._open = ExitStack()
        self._stage: Stage | None = None
        self._followers: dict[int, set[int]] = {}

    def run(self, plan: Plan) -> Verdict:
        """Run one round on the current stage, or on a new one."""
        if self._stage is None:
            namespace = f"test-{uuid.uuid4().hex[:12]}"
            self._stage = self._open.enter_context(staged(self._folders.mktemp("chaos"), namespace))
            self._followers = {}
        verdict = Verdict(plan.seed, plan.events, differences=["the round did not end"])
        try:
            verdict = Round(self._stage, plan, self._followers).run()
        finally:
            if verdict.differences:
                print(self._stage.deployment.log.read_text()[-5000:])
                self._stage = None
        return verdict

    def close(self) -> None:
        """Stop the stage; every service must exit cleanly."""
        self._open.close()


@pytest.fixture(scope="module")
def stages(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    assert redis_url  # requires redis-server
    provider = Stages(tmp_path_factory)
    yield provider
    provider.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, stages: Stages) -> None:
    # On a busy machine a fault may find nothing to strike, for example no command to cut, or killed processes may take
    # so long to come back that little is compared. Then the scenario is run again with the next seed.
    missing = {fault for _, fault in named(name, SEED).strikes}
    rounds: list[Verdict] = []
    while missing or not _compared_enough(rounds):
        assert len(rounds) < ATTEMPTS, f"never struck, or too little compared: {missing}, {rounds}"
        rounds.append(stages.run(named(name, SEED + len(rounds))))
        _check(rounds[-1], f"--scenario {name}")
        missing -= {recovery.fault for recovery in rounds[-1].recoveries}
    if name in OTHERS_PAUSE_S:
        pauses = [recovery.pause_s for verdict in rounds for recovery in verdict.recoveries if recovery.pause_s]
        print(f"{name}: users of untouched nodes heard nothing for {max(pauses):.2f} s at most")
        assert max(pauses) <= OTHERS_PAUSE_S[name]


@pytest.mark.parametrize("seed", MIX_SEEDS)
def test_random_mix(seed: int, stages: Stages) -> None:
    verdict = stages.run(random_mix(seed, MIX_EVENTS, MIX_FAULTS))
    _check(verdict, f"--events {MIX_EVENTS} --faults {MIX_FAULTS}")
    assert _compared_enough([verdict]), verdict
    assert len(verdict.recoveries) >= MIX_FAULTS // 3, "enough faults found something to strike"


def _check(verdict: Verdict, options: str) -> None:
    again = f"python -m tests.system.chaos --seed {verdict.seed} {options}"
    assert not verdict.differences, f"{verdict.differences[:10]}\nrepeat with: {again}"


def _compared_enough(rounds: list[Verdict]) -> bool:
    """Whether enough was received for a loss or a duplicate to show."""
    return sum(v.connections for v in rounds) > 100 and sum(v.bytes for v in rounds) > 500_000
