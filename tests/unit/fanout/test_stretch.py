"""Batches in a row as one larger batch: the same lines in the same order, above any number."""

from hypothesis import given
from hypothesis import strategies as st

from contract.frames import Frame, Lineage, Messages
from fanout.merge import Broadcasts
from fanout.stretch import Batch, Kept, Stretch, above

LINEAGE = Lineage(b"e1", b"e0@0", b"9f31c2")
USERS = [b"1", b"2", b"3"]

payloads = st.one_of(st.just(b""), st.binary(max_size=6).map(lambda data: b"|" + data.replace(b"\n", b"\r")))
events = st.tuples(st.sampled_from([b"", *USERS]), payloads)
"""Whom it is for (nobody: a broadcast), and what follows the number."""
batches = st.lists(st.lists(events, max_size=8), min_size=1, max_size=8)


def cut(kinds: list[list[tuple[bytes, bytes]]], first: int) -> list[Batch]:
    """Batches of events that are numbered from `first` on."""
    made: list[Batch] = []
    number = first
    for at, batch in enumerate(kinds, 1):
        lines, messages = b"", Messages()
        for user_id, payload in batch:
            line = b"%d|%b%b\n" % (number, user_id, payload)
            number += 1
            if user_id:
                messages[user_id] = messages.get(user_id, b"") + line
            else:
                lines += line
        made.append((Frame(at, b"1-0", 0, number, LINEAGE, at, lines=lines), messages))
    return made


def one_by_one(made: list[Batch], user_id: bytes, number: int) -> bytes:
    """What a user gets of batches that are written one after the other."""
    whole = b"".join(Broadcasts(frame.lines).merged_with(messages.get(user_id, b"")) for frame, messages in made)
    return b"".join(line + b"\n" for line in whole.split(b"\n")[:-1] if int(line.split(b"|")[0]) > number)


@given(batches, st.sampled_from([1, 5, 95, 9_995]), st.integers(-3, 70))
def test_a_stretch_gives_what_its_batches_give(kinds: list[list[tuple[bytes, bytes]]], first: int, behind: int) -> None:
    made, number = cut(kinds, first), max(0, first + behind)
    stretch = Stretch(made, first - 1)
    assert (stretch.upto, stretch.last) == (made[-1][0].next - 1, len(made))
    for user_id in USERS:
        assert stretch.lines(user_id, number) == one_by_one(made, user_id, number)


@given(batches, st.integers(0, 8), st.integers(0, 70))
def test_a_cut_between_two_stretches_loses_and_repeats_nothing(
    kinds: list[list[tuple[bytes, bytes]]], at: int, number: int
) -> None:
    made = cut(kinds, 5)
    first = Stretch(made[:at], 4)
    second = Stretch(made[at:], first.upto)
    for user_id in USERS:
        both = first.lines(user_id, number) + second.lines(user_id, number)
        assert both == one_by_one(made, user_id, number)


@given(st.lists(st.integers(1, 10**16), unique=True, max_size=30).map(sorted), st.integers(0, 10**16))
def test_the_lines_above_a_number(numbers: list[int], number: int) -> None:
    lines = [b"%d|B|%b\n" % (each, b"|\r" * (each % 5)) for each in numbers]
    for limit in (number, *numbers[:3], *(each - 1 for each in numbers[:3])):
        kept = [line for line, each in zip(lines, numbers, strict=True) if each > limit]
        assert above(b"".join(lines), limit) == b"".join(kept)


def test_what_is_kept_is_bounded_and_says_when_it_is_not_whole() -> None:
    made = cut([[(b"", b"|" + 1000 * b"x")]] * 5, 1)
    kept = Kept(0, 0, 3 * 1800)
    for count, batch in enumerate(made, 1):
        assert kept.stretch().upto == count - 1
        kept.add(*batch)
        assert kept.is_whole == (count <= 3)
        if count == 3:
            assert kept.stretch().lines(b"1", 1) == one_by_one(made[:3], b"1", 1)
        if not kept.is_whole:
            break
    kept.add(*made[-1])
    assert not kept.is_whole, "it never becomes whole again"
    assert kept.stretch().lines(b"1", 0) == b"", "and takes no memory"


def test_nothing_kept_is_nothing_to_give() -> None:
    stretch = Kept(7, 70, 1000).stretch()
    assert (stretch.lines(b"1", 70), stretch.lines(b"1", 3), stretch.upto) == (b"", b"", 70)
