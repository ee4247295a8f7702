"""When a term begins a new history: whenever something that was published may be missing."""

from dataclasses import replace

import pytest

from sequencer.history import ANOTHER_LED, BATCHES_LOST, KEPT, NONE_YET, SERVER_UNKNOWN, Found, Place, Sent, why_renew

SENT = Sent(Place(b"e2", 41), before=Place(b"e2", 40), cursor=b"9-0", skip_to=0)
FIRST_SENT = replace(SENT, before=Place(b"e1", 40))
RESTARTED = Found(b"9f31c2", "run2", "run1", Place(b"e2", 41), skip_to=0, has_sent_entries=False)
BEFORE = replace(RESTARTED, last=SENT.before)

CASES = {
    "the same server, to the process that led": (replace(RESTARTED, server="run1"), SENT, KEPT),
    "the same server, to another process": (replace(RESTARTED, server="run1"), None, KEPT),
    "the same server, with fewer batches than this process sent to it": (replace(BEFORE, server="run1"), SENT, KEPT),
    "the same server, which was a replica of an older one": (
        replace(RESTARTED, server="run1", last=Place(b"e2", 39)), SENT, BATCHES_LOST,
    ),
    "all that was sent is there": (RESTARTED, SENT, KEPT),
    "the last batch is missing, and will come out the same": (replace(BEFORE, has_sent_entries=True), SENT, KEPT),
    "the same, the first of its term": (
        replace(BEFORE, last=Place(b"e1", 40), has_sent_entries=True), FIRST_SENT, KEPT,
    ),
    "the last batch is missing, and entries that it consumed": (BEFORE, SENT, BATCHES_LOST),
    "the last batch is missing, which gave numbers up": (
        replace(BEFORE, has_sent_entries=True), replace(SENT, skip_to=7), BATCHES_LOST,
    ),
    "two batches are missing": (
        replace(RESTARTED, last=Place(b"e2", 39), has_sent_entries=True), SENT, BATCHES_LOST,
    ),
    "as many batches, of an earlier term": (replace(RESTARTED, last=Place(b"e1", 41)), SENT, ANOTHER_LED),
    "more batches than this process has sent: another led": (
        replace(RESTARTED, last=Place(b"e3", 50)), SENT, ANOTHER_LED,
    ),
    "this process has never led": (RESTARTED, None, ANOTHER_LED),
    "an older version committed last": (replace(RESTARTED, last_server=""), None, SERVER_UNKNOWN),
    "an older version began the deployment": (replace(RESTARTED, history=b""), None, NONE_YET),
    "a deployment without a first batch, on the same server": (
        replace(RESTARTED, server="run1", last=Place(b"", 0)), None, KEPT,
    ),
    "older than the first batch, to another process": (replace(RESTARTED, last=Place(b"", 0)), None, ANOTHER_LED),
    "older than the first batch, to the process that led": (
        replace(RESTARTED, last=Place(b"", 0), has_sent_entries=True), SENT, BATCHES_LOST,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_history_goes_on_only_when_nothing_published_can_be_missing(case: str) -> None:
    found, sent, expected = CASES[case]
    assert why_renew(found, sent) == expected
