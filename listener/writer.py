"""Writes entries to the stream: each line of a producer once, however often its append is repeated.

Bare lines and merely acknowledged ones go in by the cheapest script. When a producer's lines are among them, or when
Parade numbers the events, Redis counts in the same step what it has taken. In the second case a copy would be numbered
too, so there all lines that have no producer of their own are counted under a random name of this listener.
"""

from pathlib import Path

from contract.entries import raw_fields
from listener.acks import Producer
from listener.groups import Entry
from runtime.context import Context
from runtime.redis.link import Calls, Script

_HERE = Path(__file__).parent
APPEND = Script(_HERE / "append.lua", _HERE / "stream.lua")
APPEND_GROUPS = Script(_HERE / "append_groups.lua", _HERE / "stream.lua", _HERE / "producers.lua")
HELLO = Script(_HERE / "hello.lua", _HERE / "producers.lua")


class StreamWriter:
    """Appends for one listener."""

    def __init__(self, context: Context) -> None:
        self._settings = settings = context.settings
        self._keep_ms = int(settings.producer_s * 1000)
        self._gives_numbers = settings.gives_numbers
        self._name = context.random_hex(8) if settings.gives_numbers else ""
        self._backlog = 0
        self.own: Producer | None = None
        """The listener's own name, for lines that have none; only where Parade numbers the events."""

    async def prepare(self, calls: Calls) -> None:
        """Load the scripts; once per connection."""
        await calls.call_all([("SCRIPT", "LOAD", script.text) for script in (APPEND, APPEND_GROUPS, HELLO)])

    async def register(self, calls: Calls, name: str, generation: int = 0) -> Producer:
        """Say HELLO for a producer: what older connections of it have sent is not taken any more.

        Unless the given generation is the newest: then it goes on.
        """
        key = self._settings.keys.producer + name
        generation, received = await calls.call("EVALSHA", HELLO.sha, 1, key, self._keep_ms, generation)
        return Producer(key, generation, received)

    async def refresh(self, calls: Calls, producers: list[Producer]) -> None:
        """Keep the counts of producers that are here, and our own, however idle they are."""
        kept = [*producers, self.own] if self.own else producers
        await calls.call_all([("PEXPIRE", producer.key, self._keep_ms) for producer in kept])

    async def write(self, calls: Calls, entry: Entry) -> tuple[int, list[int]]:
        """Append an entry. Returns the bytes that the sequencer has before it, and the verdicts of the groups.

        Without verdicts, all of it is in the stream.
        """
        keys = self._settings.keys
        if self._gives_numbers and self.own is None:
            self.own = await self.register(calls, self._name)
        if entry.is_counted(self.own):
            producers = entry.keys(self.own)
            count, (field, raw) = 2 + len(producers), raw_fields(entry.lines)
            names = (keys.events, keys.state, *producers)
            groups = (self._keep_ms, *entry.arguments(self.own))
            answer = await calls.call("EVALSHA", APPEND_GROUPS.sha, count, *names, field, raw, *groups)
            self._backlog, verdicts = answer[0], answer[1:]
            return self._backlog, verdicts
        if entry.lines:
            self._backlog = await calls.call(
                "EVALSHA", APPEND.sha, 2, keys.events, keys.state, *raw_fields(entry.lines)
            )
        return self._backlog, []

    def settle(self, entry: Entry, verdicts: list[int]) -> Entry:
        """The append counts, in the replicas too: tell whose lines these are. Returns what is left to be appended."""
        if not verdicts:
            entry.confirmed()
            rest = Entry()
        else:
            rest = entry.settled(self.own, verdicts)
            if rest:
                self.own = None  # Redis does not know it as we do: a new HELLO
        entry.tell()
        return rest
