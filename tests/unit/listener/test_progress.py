"""A number is missing only after a second in which others waited; what may be lost is noticed at the next look."""

import pytest

from listener.progress import Look, News, Progress


def look(number: int, waiting: int = 0, history: bytes = b"h", skipped: int = 0, server: bytes = b"") -> Look:
    return Look(number, history, skipped, waiting > 0, server)


def test_a_number_is_missing_when_others_have_waited_for_it_for_a_second() -> None:
    progress = Progress()
    gaps = []
    for now_s, seen in [
        (0.0, look(5, waiting=1)),
        (0.99, look(5, waiting=3)),
        (1.0, look(5, waiting=3)),
        (1.5, look(6, waiting=2)),
        (2.4, look(6, waiting=2)),
        (2.5, look(6)),
        (2.6, look(6, waiting=1)),
        (3.4, look(6, waiting=1)),
        (3.5, look(6, waiting=1)),
        (3.6, look(6)),
    ]:
        progress.see(seen, now_s)
        gaps.append(progress.gap)
    assert gaps == [0, 0, 5, 0, 0, 0, 0, 0, 6, 0]


def test_what_was_skipped_is_read_at_first_and_when_the_count_changes() -> None:
    progress = Progress()
    seen = [progress.see(look(1, skipped=count), 0.0).has_skipped for count in (3, 3, 4, 4)]
    assert seen == [True, False, True, False]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (look(5), look(4)),
        (look(5), look(5, history=b"g")),
        (look(5), look(9, history=b"g")),
        (look(5, server=b"a"), look(9, server=b"b")),
    ],
)
def test_redis_may_have_lost_something(before: Look, now: Look) -> None:
    progress = Progress()
    assert progress.see(before, 0.0) == News(has_skipped=True)
    assert progress.see(now, 0.1).is_back
    assert not progress.see(now, 0.2).is_back, "it is said once"


def test_a_server_whose_name_is_not_known_is_no_other_one() -> None:
    progress = Progress()
    for server in (b"", b"a", b"", b"a"):
        assert not progress.see(look(5, server=server), 0.0).is_back


def test_news_that_could_not_be_told_stay_news() -> None:
    assert News(True, False).with_earlier(News(False, True)) == News(True, True)
    assert News().with_earlier(News()) == News()


def test_a_number_is_missing_until_it_comes_and_each_for_itself() -> None:
    progress = Progress()
    assert progress.gap == 0
    gaps = []
    for now_s, seen in [
        (5.0, look(9, waiting=1)),
        (5.9, look(3, waiting=1)),
        (6.0, look(3, waiting=1)),
        (7.5, look(3, waiting=1)),
        (9.0, look(3, waiting=1)),
    ]:
        progress.see(seen, now_s)
        gaps.append(progress.gap)
    assert gaps == [0, 0, 0, 3, 3]


def test_what_moves_on_has_lost_nothing() -> None:
    progress = Progress()
    for number in (1, 2, 500, 500, 501):
        assert not progress.see(look(number), 0.0).is_back


def test_a_count_of_what_was_skipped_that_is_lower_is_another_one() -> None:
    progress = Progress()
    progress.see(look(5, skipped=7), 0.0)
    assert progress.see(look(5, skipped=3), 0.0).has_skipped
