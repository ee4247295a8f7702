"""docs/protocol.md and the drawings in docs/architecture.md: what they show is what the code takes, says and writes."""

import re
from pathlib import Path

import pytest

from contract.entries import EVERYONE, presence_fields, raw_fields, skip_fields
from contract.events import MAX_SEQUENCE, malformed, parse
from contract.frames import FRAME, Frame
from contract.reports import Heartbeat, parse_heartbeat, parse_report
from fanout.clients.registration import BARE_BYTES as REGISTRATION_BYTES
from fanout.clients.registration import PAIRS_BYTES
from listener.hello import HELLO_BYTES
from runtime.settings import Settings, environment_name

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
FORMATS = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Formats\n")[2].split("```")[1]
KINDS = {"follow": "F", "unfollow": "U", "broadcast": "B", "private message": "P", "status update": "S"}
REFUSING = (
    "runtime/edge/admission.py",
    "fanout/clients/server.py",
    "fanout/clients/arrival.py",
    "fanout/clients/registration.py",
)
UNITS = {"": 1, "bytes": 1, "s": 1, "MiB": 1024 * 1024}


def drawn(what: str) -> str:
    """The first line of a drawing."""
    line: str
    (line,) = re.findall(rf"^{what} +(.+)$", FORMATS, re.MULTILINE)
    return line


def rows(text: str, columns: int) -> list[list[str]]:
    """The cells of all tables with that many columns, without the lines under the heads. `\\|` is no border."""
    found = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in found if len(cells) == columns and not cells[0].startswith("---")]


def test_each_kind_of_event_is_shown_by_an_event_of_that_kind() -> None:
    table = rows(PROTOCOL.partition("| event line |")[2].partition("\n\n")[0], 3)
    events = {re.split(" from|:| of 32", kind)[0]: line.strip("`").replace("\\|", "|") for line, kind, _ in table}
    assert {kind: line.split("|")[1] for kind, line in events.items()} == KINDS
    for line in events.values():
        assert not malformed(f"{line}\r\n".encode())


def test_the_limits_of_the_grammar() -> None:
    assert f"number        = DIGIT1-9 *15DIGIT         ; 1 to {MAX_SEQUENCE} (2^53-1)" in PROTOCOL
    assert "id            = DIGIT1-9 *19DIGIT         ; 1 to 20 digits" in PROTOCOL
    assert parse(b"1|S|" + 20 * b"9" + b"\n")[0][1] == b"1"
    refused = [b"1|S|" + 21 * b"9" + b"\n", b"1|S|01\n", b"01|B\n"]
    assert malformed(b"".join(refused)) == refused


def test_each_reason_for_which_a_client_is_refused() -> None:
    code = "\n".join((ROOT / name).read_text() for name in REFUSING)
    said = re.findall(r'(?:RefusedError|_refuse|super\(\).__init__)\(f?"([^"]+)"', code)
    values = {
        "{most}": str(REGISTRATION_BYTES),
        "{ceil(max_wait_ms / 1000)}": "2",
        "{wait_s:g}": f"{Settings.model_fields['registration_s'].default:g}",
    }
    for name, value in values.items():
        said = [reason.replace(name, value) for reason in said]
    table = PROTOCOL.partition("| reason | because |")[2].partition("\n\n")[0]
    listed = [reason for cell, _ in rows(table, 2) for reason in re.findall(r"`` (.+?) ``|`([^`]+)`", cell)]
    listed = [one or other for one, other in listed]
    assert len(said) >= 9
    assert sorted(listed) == sorted(said)


def test_each_limit_is_that_of_the_code() -> None:
    limits = rows(PROTOCOL.partition("\n## Limits\n")[2], 3)[1:]
    constants = {
        "a bare registration line with its end": REGISTRATION_BYTES,
        "a registration line with pairs, with its end": PAIRS_BYTES,
        "a HELLO line with its end": HELLO_BYTES,
    }
    assert len(limits) >= 9
    for what, shown, names in limits:
        number = re.match(r"([\d,]+) ?(\w*)", shown)
        value = int(number[1].replace(",", "")) * UNITS.get(number[2], 1) if number else 0
        defaults = [Settings.model_fields[name.lower()].default for name in re.findall(r"`PARADE_(\w+)`", names)]
        assert set(defaults or [constants[what]]) == {value}, what


def test_the_heartbeat_that_is_drawn() -> None:
    assert parse_heartbeat(drawn("a heartbeat").encode()) == Heartbeat(41, 1732391092341, 12, 3, 1)


def test_the_report_that_is_drawn() -> None:
    report = parse_report(drawn("a service's report").replace(", …", "").encode())
    assert (report.time_ms, report.not_ready, report.number("next")) == (1732391092341, [], 70001)


def test_the_frame_that_is_drawn() -> None:
    payload = f"{drawn('a frame')}\n69998|B\n".encode()
    assert "69998|B\n" in FORMATS
    assert Frame.decode(payload).encode() == payload


def test_the_fields_of_stream_entries_that_are_drawn() -> None:
    written = (*raw_fields(b"")[::2], *presence_fields("a", [EVERYONE], [b"1"])[::2], *skip_fields(1)[::2])
    entries = FORMATS.partition("a heartbeat")[0]
    assert [name for name in map(str, written) if not re.search(rf" {name} +<", entries)] == []
    assert f"leave {EVERYONE.decode()}:" in entries
    assert f"{FRAME} <the frame>" in FORMATS


@pytest.mark.parametrize("page", [path.name for path in (ROOT / "docs").glob("*.md")])
def test_a_default_in_the_text_is_that_of_the_setting(page: str) -> None:
    """`PARADE_LEASE_S` (3 s), or 3 s (`PARADE_LEASE_S`), or (3 s, `PARADE_LEASE_S`)."""
    text = (ROOT / "docs" / page).read_text()
    fields = {environment_name(name): field.default for name, field in Settings.model_fields.items()}
    value = r"(\d[\d,.]*)[ \n]?(s\b|MiB|bytes|)[^()`|]{0,30}?"
    quoted = [
        *re.findall(rf"`(PARADE_\w+)`\s\({value}\)", text),
        *((name, *found) for *found, name in re.findall(rf"\b{value}(?:\s\(|,\s)`(PARADE_\w+)`", text)),
    ]
    wrong = [
        (name, number, unit)
        for name, number, unit in quoted
        if name in fields and float(number.replace(",", "")) * UNITS[unit] != fields[name]
    ]
    assert wrong == []
