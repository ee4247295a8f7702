"""docs/metrics.md: its tables are what /metrics answers, no more and no less."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.exported import PROCESS, SERVICES, Exported, exported

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def table(section: str) -> list[Exported]:
    """The rows under a heading."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", text, re.MULTILINE)
    return [Exported(*row) for row in rows]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service(service: str) -> None:
    assert table(service) == exported(service)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process shows less of itself")
def test_every_process() -> None:
    assert table("every process") == exported(PROCESS)
