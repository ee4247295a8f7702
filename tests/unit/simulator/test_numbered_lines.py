"""The events of producers: any mixing is judged by the rules, event by event, and wrong numbers are found."""

import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.oracle import Oracle
from simulator.payload import Sizes
from simulator.producers import PROBLEMS, Order, Producers
from simulator.workload import Workload
from tests.unit.simulator.test_oracle import notified_by_the_rules

FIRST = 501


def producers(seed: int = 1, count: int = 3, users: int = 8, payload: Sizes | None = None) -> Producers:
    return Producers(Workload(90, users, seed, max_batch=7, first_user=100, payload=payload), count)


def sent(all_of_them: Producers) -> list[list[str]]:
    """The lines of each producer, in its order."""
    lines = [
        [line for data, _ in all_of_them.arrival(one) for line in re.findall(r"[^\n]*\n", data.decode("latin-1"))]
        for one in range(all_of_them.count)
    ]
    return [[*lines[0], f"*{all_of_them.last().text}"], *lines[1:]]


def mixed(all_of_them: Producers, seed: int) -> list[str]:
    """What Parade may make of them: each producer's lines in its order, numbered; the last line of all is the last."""
    rng, waiting = Random(seed), [list(lines) for lines in sent(all_of_them)]
    last, order = waiting[0].pop(), []
    while any(waiting):
        order.append(rng.choice([lines for lines in waiting if lines]).pop(0))
    return [f"{number}{line[1:]}" for number, line in enumerate([*order, last], FIRST)]


def received(lines: list[str], clients: range) -> dict[int, str]:
    """What the clients receive of these lines by the table of events."""
    followers: dict[int, set[int]] = {}
    found = dict.fromkeys(clients, "")
    for line in lines:
        bare = "|".join(line.removesuffix("\n").split("|")[: {"B": 2, "S": 3}.get(line.split("|")[1], 4)])
        for user in notified_by_the_rules(bare, followers, list(clients)):
            if user in found:
                found[user] += line
    return found


def learned(all_of_them: Producers, texts: dict[int, str]) -> Order:
    order = Order(all_of_them, FIRST)
    for text in texts.values():
        order.learn(text.encode("latin-1"))
    return order


def expected(order: Order, clients: range) -> Iterator[tuple[int, str]]:
    oracle = Oracle(clients, keep=True)
    for block in order.blocks():
        oracle.feed(block)
    return ((user, each.bytes.decode("latin-1")) for user, each in oracle.expected.items())


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 4), st.integers(4, 12), st.booleans())
def test_any_mixing_is_judged_by_what_the_clients_see(
    seed: int, mixing: int, count: int, users: int, with_payload: bool
) -> None:
    all_of_them = producers(seed, count, users, Sizes(0, 9) if with_payload else None)
    clients = range(100, 103)
    texts = received(mixed(all_of_them, mixing), clients)
    order = learned(all_of_them, texts)
    assert dict(expected(order, clients)) == texts
    assert order.problems == []
    assert order.last_number == order.end - 1 == FIRST + 90


def test_producers_send_their_shares_and_the_same_seed_gives_the_same_lines() -> None:
    lines = sent(producers(5, 4))
    assert [len(each) for each in lines] == [23 + 1, 23, 22, 22]
    assert lines == sent(producers(5, 4))
    assert lines != sent(producers(6, 4))
    tags = re.compile(r"\*\|(?:B|S\|\d+|[PFU]\|\d+\|\d+)\|(\d+)\.(\d+)\n")
    for producer, each in enumerate(lines):
        found = [tags.fullmatch(line) for line in each]
        assert [(int(tag[1]), int(tag[2])) for tag in found if tag] == [(producer, n) for n in range(len(each))]


def test_all_that_concerns_the_followers_of_an_author_comes_from_one_producer() -> None:
    owners: dict[str, set[int]] = {}
    for producer, lines in enumerate(sent(producers(3, 3, 9))):
        for line in lines:
            fields = line.split("|")
            if fields[1] in "FUS":
                owners.setdefault(fields[2 if fields[1] == "S" else 3], set()).add(producer)
    assert len(owners) == 9
    assert all(len(each) == 1 for each in owners.values())


def tampered(change: str) -> list[str]:
    """Whole lines, with one mistake in the middle."""
    lines = mixed(producers(4), 1)
    at = next(at for at, line in enumerate(lines) if at >= 40 and re.match(r"\d+\|B\|", line))
    number = FIRST + at
    match change:
        case "one is lost":
            del lines[at]
        case "one is repeated":
            lines.insert(at, lines[at])
        case "two have one number":
            lines[at + 1] = f"{number}{lines[at + 1].removeprefix(str(number + 1))}"
        case "a number is left out":
            lines[at:] = [f"{int(line.split('|')[0]) + 1}{line[line.index('|') :]}" for line in lines[at:]]
        case "one of another run":
            lines[at] = re.sub(r"(\d)\.\d+", r"\1.99", lines[at])
        case "one of an unknown producer":
            lines[at] = re.sub(r"\d\.(\d+)", r"7.\1", lines[at])
    return lines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("two have one number", r"two lines have number 54\d"),
        ("a number is left out", "number 592 is not one of 501 to 591"),
        ("one of another run", r"line \d\.99 came with number 54\d, and nobody sent it"),
        ("one of an unknown producer", r"line 7\.\d+ came with number 54\d, and nobody sent it"),
    ],
)
def test_numbers_that_can_not_be_are_problems(change: str, said: str) -> None:
    order = learned(producers(4), {1: "".join(tampered(change))})
    list(order.blocks())
    assert any(re.fullmatch(said, problem) for problem in order.problems), order.problems


@pytest.mark.parametrize("change", ["one is lost", "one is repeated"])
def test_a_line_that_is_lost_or_repeated_is_not_what_the_oracle_expects(change: str) -> None:
    """Whatever line it is, as long as somebody is notified of it."""
    clients = range(100, 108)
    whole = received(mixed(producers(4), 1), clients)
    wrong = received(tampered(change), clients)
    assert wrong != whole, "somebody is notified of it"
    assert dict(expected(learned(producers(4), wrong), clients)) != wrong


def test_two_numbers_of_one_line_and_a_wrong_order_of_one_producer_are_problems() -> None:
    order = Order(producers(4), FIRST)
    order.learn(b"501|B|0.0\n507|B|0.0\n503|B|1.3\n504|B|2.2\n503|B|2.3\n")
    list(order.blocks())
    assert order.problems[0] == "line 0.0 came with number 501 and with 507"
    assert "line 1.3 has number 503, after line 1.-1 has number 500" in order.problems
    assert "line 2.3 has number 503, after line 2.2 has number 504" in order.problems
    for number in range(100):
        order.learn(b"%d|B|0.0\n" % (600 + number))
    assert len(order.problems) == PROBLEMS


def test_text_in_a_payload_is_no_tag() -> None:
    order = Order(producers(4), FIRST)
    order.learn(b"501|P|1|2|x|0.1\n502|B|hello 0.2\n503|S|5|0.3x\n504|S|5|0.4|0.5\n")
    assert [ordinal for ordinal, number in enumerate(order._numbers[0]) if number] == [4]
