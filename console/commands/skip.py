"""`parade skip`: gives up sequence numbers that will never come.

The request goes through the event stream, so that the sequencer carries it out at one point in the order. The command
asks, waits, and says what was given up.
"""

import json
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import redis
import typer

from console.observe.snapshot import Snapshot, read, rejection, text_of
from console.options import Json, Namespace, RedisUrl, deployment
from console.terminal import terminal
from contract.entries import SKIPPED, skip_fields
from contract.events import MAX_SEQUENCE
from contract.keys import Keys
from runtime.errors import ParadeError
from runtime.redis.blocking import connected
from runtime.settings import Settings

DEADLINE_S = 15.0
"""Long enough for a standby to take over first."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was given up: `first-last` of each stretch, how many numbers, and what followed."""

    ranges: list[str]
    numbers: int
    next: int
    released: int
    waiting: int


def skip_command(
    to: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="give up what is missing below N", show_default="the lowest number that waits"
        ),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Give up sequence numbers that will never come, so that the events behind them are released.

    Without --to these are the numbers up to the lowest one that waits: `parade status` says which. Returns when the
    sequencer has done it. If one of them comes after all, it is dropped and counted as late. What was given up is
    recorded: see `parade rejected`.
    """
    run(deployment(redis_url=redis_url, namespace=namespace), to, as_json=as_json)


def run(settings: Settings, to: int | None, *, as_json: bool) -> None:
    """Ask for it and wait until it is done. ParadeError when there is nothing to skip, or no sequencer."""
    with connected(settings) as client:
        before = read(client, settings.keys)
        target = _target(before, to)
        since_ms = text_of(client.xadd(settings.keys.events, dict([skip_fields(target)]))).partition("-")[0]
        after = _wait(client, settings.keys, target)
        done = _what_happened(client, settings.keys, since_ms, before, after)
    if as_json:
        print(json.dumps(asdict(done), indent=2))  # noqa: T201
        return
    console = terminal()
    console.print(_told(done))
    if done.waiting:
        console.print(f"{done.waiting:,} events wait for number {done.next} now: run it again to skip that, too")


def _target(now: Snapshot, to: int | None) -> int:
    next_number, lowest = now.number("next"), now.lowest_waiting
    if now.lease is None:
        raise ParadeError(
            "no process sequences, so the request would wait: start a sequencer (`parade status` says more)"
        )
    if to is None:
        if lowest is None or lowest <= next_number:
            raise ParadeError(f"nothing is missing: no event waits, and the next number is {next_number}")
        return lowest
    if to <= next_number:
        raise ParadeError(f"nothing below {to} is missing: the next number is {next_number}")
    if to > MAX_SEQUENCE:
        raise ParadeError(f"--to {to}: the largest sequence number is {MAX_SEQUENCE}")
    return to


def _wait(client: "redis.Redis", keys: Keys, target: int) -> Snapshot:
    deadline = time.monotonic() + DEADLINE_S
    while (now := read(client, keys)).number("next") < target:
        if time.monotonic() > deadline:
            raise ParadeError(
                f"the sequencer has not done it within {DEADLINE_S:g} s and stands at {now.number('next')}; the "
                "request stays in the stream and is done in its turn: see `parade status`"
            )
        time.sleep(POLL_S)
    return now


def _what_happened(client: "redis.Redis", keys: Keys, since_ms: str, before: Snapshot, after: Snapshot) -> Skipped:
    # Take what the sequencer recorded, and not what was missing when we looked: it may have come meanwhile.
    entries: Any = client.xrange(keys.rejected, since_ms)
    recorded = [rejection(*each) for each in entries]
    return Skipped(
        ranges=[each.line for each in recorded if each.reason == SKIPPED],
        numbers=after.number("skipped") - before.number("skipped"),
        next=after.number("next"),
        released=after.number("released") - before.number("released"),
        waiting=after.waiting,
    )


def _told(done: Skipped) -> str:
    if not done.numbers:
        return f"nothing had to be given up: the missing numbers have come; the next number is {done.next}"
    named = ", ".join(map(_numbers, done.ranges))
    plural = "" if done.numbers == 1 else "s"
    released = f"{done.released:,} events were released, and the next number is {done.next}"
    return f"gave up {done.numbers:,} number{plural}: {named}; {released}"


def _numbers(stretch: str) -> str:
    first, _, last = stretch.partition("-")
    return first if first == last else f"{first} to {last}"
