"""docs/operations.md: everything that can warn is explained there."""

import re

import pytest

from tests.support.deployment import ROOT
from tests.support.queries import PROMETHEUS, alert_rules

PAGE = (ROOT / "docs" / "operations.md").read_text()
PACKAGES = ("contract", "runtime", "listener", "sequencer", "fanout", "console", "simulator")


def sections() -> dict[str, str]:
    """Anchor, as GitHub makes it of the heading → text."""
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    return {title.lower().replace(" ", "-"): text for title, text in zip(parts[::2], parts[1::2], strict=True)}


def names_in_code(pattern: str) -> set[str]:
    """What the first group matches, in all packages."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {name for path in files for name in re.findall(pattern, path.read_text())}


def heads() -> str:
    """The line of each section that names what leads to it."""
    return "\n".join(text.strip().partition("\n")[0] for text in sections().values())


@pytest.mark.parametrize("alert", alert_rules())
def test_each_alert_leads_to_its_section(alert: str) -> None:
    rule = (PROMETHEUS / "alerts.yml").read_text().partition(f"- alert: {alert}\n")[2].partition("- alert:")[0]
    (page, anchor) = re.findall(r"runbook: (\S+)#(\S+)\n", rule)[0]
    assert page == "docs/operations.md"
    assert f"`{alert}`" in sections()[anchor].strip().partition("\n")[0]
    assert re.search(r"severity: (critical|warning)\n", rule)
    assert "summary: " in rule


def test_each_warning_and_error_in_the_logs() -> None:
    logged = names_in_code(r'log\.(?:warning|error|critical|exception)\(\s*"(\w+)"')
    assert len(logged) >= 15
    assert {name for name in logged if f"`{name}`" not in heads()} == set()


def test_each_warning_of_the_status() -> None:
    warned = names_in_code(r'Concern\(\s*\w+,\s*"(\w+)"')
    assert len(warned) >= 12
    status = "\n".join(re.findall(r"status (.*)", heads()))
    assert {name for name in warned if f"`{name}`" not in status} == set()


def test_nothing_is_explained_that_does_not_exist() -> None:
    status = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"status (.*)", heads()))))
    assert status == names_in_code(r'Concern\(\s*\w+,\s*"(\w+)"')
    alerts = set(re.findall(r"`(Parade\w+)`", PAGE))
    assert alerts == set(alert_rules())


@pytest.mark.parametrize("anchor", sections())
def test_each_section_says_what_clients_notice_and_what_to_do(anchor: str) -> None:
    text = sections()[anchor]
    assert "**Means:**" in text
    assert "**Do:**" in text
    assert "**Clients notice:**" in text or anchor == "not-ready"
