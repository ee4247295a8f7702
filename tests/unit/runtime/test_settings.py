"""Settings: environment names, clear errors, and the tables of docs/settings.md."""

import re
from pathlib import Path

import pytest

from runtime.errors import ParadeError
from runtime.settings import Settings, environment_name, load, load_for_service

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(PARADE_\w+)` \| `([^`]*)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [
        (environment_name(name), str(field.default), field.description) for name, field in Settings.model_fields.items()
    ]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADE_CLIENT_PORT", "1234")
    assert load().client_port == 1234
    assert load(client_port=5).client_port == 5


def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADE_LEASE_S", "soon")
    with pytest.raises(ParadeError, match=r"PARADE_LEASE_S='soon'"):
        load()


@pytest.mark.parametrize(("low", "high"), [("lease_s", "node_silence_s"), ("client_stall_s", "node_patience_s")])
def test_settings_that_contradict_each_other_are_refused(low: str, high: str) -> None:
    load(**{low: 7, high: 7})
    expected = f"^{environment_name(low)}=8 must not be above {environment_name(high)}=7: "
    with pytest.raises(ParadeError, match=expected):
        load(**{low: 8, high: 7})


@pytest.mark.parametrize("pair", [("event_port", "client_port"), ("client_port", "health_port")])
def test_a_port_that_is_given_twice_is_refused(pair: tuple[str, str]) -> None:
    load(**dict.fromkeys(pair, 0))
    names = " and ".join(map(environment_name, pair))
    with pytest.raises(ParadeError, match=f"^{names} are both 7801: each needs a port of its own$"):
        load(**dict.fromkeys(pair, 7801))


@pytest.mark.parametrize(
    "namespace",
    ["", "a b", "a\n", "a\r\nQUIT", "a\tb", "a\x00", "a\x7f", "a\u202eb", "{a}", "a{", "größe", "\udcff", "a" * 101],
)
def test_namespaces_that_would_break_keys_or_names_of_connections(namespace: str) -> None:
    with pytest.raises(ParadeError, match=r"(?s)PARADE_NAMESPACE=.*: .*1 to 100 printable ASCII"):
        load(namespace=namespace)


@pytest.mark.parametrize("namespace", ["parade", "team/app:1.2_b-c", "!|~", "*", "a" * 100])
def test_all_other_namespaces_are_taken(namespace: str) -> None:
    assert load(namespace=namespace).keys.events == f"{{{namespace}}}:events"


@pytest.mark.parametrize(
    "options",
    [
        ["--redis_url", "redis://:sec ret@h"],
        ["--redis-link=redis://u:secret@h/0"],
        ["redis://:secret@h"],
        ["--client-port", "redis://:secret@h"],
        ["--redis-url", "redis://:sec/secret@h"],
    ],
)
def test_a_url_that_is_misplaced_or_wrong_is_not_quoted(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((ParadeError, SystemExit)) as ended:
        load_for_service("fanout", options, "parade fanout")
    said = str(ended.value) + capsys.readouterr().err
    assert "redis://" in said
    assert "secret" not in said


def test_settings_are_told_without_the_url() -> None:
    assert "secret" not in repr(load(redis_url="redis://:secret@h"))
