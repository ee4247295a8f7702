"""What viewers of the dashboard are sent, and when."""

import asyncio
import json
from typing import Any

from console.observe.compare import overview
from console.observe.snapshot import Snapshot
from console.web.live import SPAN_S, Live, event, point_of


def parsed(message: bytes) -> tuple[str, Any]:
    name, data, *rest = message.decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_an_event_is_one_line_of_json_for_any_text() -> None:
    hostile = "a\r\nevent: x\n\ndata: \u2028\x00é"
    assert parsed(event("overview", {"line": hostile})) == ("overview", {"line": hostile})


async def test_viewers_wait_for_what_is_newer() -> None:
    live = Live()
    viewers = [asyncio.create_task(live.newer(0)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(viewer.done() for viewer in viewers)
    live.publish({"is": "first"})
    answers = await asyncio.gather(*viewers)
    assert {number for number, _ in answers} == {1}
    assert len({id(message) for _, message in answers}) == 1, "one message is made for all"
    assert parsed(answers[0][1]) == ("overview", {"is": "first", "point": None})


async def test_a_slow_viewer_gets_the_newest_and_nothing_is_kept_for_it() -> None:
    live = Live()
    for number in range(1, 6):
        live.publish({"is": number})
    number, message = await live.newer(1)
    assert (number, parsed(message)[1]["is"]) == (5, 5)
    waiting = asyncio.create_task(live.newer(number))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_the_history_has_the_points_of_the_last_minutes() -> None:
    live = Live()
    assert parsed(live.history()) == ("history", [])
    for number in range(SPAN_S + 10):
        live.publish({}, {"time_ms": number})
    live.publish({"problem": "Redis is away"})
    name, points = parsed(live.history())
    assert name == "history"
    assert [point["time_ms"] for point in points] == list(range(10, SPAN_S + 10))


def test_a_point_has_no_rates_before_the_second_look() -> None:
    before = Snapshot(1_000, state={"received": "5", "released": "5"})
    now = Snapshot(3_000, state={"received": "25", "released": "15", "backlog": "7"})
    first = point_of(overview(before))
    assert (first["time_ms"], first["received"], first["released"]) == (1_000, None, None)
    second = point_of(overview(now, before))
    assert (second["received"], second["released"], second["backlog_bytes"]) == (10.0, 5.0, 7)
