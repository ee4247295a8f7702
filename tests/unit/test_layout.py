"""The layout: who imports whom, which modules do no I/O, what a package's index names, how long classes may be."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "contract": (),
    "runtime": ("contract",),
    "listener": ("contract", "runtime"),
    "sequencer": ("contract", "runtime"),
    "fanout": ("contract", "runtime"),
    # The side of Redis knows the users; the side of the users knows nothing of Redis.
    "fanout.clients": ("contract", "runtime", "fanout.stats"),
    "console": ("contract", "runtime", "simulator"),
    # The simulator must not share a mistake with what it judges.
    "simulator": ("runtime.errors",),
    "simulator.oracle": ("simulator.workload",),
    "simulator.workload": ("simulator.payload",),
    "simulator.payload": (),
    "tests": ("contract", "runtime", "listener", "sequencer", "fanout", "console", "simulator"),
}
"""What each package may import of ours, besides itself. A part's rule replaces that of the package."""

PRODUCT = [package for package in MAY_IMPORT if package != "tests" and "." not in package]

_PURE = {
    "console.observe": ("advice", "compare", "overview"),
    "fanout": ("balance", "merge"),
    "fanout.clients": ("offenders", "pressure", "users"),
    "fanout.upstream": ("clock", "strangers"),
    "listener": ("acks", "framing", "groups", "hello", "intake", "progress", "sifting"),
    "runtime": ("errors", "printable", "stats"),
    "runtime.edge": ("peer_log", "proxy_protocol", "rates"),
    "runtime.redis": ("checks", "data", "url"),
    "sequencer": (
        *("assembly", "batch", "follows", "gap", "journal", "loading", "ordering"),
        *("questions", "routing", "standings", "state", "succession", "window"),
    ),
    "simulator": (
        "address",
        "control",
        "cursor",
        "habits",
        "ledger",
        "oracle",
        "payload",
        "pieces",
        "producers",
        "timers",
        "wire",
        "workload",
    ),
    "simulator.web": ("event_stream", "frames", "head", "text", "websocket"),
}
PURE = ["contract", *(f"{package}.{name}" for package, names in _PURE.items() for name in names)]
"""Modules that decide or convert: no I/O, and the time is handed in. Of `contract`, all are."""

IO = {"aiohttp", "asyncio", "hiredis", "redis", "select", "selectors", "socket", "subprocess", "threading", "time"}

CLASS_LINES, FUNCTION_LINES = 160, 45
"""The aims are about 150 and about 40, without docstrings and without signatures, which declare a command's options."""


def _module(path: Path) -> str:
    """`runtime.redis.link`; `runtime.redis` for a package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _within(module: str, packages: tuple[str, ...] | list[str]) -> str | None:
    """The narrowest of the packages that the module is, or is a part of."""
    found = [package for package in packages if f"{module}.".startswith(f"{package}.")]
    return max(found, key=len, default=None)


def _imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, those that are imported inside functions too."""
    package = _module(path).split(".") if path.name == "__init__.py" else _module(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level], node.module] if node.level else [node.module]
            module = ".".join(filter(None, base))
            # `from console.observe import redis_calls` imports a module; `from sequencer.gap import Gap` a name.
            yield from (f"{module}.{alias.name}" for alias in node.names)


FILES = {
    path: ast.parse(path.read_text())
    for package in MAY_IMPORT
    if "." not in package
    for path in sorted((ROOT / package).rglob("*.py"))
}
PACKAGES = [path.parent for path in FILES if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] != "tests"]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_what_it_may_and_nothing_else_of_ours(package: str) -> None:
    allowed = (*MAY_IMPORT[package], package)
    files = [path for path in FILES if _within(_module(path), list(MAY_IMPORT)) == package]
    assert files
    ours = [(_module(path), name) for path in files for name in _imports(path, FILES[path]) if _ours(name)]
    assert [f"{module} imports {name}" for module, name in ours if not _within(name, allowed)] == []


def _ours(name: str) -> bool:
    return name.partition(".")[0] in MAY_IMPORT


def test_every_top_level_package_has_a_rule_and_is_marked_as_typed() -> None:
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert top == {*PRODUCT, "tests"}
    assert [name for name in PRODUCT if not (ROOT / name / "py.typed").exists()] == []


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_does_no_input_or_output(name: str) -> None:
    files = [path for path in FILES if _within(_module(path), [name])]
    assert files
    found = {(_module(path), used) for path in files for used in _imports(path, FILES[path])}
    assert [f"{module} imports {used}" for module, used in found if used.partition(".")[0] in IO] == []


@pytest.mark.parametrize("package", PACKAGES, ids=_module)
def test_the_index_of_a_package_names_each_of_its_files_and_no_other(package: Path) -> None:
    index = ast.get_docstring(FILES[package / "__init__.py"]) or ""
    files = {path.name for path in package.iterdir() if path.suffix in {".py", ".lua", ".html"}}
    parts = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    named = set(re.findall(r"(?<![\w/.])\w+(?:\.(?:py|lua|html)\b|/(?!\w))", index))
    assert sorted((files | parts) - {"__init__.py", "__main__.py"} - named) == [], "missing in the index"
    assert sorted(named - files - parts) == [], "named in the index, but not there"


def test_no_two_test_modules_have_one_name() -> None:
    names = Counter(path.name for path in FILES if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []


def test_unit_tests_stand_where_the_code_stands_that_they_test() -> None:
    folders = {
        path.parent.relative_to(ROOT / "tests" / kind)
        for kind in ("unit", "integration")
        for path in FILES
        if path.is_relative_to(ROOT / "tests" / kind)
    }
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []


def test_classes_and_functions_are_short() -> None:
    long = [
        f"{_module(path)}.{node.name}: {lines_of(node)} lines"
        for path, tree in FILES.items()
        if _within(_module(path), PRODUCT)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > (CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES)
    ]
    assert long == []


def lines_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a body, without the docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
