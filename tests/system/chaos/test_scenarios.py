"""Each scenario by itself, and two random mixes of about 200,000 events: nothing lost, nothing twice."""

import os
import shutil
from pathlib import Path

import pytest

from tests.system.chaos.round import Plan, Round, Verdict
from tests.system.chaos.scenarios import SCENARIOS, named, random_mix
from tests.system.chaos.stage import staged

SEED = 1
MIX_SEEDS = (1, 2)
MIX_EVENTS, MIX_FAULTS = 200_000, 14


@pytest.fixture(autouse=True)
def _redis_server() -> None:
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed, and CI tests with it")
        pytest.skip("redis-server is not installed")


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, namespace: str, tmp_path: Path) -> None:
    plan = named(name, SEED)
    verdict = _run(plan, namespace, tmp_path, f"--scenario {name}")
    assert len(verdict.recoveries) == len(plan.strikes), "every fault of the scenario struck"


@pytest.mark.parametrize("seed", MIX_SEEDS)
def test_random_mix(seed: int, namespace: str, tmp_path: Path) -> None:
    plan = random_mix(seed, MIX_EVENTS, MIX_FAULTS)
    verdict = _run(plan, namespace, tmp_path, f"--events {MIX_EVENTS} --faults {MIX_FAULTS}")
    assert len(verdict.recoveries) > MIX_FAULTS // 2, "most faults found something to strike"


def _run(plan: Plan, namespace: str, folder: Path, options: str) -> Verdict:
    with staged(folder, namespace) as stage:
        verdict = Round(stage, plan, {}).run()
        again = f"python -m tests.system.chaos --seed {plan.seed} {options}"
        assert not verdict.differences, f"{verdict.differences[:10]}\nrepeat it with: {again}"
    assert verdict.connections > 100
    assert verdict.bytes > 500_000
    return verdict
