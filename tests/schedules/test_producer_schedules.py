"""Schedules of producers, each append and each acknowledgement judged; and proof that the judge notices a mistake."""

from pathlib import Path
from typing import Any

import pytest

import listener.writer
from contract.events import Event
from listener.acks import Acks
from listener.appender import Appender
from runtime.redis.link import Script
from sequencer.ordering import Ordering
from tests.schedules.reference import WrongError
from tests.schedules.sources import play

SCHEDULES = 600
CHUNK = 200
FINDS_WITHIN = 500
"""Schedules within which each sabotage must show."""


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(CHUNK, SCHEDULES, CHUNK))]
)
def test_schedules_of_producers(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            play(seed)
        except AssertionError as problem:
            pytest.fail(f"seed {seed} of the producers: {problem}", pytrace=False)


def test_a_seed_gives_the_same_schedule_of_producers_again() -> None:
    for seed in range(20):
        once: list[str] = []
        again: list[str] = []
        play(seed, once.append)
        play(seed, again.append)
        assert once == again


def play_all(count: int) -> None:
    for seed in range(count):
        play(seed)


def acknowledged_before_the_append(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    accept_for = Appender.accept_for

    def accept_and_confirm(self: Appender, acks: Acks, lines: bytes, count: int) -> None:
        accept_for(self, acks, lines, count)
        acks.done(count)

    monkeypatch.setattr(Appender, "accept_for", accept_and_confirm)


def _with_script(monkeypatch: pytest.MonkeyPatch, folder: Path, check: str, instead: str) -> None:
    text = listener.writer.APPEND_GROUPS.text
    assert check in text
    (changed := folder / "append_groups.lua").write_text(text.replace(check, instead))
    monkeypatch.setattr(listener.writer, "APPEND_GROUPS", Script(changed))


def not_fenced(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A generation is not looked at, and the count alone decides: then what an older connection holds comes in."""
    _with_script(monkeypatch, folder, "generations[place] ~= generation", "false")


def appended_again(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    _with_script(monkeypatch, folder, "counts[place] == before", "counts[place] >= before")


def refusals_not_said(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(Acks, "refuse", lambda *_: None)


def numbered_from_the_next_on(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """What waits is forgotten: its numbers are given again."""
    monkeypatch.setattr(Ordering, "last", property(lambda self: self.next))


def numbered_lines_forgotten(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """What waits is not stored, so a successor numbers what follows anew."""

    def none(_: Ordering) -> list[tuple[int, Event]]:
        return []

    monkeypatch.setattr(Ordering, "newly_waiting", none)


SABOTAGE = (
    *(acknowledged_before_the_append, not_fenced, appended_again, refusals_not_said),
    *(numbered_from_the_next_on, numbered_lines_forgotten),
)


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_sabotage_of_producers_shows(sabotage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sabotage(monkeypatch, tmp_path)
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN)
