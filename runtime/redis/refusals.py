"""Errors of Redis in the operator's words: which key is not as it should be, or which right is missing.

Pure, except for `explained`, which asks Redis for the types of keys. Redis itself does not name the key of the wrong
type, and seldom the key that a user may not touch; the refused command does.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence

from contract.keys import Keys
from runtime.errors import RedisDataError, RedisRightsError, RedisUnavailableError
from runtime.redis.data import junk_in_field, quoted, shown, wrong_type
from runtime.redis.link import Calls, RedisRefusedError
from runtime.redis.url import redacted
from runtime.settings import Settings

Word = bytes | str | int | float
_NO_RIGHT = re.compile(r"^NOPERM|ACL failure in script|The user executing the script can't")
_NOT_A_NUMBER = re.compile(r"^STATE (?P<field>\S+) of (?P<key>\S+) is not a number: (?P<found>.*)", re.DOTALL)
_KEY_TYPE = re.compile(r"^KEYTYPE (?P<key>\S+) (?P<problem>is [^:(]*)")
_JOURNAL = re.compile(r"^JOURNAL (?P<key>\S+) (?P<problem>[^:(]*)")
_ENDLESS = re.compile(r"^ENDLESS (?P<key>\S+) (?P<problem>.*)", re.DOTALL)
_TWO_WORDS = ("ACL", "CLIENT", "CONFIG", "SCRIPT", "SENTINEL")
KEYS_NAMED = 3


def lacks_a_right(refusal: str) -> bool:
    """Whether the Redis user may not do what was asked of it."""
    return bool(_NO_RIGHT.search(refusal))


def missing_right(refusal: str, command: Sequence[Word], settings: Settings) -> RedisRightsError:
    """Which command, on which keys or channels, and how it is granted."""
    prefix = settings.keys.prefix
    name = " ".join(map(str, command[: 2 if command[:1] and command[0] in _TWO_WORDS else 1]))
    named = _ours(command, prefix)
    on = f" on {', '.join(named[:KEYS_NAMED])}{', …' if len(named) > KEYS_NAMED else ''}" if named else ""
    what = f"run {name}" if name else "do that"
    return RedisRightsError(
        f"Redis at {redacted(settings.redis_url)} does not let its user {what}{on}: {shown(refusal, 200)}; "
        f"grant it with: redis-cli ACL SETUSER <user> resetkeys '~{prefix}*' '&{prefix}*' +@all"
    )


def data_problem(refusal: str, command: Sequence[Word], keys: Keys, types: Mapping[str, str]) -> RedisDataError | None:
    """The key that holds what it should not, when that is the cause; `types` has what TYPE says of the keys."""
    for key, found in types.items():
        wanted = keys.type_of(key)
        if wanted and found not in (wanted, "none"):
            return wrong_type(key, found, wanted)
    if "value is not an integer" in refusal and command[0] == "HINCRBY":
        return junk_in_field(str(command[1]), str(command[2]), None, "a number")
    if match := _NOT_A_NUMBER.match(refusal):
        return junk_in_field(match["key"], match["field"], match["found"].encode(), "a number")
    for pattern in (_KEY_TYPE, _JOURNAL, _ENDLESS):
        if match := pattern.match(refusal):
            key = match["key"]
            return RedisDataError(key, match["problem"].strip(), f"delete it with: redis-cli DEL {quoted(key)}")
    return None


def keys_of(refusal: str, command: Sequence[Word], keys: Keys) -> list[str]:
    """The keys whose types explain a refusal."""
    return _ours(command, keys.prefix) if refusal.startswith("WRONGTYPE") else []


async def explained(problem: RedisUnavailableError, calls: Calls | None, settings: Settings) -> RedisUnavailableError:
    """The same problem, in words that say what to do where the operator can fix it."""
    if not isinstance(problem, RedisRefusedError):
        return problem
    refusal, command = str(problem), problem.command
    if lacks_a_right(refusal):
        return missing_right(refusal, command, settings)
    types: dict[str, str] = {}
    if calls is not None:
        with contextlib.suppress(RedisUnavailableError):
            for key in keys_of(refusal, command, settings.keys):
                types[key] = (await calls.call("TYPE", key)).decode()
    return data_problem(refusal, command, settings.keys, types) or problem


def _ours(command: Sequence[Word], prefix: str) -> list[str]:
    texts = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in command[:40]]
    return [text for text in texts if text.startswith(prefix)]
