"""Which tests judge which module: quick and near ones first, since a mutant's trial ends at the first that fails."""

from dataclasses import dataclass

_PIPELINE = "tests/unit/test_pipeline.py"


@dataclass(frozen=True, slots=True)
class Judged:
    """A pure module, the tests that judge it, and the functions it is about (none: all of it)."""

    path: str
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`sequencer.gap`."""
        return self.path.removesuffix(".py").replace("/", ".")


def _judged(path: str, *more_tests: str, functions: tuple[str, ...] = ()) -> Judged:
    folder, _, file = path.rpartition("/")
    return Judged(path, (f"tests/unit/{folder}/test_{file}", *more_tests), functions)


TABLE = (
    _judged("contract/events.py", "tests/unit/listener/test_framing.py"),
    _judged("contract/frames.py"),
    _judged("contract/entries.py"),
    _judged("contract/reports.py"),
    _judged("listener/framing.py"),
    _judged("runtime/edge/admission.py"),
    _judged("runtime/edge/rates.py"),
    _judged("runtime/edge/proxy_protocol.py"),
    _judged("runtime/edge/peer_log.py"),
    _judged("runtime/stats.py", "tests/unit/runtime/test_metrics.py"),
    _judged("runtime/redis/url.py"),
    _judged("runtime/redis/checks.py"),
    _judged("listener/intake.py"),
    _judged("sequencer/reader.py", functions=("batch_limit", "take_batch", "weight")),
    _judged("sequencer/ordering.py", _PIPELINE),
    _judged("sequencer/gap.py"),
    _judged("sequencer/routing.py", _PIPELINE),
    _judged("sequencer/follows.py"),
    _judged("sequencer/batch.py"),
    _judged("sequencer/window.py"),
    _judged("sequencer/liveness.py", "tests/unit/sequencer/test_window.py"),
    _judged("sequencer/loading.py", "tests/unit/sequencer/test_follows.py"),
    _judged("sequencer/journal.py"),
    _judged("fanout/clients/users.py"),
    _judged("fanout/upstream/feed.py"),
    _judged("fanout/merge.py", _PIPELINE),
    _judged("fanout/clients/pressure.py"),
    _judged("fanout/balance.py"),
    _judged("fanout/upstream/clock.py"),
)
