"""The library stands alone: it imports nothing of the rest, nothing there imports it, and it needs no other package."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_layout import CLASS_LINES, FUNCTION_LINES, IO, PRODUCT, lines_of

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "sdk" / "python" / "parade_client"
KIT = sorted((ROOT / "sdk" / "conformance").glob("*.py"))
FILES = {path: ast.parse(path.read_text()) for path in [*sorted(LIBRARY.rglob("*.py")), *KIT]}
PURE = ("cursor", "errors", "events", "kept", "lines", "outbox", "reconnect", "url", "way")
PROJECT = tomllib.loads((ROOT / "sdk" / "python" / "pyproject.toml").read_text())["project"]


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_itself(path: Path) -> None:
    allowed = {*sys.stdlib_module_names} | ({path.stem for path in KIT} if path in KIT else {"parade_client"})
    allowed |= {"websockets"} if path.name == "websocket.py" else set()
    assert {name.partition(".")[0] for name in imported(FILES[path])} <= allowed
    assert PROJECT["dependencies"] == []
    assert PROJECT["optional-dependencies"] == {"websocket": ["websockets>=15"]}


def test_without_the_extra_a_web_address_is_refused_with_a_hint() -> None:
    program = (
        "import sys; sys.modules['websockets'] = None; import parade_client as p; p.Source('parade://h')\n"
        "try: p.Subscriber('ws://h', 1)\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=LIBRARY.parent, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout == "ws://h:80/ws needs the package websockets: pip install 'parade-client[websocket]'\n"


def test_the_rest_does_not_import_it() -> None:
    files = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    assert files
    assert [path for path in files if "parade_client" in path.read_text()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_written_for_the_oldest_python_that_it_names(path: Path) -> None:
    """The syntax; `make check` has the types of the standard library, too."""
    assert PROJECT["requires-python"] == ">=3.10"
    ast.parse(path.read_text(), feature_version=(3, 10))


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_does_no_input_or_output_and_uses_no_chance_or_time(name: str) -> None:
    found = {used.partition(".")[0] for used in imported(FILES[LIBRARY / f"{name}.py"])}
    assert found & {*IO, "random"} == set()


def test_the_index_names_each_file_and_says_which_are_pure() -> None:
    index = ast.get_docstring(FILES[LIBRARY / "__init__.py"]) or ""
    named = dict(re.findall(r"^    (\w+)\.py +(.*)$", index, re.MULTILINE))
    assert sorted(named) == sorted(path.stem for path in LIBRARY.glob("*.py") if path.stem != "__init__")
    assert {name for name, text in named.items() if text.endswith("(pure)")} == {*PURE}
    assert (LIBRARY / "py.typed").exists()


def test_classes_and_functions_of_the_library_are_short() -> None:
    long = [
        f"{path.name}: {node.name}"
        for path, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > (CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES)
    ]
    assert long == []


def test_the_wheel_has_each_file_of_the_library_and_needs_no_package_but_the_extra(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=LIBRARY.parent, check=True, capture_output=True, timeout=120)
    (built,) = tmp_path.iterdir()
    with zipfile.ZipFile(built) as wheel:
        (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        needed = re.findall(rb"^Requires-Dist: (.*)$", wheel.read(metadata), re.MULTILINE)
        assert needed == [b"websockets>=15; extra == 'websocket'"]
        there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert there == {f"parade_client/{path.name}" for path in LIBRARY.iterdir() if path.suffix in {".py", ".typed"}}
