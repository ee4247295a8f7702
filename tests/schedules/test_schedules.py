"""Ten thousand schedules, each judged byte by byte; and proof that the judge notices when something is broken."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sequencer.store
from contract.events import Event
from contract.frames import Frame, Messages
from fanout.clients.users import Users
from fanout.upstream.feed import Feed
from fanout.writer import Writer
from runtime.redis.link import Script
from sequencer.batch import Batch
from sequencer.follows import Follows
from sequencer.ordering import Ordering
from tests.schedules.witness import WrongError
from tests.schedules.world import play

SCHEDULES = 10_000
CHUNK = 500
FINDS_WITHIN = 2_000
"""Schedules within which each sabotage must show."""


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(CHUNK, SCHEDULES, CHUNK))]
)
def test_schedules(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            play(seed)
        except AssertionError as problem:
            pytest.fail(f"{problem}\nIts trace: python -m tests.schedules --seed {seed}", pytrace=False)


def test_a_seed_gives_the_same_schedule_again() -> None:
    for seed in range(50):
        once: list[str] = []
        again: list[str] = []
        play(seed, once.append)
        play(seed, again.append)
        assert once == again


def play_all(count: int) -> None:
    for seed in range(count):
        play(seed)


# Sabotage: the system without one of its safeguards. The simulation must find each of them.


def no_gap_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Feed, frame: Frame, messages: Messages) -> None:
        self.last_batch = frame.batch
        self._accept(frame, messages)

    monkeypatch.setattr(Feed, "take", take)


def joins_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Users, "post_again", lambda _: None)


def live_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    posted = Users.posted
    monkeypatch.setattr(Users, "posted", lambda self, _: posted(self, (0, 0)))


def leaves_told_after_the_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leave that may not have arrived is told again although its user is back."""

    def not_posted(self: Users) -> None:
        (leaves, joins), self._posting = self._posting, ([], [])
        self._to_join |= {user.id: user for user in joins if user.connections}
        self._to_leave |= dict.fromkeys(leaves)

    monkeypatch.setattr(Users, "not_posted", not_posted)


def waiting_stored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full batch puts back is stored with each batch that puts it back."""
    put_back = Ordering.put_back

    def put_back_as_new(self: Ordering, events: list[Event]) -> None:
        put_back(self, events)
        self._newly_waiting |= {int(event[1]) for event in events}

    monkeypatch.setattr(Ordering, "put_back", put_back_as_new)


def authors_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follows, "known", lambda _, events: len(events))


def expulsion_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = Writer.accept

    def accept_any(self: Writer, frame: Frame, messages: Messages) -> None:
        self.epoch = frame.lineage.epoch
        accept(self, replace(frame, gone=()), messages)

    monkeypatch.setattr(Writer, "accept", accept_any)


def waiting_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = Batch.arguments

    def without_waiting(self: Batch, *given: Any) -> Any:
        self.waiting = []
        return arguments(self, *given)

    monkeypatch.setattr(Batch, "arguments", without_waiting)


def anybody_commits_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unchecked = tmp_path / "commit.lua"
    text = sequencer.store.COMMIT.text
    # Each of the three alone suffices against a second commit of a batch.
    lease_check, batch_check = "redis.call('GET', lease) ~= token", "tonumber(last) + 1 ~= tonumber(batch)"
    for check in (lease_check, batch_check, "type(written) == 'table'"):
        assert check in text
        text = text.replace(check, "false")
    unchecked.write_text(text)
    monkeypatch.setattr(sequencer.store, "COMMIT", Script(unchecked))


SABOTAGE = (
    *(no_gap_check, joins_told_once, live_at_once, leaves_told_after_the_join, expulsion_not_noticed),
    *(waiting_not_stored, waiting_stored_again, authors_not_asked_about),
)


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_sabotage_shows(sabotage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN)


@pytest.mark.slow
def test_a_commit_without_checks_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    anybody_commits_anything(monkeypatch, tmp_path)
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN)
