"""What the clients have received, compared with what the oracle expects; each difference is one line of text."""

from collections.abc import Iterable

from simulator.clients import Client
from simulator.oracle import Expected
from simulator.returner import Returner
from simulator.workload import Workload


def differences(
    work: Workload, clients: Iterable[Client | Returner], expected: dict[int, Expected], *, full: bool
) -> list[str]:
    """The differences of all clients."""
    compared = [_difference(client, expected[client.user], full) for client in clients]
    found = [difference for difference in compared if difference is not None]
    if work.leave_out is not None and found:
        found.insert(0, f"number {work.leave_out} was left out: later events wait until it is skipped (`parade skip`)")
    return found


def _difference(client: Client | Returner, expected: Expected, full: bool) -> str | None:
    told = _told(client) if isinstance(client, Returner) else []
    if (client.size, client.checksum) == (expected.size, expected.checksum):
        return f"user {client.user}: {'; '.join(told)}" if told else None
    text = f"user {client.user}: received {client.size:,} bytes of {expected.size:,}"
    if client.closed:
        text += ", then the connection was closed"
    return "; ".join([text + _first_difference(client, expected, full), *told])


def _first_difference(client: Client | Returner, expected: Expected, full: bool) -> str:
    if not full:
        return " (--full shows the first difference)"
    pairs = zip(client.received.split(b"\n"), expected.bytes.split(b"\n"), strict=False)
    for number, (got, wanted) in enumerate(pairs, 1):
        if got != wanted:
            return f"; line {number} is {got!r} instead of {wanted!r}"
    return "; one is a prefix of the other"


def _told(client: Returner) -> list[str]:
    """What the server said to a client that resumes, and should not have."""
    resets = [f"was told RESET {reason} {count} times" for reason, count in client.cursor.resets.items()]
    return [text.replace(" 1 times", "") for text in resets] + client.cursor.problems
