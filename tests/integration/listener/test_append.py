"""The listener's append: the stream gets the bytes, the backlog counts them."""

from contract.entries import raw_fields
from listener.appender import APPEND
from runtime.settings import Settings
from tests.integration.conftest import Calls


async def test_append(calls: Calls, settings: Settings) -> None:
    keys = settings.keys
    await calls.call("SCRIPT", "LOAD", APPEND.text)
    assert await calls.call("EVALSHA", APPEND.sha, 2, keys.events, keys.state, *raw_fields(b"1|B\n")) == 4
    assert await calls.call("EVALSHA", APPEND.sha, 2, keys.events, keys.state, *raw_fields(b"2|B\r\n")) == 9
    entries = await calls.call("XRANGE", keys.events, "-", "+")
    assert [fields for _, fields in entries] == [[b"raw", b"1|B\n"], [b"raw", b"2|B\r\n"]]
