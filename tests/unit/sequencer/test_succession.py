"""When a standby may take over before the lease expires."""

from sequencer.succession import Succession


def test_a_leader_whose_subscription_has_ended_has_ended() -> None:
    subject = Succession()
    assert subject.ended == b""
    subject.saw(b"leader", 1)
    assert subject.ended == b""
    subject.saw(b"leader", 0)
    assert subject.ended == b"leader"


def test_one_that_subscribes_again_is_there() -> None:
    subject = Succession()
    for subscriptions, ended in ((1, b""), (0, b"leader"), (1, b""), (0, b"leader"), (0, b"leader")):
        subject.saw(b"leader", subscriptions)
        assert subject.ended == ended


def test_one_whose_subscription_was_never_seen_is_of_an_older_version() -> None:
    subject = Succession()
    subject.saw(b"leader", 1)
    for _ in range(3):
        subject.saw(b"older", 0)
        assert subject.ended == b""
    subject.saw(b"leader", 0)
    assert subject.ended == b"", "what was seen of it before counts no more"
