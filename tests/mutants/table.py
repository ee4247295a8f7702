"""Which tests check which module; fast and specific ones first, because a trial ends at the first failure."""

from dataclasses import dataclass

LIBRARY = "sdk/python"
"""The folder from which the client library is imported."""

_PIPELINE = "tests/unit/test_pipeline.py"


@dataclass(frozen=True, slots=True)
class Target:
    """A pure module, the tests that check it, and the functions to mutate (empty: all)."""

    path: str
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The module's name, such as `sequencer.gap`."""
        return self.path.removeprefix(f"{LIBRARY}/").removesuffix(".py").replace("/", ".")


def _target(path: str, *more_tests: str, functions: tuple[str, ...] = ()) -> Target:
    folder, _, file = path.rpartition("/")
    return Target(path, (f"tests/unit/{folder}/test_{file}", *more_tests), functions)


TABLE = (
    _target("contract/events.py", "tests/unit/listener/test_framing.py"),
    _target("contract/frames.py"),
    _target("contract/entries.py"),
    _target("contract/reports.py"),
    _target("listener/framing.py"),
    _target("runtime/edge/admission.py"),
    _target("runtime/edge/rates.py"),
    _target("runtime/edge/proxy_protocol.py"),
    _target("runtime/edge/peer_log.py"),
    _target("runtime/stats.py", "tests/unit/runtime/test_metrics.py"),
    _target("runtime/redis/url.py"),
    _target("runtime/redis/checks.py"),
    _target("listener/intake.py", "tests/unit/listener/test_groups.py"),
    _target("listener/groups.py"),
    _target("listener/hello.py"),
    _target("listener/sifting.py"),
    _target("listener/acks.py", "tests/unit/listener/test_groups.py", "tests/unit/listener/test_dialogue.py"),
    _target("listener/progress.py"),
    _target("sequencer/reader.py", functions=("batch_limit", "take_batch", "weight")),
    _target("sequencer/ordering.py", _PIPELINE),
    _target("sequencer/gap.py"),
    _target("sequencer/routing.py", _PIPELINE),
    _target("sequencer/follows.py"),
    _target("sequencer/batch.py"),
    _target("sequencer/window.py"),
    _target("sequencer/standings.py", "tests/unit/sequencer/test_standings.py"),
    _target("sequencer/loading.py", "tests/unit/sequencer/test_follows.py"),
    _target("sequencer/journal.py"),
    _target("fanout/clients/users.py", "tests/unit/fanout/clients/test_kept_places.py"),
    Target("fanout/clients/registration.py", ("tests/unit/fanout/clients/test_registration_line.py",)),
    _target("fanout/clients/newcomer.py"),
    _target("fanout/clients/spread.py"),
    _target("fanout/stretch.py", "tests/unit/fanout/test_resume.py"),
    _target("sequencer/history.py"),
    _target("sequencer/away.py"),
    _target("sequencer/moves.py", "tests/unit/sequencer/test_away.py"),
    _target("contract/histories.py"),
    _target("fanout/upstream/feed.py"),
    _target("fanout/merge.py", _PIPELINE),
    _target("fanout/clients/pressure.py"),
    _target("fanout/balance.py"),
    _target("fanout/upstream/clock.py"),
    _target("simulator/cursor.py"),
    _target("simulator/habits.py"),
    _target("simulator/ledger.py"),
    Target("simulator/pieces.py", ("tests/unit/simulator/test_ledger.py",)),
    _target("simulator/producers.py"),
    _target("simulator/address.py"),
    _target("simulator/web/event_stream.py"),
    Target("simulator/web/frames.py", ("tests/unit/simulator/web/test_websocket_frames.py",)),
    Target(
        "simulator/web/head.py",
        tuple(f"tests/unit/simulator/web/test_{name}.py" for name in ("websocket", "event_stream")),
    ),
    _target("simulator/web/websocket.py"),
    Target(f"{LIBRARY}/parade_client/cursor.py", ("tests/sdk/test_sdk_cursor.py",)),
    Target(f"{LIBRARY}/parade_client/outbox.py", ("tests/sdk/test_sdk_outbox.py",)),
    Target(f"{LIBRARY}/parade_client/kept.py", ("tests/sdk/test_sdk_outbox.py",)),
    Target(f"{LIBRARY}/parade_client/way.py", ("tests/sdk/test_sdk_outbox.py",)),
)
