"""Proof that the judge of the schedules notices when a safeguard is missing, or something is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fanout.resume
import fanout.stretch
import fanout.sweep
import fanout.upstream.presence
import sequencer.store
from contract.entries import presence_fields
from contract.events import Event
from contract.frames import Frame, Messages
from fanout.clients.users import Pending, Users
from fanout.upstream.feed import Feed
from fanout.upstream.search import Place, place_before
from fanout.writer import Writer
from runtime.redis.link import Script
from sequencer.away import Places
from sequencer.batch import Batch
from sequencer.follows import Follows
from sequencer.ordering import Ordering
from sequencer.standings import GONE, STALLED, Standings
from tests.schedules.reference import WrongError
from tests.schedules.world import play

FINDS_WITHIN = 2_000
"""Schedules within which each sabotage must show."""


SHOWS_AT = {"expulsion_not_noticed": 700, "authors_not_asked_about": 200, "anybody_commits_anything": 300}
"""Where the search for a rare one begins; all the others follow, so it need not show there."""


def play_all(count: int, sabotage: str = "") -> None:
    begin = SHOWS_AT.get(sabotage, 0)
    for seed in (*range(begin, count), *range(begin)):
        play(seed)


# Sabotage: the system without one of its safeguards. The simulation must find each of them.


def no_gap_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Feed, frame: Frame, messages: Messages) -> None:
        self.last_batch = frame.batch
        self._receiver.accept(frame, messages)

    monkeypatch.setattr(Feed, "take", take)


def joins_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Users, "post_again", lambda _: None)


def live_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    posted = Users.posted
    monkeypatch.setattr(Users, "posted", lambda self, _: posted(self, (0, 0)))


def leaves_told_after_the_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leave that may not have arrived is told again although its user is back."""

    def not_posted(self: Users) -> None:
        pending, self.posting = self.posting, Pending()
        self._to_join |= {user.id: user for user in pending.joins if user.connections}
        self._to_leave |= pending.leaves

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


def window_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standings, "is_full", False)


def left_behind_without_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standings, "_reason", lambda _, node, *__: STALLED if node.holds else "")


def gone_at_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = Standings._reason
    monkeypatch.setattr(Standings, "_reason", lambda self, node, *at: GONE if node.absent else reason(self, node, *at))


def all_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standings, "_is_the_last", lambda *_: False)
    monkeypatch.setattr(Standings, "_wait_for_the_best", lambda _: ())


def left_behind_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standings, "_is_back", lambda *_: False)


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


def away_users_not_routed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes away stays known, and gets no outbox."""

    def goes_away(self: Places, user: bytes, deadline_s: float) -> None:
        self._deadlines[user] = deadline_s

    monkeypatch.setattr(Places, "_goes_away", goes_away)


def away_users_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "withhold", lambda *_: None)


def since_one_batch_late(monkeypatch: pytest.MonkeyPatch) -> None:
    set_places = Batch.set_places

    def set_late(self: Batch, since: dict[bytes, int], away: Any) -> None:
        set_places(self, {user: max(number, self.next) for user, number in since.items()}, away)

    monkeypatch.setattr(Batch, "set_places", set_late)


def since_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader takes everybody who is kept for new."""
    state_loaded = Places.load
    monkeypatch.setattr(Places, "load", lambda self, _, away_s, now_s: state_loaded(self, {}, away_s, now_s))


def back_and_still_away(monkeypatch: pytest.MonkeyPatch) -> None:
    join = Places.join

    def join_only(self: Places, node: bytes, user: bytes) -> None:
        join(self, node, user)
        self._changed.discard(user)

    monkeypatch.setattr(Places, "join", join_only)


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


def a_sweep_begins_one_batch_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(calls: Any, keys: Any, low: Place, end: Place, number: int) -> Place:
        found = await place_before(calls, keys, low, end, number)
        return Place(found.batch + 1, found.number) if found.batch + 1 < end.batch else found

    monkeypatch.setattr(fanout.resume, "place_before", late)


def lines_sent_again_that_the_client_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout.stretch, "above", lambda lines, _: lines)


def live_before_the_journal_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(fanout.sweep.Sweep, "_read", nothing)


def places_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(node: str, leaves: Any, joins: Any, *_: object) -> Any:
        return presence_fields(node, leaves, joins)

    monkeypatch.setattr(fanout.upstream.presence, "presence_fields", without)


SABOTAGE = (
    *(a_sweep_begins_one_batch_late, lines_sent_again_that_the_client_has, live_before_the_journal_is_read),
    *(places_not_asked_for,),
    *(no_gap_check, joins_told_once, live_at_once, leaves_told_after_the_join, expulsion_not_noticed),
    *(waiting_not_stored, waiting_stored_again, authors_not_asked_about, window_not_waited_for),
    *(away_users_not_routed, away_users_published, since_one_batch_late, since_forgotten, back_and_still_away),
    *(left_behind_without_reason, gone_at_the_first_look, all_left_behind, left_behind_for_good),
)


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_sabotage_shows(sabotage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN, sabotage.__name__)


@pytest.mark.slow
def test_a_lease_that_is_taken_from_a_leader_that_is_there_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text, check = sequencer.store.ACQUIRE.text, "subscribed > 0 or holder ~= ended"
    assert check in text
    (unchecked := tmp_path / "acquire.lua").write_text(text.replace(check, "false"))
    monkeypatch.setattr(sequencer.store, "ACQUIRE", Script(unchecked))
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN)


@pytest.mark.slow
def test_a_commit_without_checks_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    anybody_commits_anything(monkeypatch, tmp_path)
    with pytest.raises(WrongError):
        play_all(FINDS_WITHIN, anybody_commits_anything.__name__)
