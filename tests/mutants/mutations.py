"""The mutants of a module: its source with one small change each.

The changes are those of Cosmic Ray's operators, and the removal of a statement. Changes that no test can or should
detect are left out: annotations, `slots` and `frozen` of dataclasses, and `is` in place of `==`, which is the same for
small numbers.
"""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import parso.python.tree as syntax
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

_IDENTITY = ("_Eq_Is", "_NotEq_IsNot", "_Is_Eq", "_IsNot_NotEq")
_WITH_ARGUMENTS = ("VariableReplacer", "VariableInserter")


class RemoveStatement(Operator):  # type: ignore[misc]
    """Replaces a statement of a function by `pass`: calls, assignments, returns and raises that no test needs."""

    def mutation_positions(self, node: syntax.PythonNode) -> Iterator[tuple[object, object]]:
        """The positions of statements that do something."""
        if node.type == "simple_stmt" and node.search_ancestor("funcdef") and not _does_nothing(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: syntax.PythonNode, index: int) -> syntax.PythonNode:
        """Replace the statement by `pass`."""
        assert index == 0
        first = node.children[0].get_first_leaf()
        node.children[0] = syntax.Keyword("pass", first.start_pos, first.prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """No examples; only Cosmic Ray's tests use them."""
        return ()


def _does_nothing(node: syntax.PythonNode) -> bool:
    return node.children[0].type in ("string", "import_name", "import_from") or node.children[0] == "pass"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: its function, the line before and after (stripped), and the whole mutated source."""

    path: str
    line_number: int
    function: str
    line: str
    becomes: str
    source: str

    @property
    def keys(self) -> set[tuple[str, str, str, str]]:
        """Its keys in the list, with and without the function; valid wherever the line moves."""
        return {(self.path, function, self.line, self.becomes) for function in (self.function, "")}

    @property
    def place(self) -> str:
        """`fanout/upstream/clock.py:19 (RedisClock.learn)` and the original line."""
        return f"{self.path}:{self.line_number} ({self.function})\n    - {self.line}"


def mutants(path: str, source: str, functions: tuple[str, ...]) -> list[Mutant]:
    """All distinct mutants of a module, or only those of `functions` if any are given."""
    seen = {_program(source)}
    found = []
    places = _functions(source)
    for operator in _operators():
        for occurrence in range(_occurrences(source, operator)):
            mutated = mutate_code(source, operator, occurrence)
            program = _program(mutated)
            if program in seen:
                continue
            seen.add(program)
            mutant = _mutant(path, source, mutated, places)
            if not functions or mutant.function in functions:
                found.append(mutant)
    return sorted(found, key=lambda mutant: mutant.line_number)


def _operators() -> list[Operator]:
    names = [name for name in operator_names() if not name.endswith((*_IDENTITY, *_WITH_ARGUMENTS))]
    return [*(get_operator(name)() for name in names), RemoveStatement()]


def _occurrences(source: str, operator: Operator) -> int:
    return sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(source)))


def _program(source: str) -> str:
    """The program without what is left out, for comparison; the source itself if it has a syntax error."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Name("annotated")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "dataclass":
            node.keywords = [each for each in node.keywords if each.arg not in ("slots", "frozen")]
    return ast.dump(tree)


def _functions(source: str) -> dict[int, str]:
    """Maps line number to the qualified name of the innermost function or class around it."""
    names: dict[int, str] = {}

    def name(node: ast.AST, around: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = around
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{around}.{child.name}".lstrip(".")
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                names.update(dict.fromkeys(range(first, (child.end_lineno or first) + 1), inner))
            name(child, inner)

    name(ast.parse(source), "")
    return names


def _mutant(path: str, source: str, mutated: str, places: dict[int, str]) -> Mutant:
    before, after = source.splitlines(), mutated.splitlines()
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    _, start, end, start_after, end_after = next(change for change in changes if change[0] != "equal")
    line, becomes = (" ".join(" ".join(part).split()) for part in (before[start:end], after[start_after:end_after]))
    return Mutant(path, start + 1, places.get(start + 1, "module"), line, becomes, mutated)
