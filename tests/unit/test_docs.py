"""What the documents say of the code is so: what they name exists, and their links lead somewhere."""

import importlib.util
import os
import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from console.app import SERVICES
from console.cli import app
from contract.keys import Keys
from runtime.settings import Settings, environment_name

ROOT = Path(__file__).parents[2]
EVERY_PAGE = {
    str(path.relative_to(ROOT)): path.read_text() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
}
PAGES = {name: text for name, text in EVERY_PAGE.items() if name != "CHANGELOG.md"}
"""Those that say what is; the changelog also names what was."""
ELSEWHERE = {"listener.py", "docker-compose.override.yml"}
"""Files of a reader that the pages name."""
FOLDERS = "contract|runtime|listener|sequencer|fanout|console|simulator|tests|deploy|docs|requirements|sdk|stubs"


def commands(page: str) -> str:
    """What a reader would type: the code spans and the code blocks of a page, in this order, a line each."""
    blocks = re.findall(r"^```(?:sh|console)?\n(.*?)^```", EVERY_PAGE[page], re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", without_blocks(page))
    return "\n".join([*spans, *("\n".join(blocks).replace("\n$ ", "\n").splitlines())])


def without_blocks(page: str) -> str:
    """A page without its code blocks, in which `#` begins a comment and `](` means nothing."""
    return re.sub(r"^```.*?^```", "", EVERY_PAGE[page], flags=re.DOTALL | re.MULTILINE)


def anchors(page: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


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
    bare = re.findall(r"`([\w*-]+\.(?:py|lua|md|yml|toml|cfg))`", PAGES[page])
    ours = {path.name for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*")} | {*os.listdir(ROOT)}
    assert [name for name in bare if name not in ours and name not in ELSEWHERE] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_module_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "bench"} <= targets
    assert set(re.findall(r"^make ([a-z-]+)", commands(page), re.MULTILINE)) - targets == set()
    modules = set(re.findall(rf"python -m ((?:{FOLDERS})[\w.]*)", PAGES[page]))
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_is_named_exists(page: str) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    settings = {"--" + name.replace("_", "-") for name in Settings.model_fields}
    for name, rest in re.findall(r"^(?:\.venv/bin/)?parade ([a-z]+)\b([^#\n]*)", commands(page), re.MULTILINE):
        assert name in group.commands
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        known = settings if name in SERVICES else options
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= known, name


def test_the_readme_has_every_command() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    rows = "\n".join(re.findall(r"^\| (`parade .*?) \|", PAGES["README.md"], re.MULTILINE))
    assert set(re.findall(r"`(?:parade )?([a-z]+)`", rows)) == set(group.commands)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_is_named_exists(page: str) -> None:
    known = {environment_name(name) for name in Settings.model_fields}
    elsewhere = (".env.example", "docker-compose.yml", "console/options.py", "tests/support/programs.py")
    other = "\n".join((ROOT / name).read_text() for name in elsewhere)
    named = set(re.findall(r"\bPARADE_[A-Z_]*[A-Z]\b", PAGES[page]))
    assert {name for name in named - known if name not in other} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_is_named_exists(page: str) -> None:
    keys = Keys("parade")
    known = {value for name in dir(Keys) if isinstance(value := getattr(keys, name), str)}
    assert f"{keys.prefix}events" in known
    named = set(re.findall(r"\{parade\}:[a-z]+:?", PAGES[page]))
    assert {name for name in named if name not in known} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_metric_that_is_named_exists(page: str) -> None:
    known = set(re.findall(r"^\| `(parade_\w+)` \|", PAGES["docs/metrics.md"], re.MULTILINE))
    series = {f"{name}_{part}" for name in known for part in ("bucket", "count", "sum")}
    assert set(re.findall(r"\bparade_(?:listener|sequencer|fanout)_\w+", PAGES[page])) - known - series == set()


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_links_lead_somewhere(page: str) -> None:
    assert len(set(anchors(page))) == len(anchors(page)) or page == "CHANGELOG.md", "a heading that stands twice"
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", without_blocks(page)):
        found = (ROOT / page).parent / target if target else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT)))


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w.-]+\.md)", PAGES["docs/index.md"]))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == linked | {"index.md"}


def test_the_readme_has_no_link_that_is_dead_elsewhere() -> None:
    """It is also shown where its neighbours are not: on a package index, without the pictures (`hatch_build.py`)."""
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", PAGES["README.md"])
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_example_environment_has_each_variable_of_the_compose_file_with_its_default() -> None:
    compose = re.findall(r"\$\{(PARADE_\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text())
    example = re.findall(r"^(PARADE_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(example) > 20
    assert sorted(example) == sorted(set(compose))


def test_the_examples_of_an_override_name_services_and_settings_that_exist() -> None:
    services = re.findall(r"^  (\w+):$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGES["docs/deployment.md"], re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        assert set(re.findall(r"^  (\w+):$", example, re.MULTILINE)) <= set(services)
        names = set(re.findall(r"^      (\w+):", example, re.MULTILINE))
        assert names
        assert names <= {environment_name(name) for name in Settings.model_fields}


def test_the_readme_says_how_to_try_and_to_test() -> None:
    """The two commands of a user who has just cloned the repository."""
    commands = re.findall(r"^(make [a-z-]+) ", PAGES["README.md"], re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
