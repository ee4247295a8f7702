"""What the documents say of the code is so: tests, files, commands and targets that they name exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
    if path.name != "CHANGELOG.md"  # it also names what was
}
FOLDERS = "contract|runtime|listener|sequencer|fanout|console|simulator|tests|deploy|docs|requirements|stubs"


def test_every_proof_named_in_the_reliability_table_exists() -> None:
    named = set(re.findall(r"`([a-z]\w*_\w+_\w+)`", PAGES["docs/reliability.md"]))
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    missing = {name for name in named if f"def {name}(" not in code and f'"{name}":' not in code}
    assert len(named) > 40
    assert missing <= {"state_went_back"}, "a log event, not a test"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./*-]*)`", PAGES[page])
    assert [name for name in named if not any(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_module_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "bench"} <= targets
    assert set(re.findall(r"`make ([a-z-]+)", PAGES[page])) - targets == set()
    modules = set(re.findall(rf"python -m ((?:{FOLDERS})[\w.]*)", PAGES[page]))
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w.-]+\.md)", PAGES["docs/index.md"]))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == linked | {"index.md"}


def test_the_readme_has_no_link_that_is_dead_elsewhere() -> None:
    """It is also shown where its neighbours are not: on a package index, without the pictures (`hatch_build.py`)."""
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", PAGES["README.md"])
    assert [link for link in links if not link.startswith("https://")] == []
