"""Where Parade numbers the events, no fault makes it lose a line of a producer, take it twice, or misnumber it."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.system.chaos.numbered import SCENARIOS, NumberedRound
from tests.system.chaos.stage import Stage, staged

pytestmark = pytest.mark.slow

SEED = 1
ATTEMPTS = 4


class Stages:
    """Provides a stage, and replaces it after a failure."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self.open = ExitStack()
        self.stage: Stage | None = None

    def get(self) -> Stage:
        if self.stage is None:
            namespace = f"test-{uuid.uuid4().hex[:12]}"
            self.stage = self.open.enter_context(staged(self._folders.mktemp("chaos"), namespace, numbering="parade"))
        return self.stage


@pytest.fixture(scope="module")
def stages(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    assert redis_url  # requires redis-server
    provider = Stages(tmp_path_factory)
    yield provider
    provider.open.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_numbered_scenario(name: str, stages: Stages) -> None:
    missing = set(SCENARIOS[name])
    for seed in range(SEED, SEED + ATTEMPTS):
        stage = stages.get()
        stages.stage = None  # used again only if nothing goes wrong
        numbered = NumberedRound(stage, seed, SCENARIOS[name])
        report = numbered.run()
        assert report.differences == []
        assert stage.dead() == []
        stages.stage = stage
        assert report.connections is not None
        assert report.connections["resumed"] > 0
        missing -= set(numbered.struck)
        if not missing:
            return
    pytest.fail(f"never struck: {missing}")
