"""What the documents say of the code is so."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_proof_named_in_the_reliability_table_exists() -> None:
    named = set(re.findall(r"`([a-z]\w*_\w+_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    missing = {name for name in named if f"def {name}(" not in code and f'"{name}":' not in code}
    assert len(named) > 40
    assert missing <= {"state_went_back"}, "a log event, not a test"
