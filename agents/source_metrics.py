"""What can be said of one Python source text without running it: size, complexity, documentation, bare excepts.

Cyclomatic complexity is counted as by the McCabe checks of flake8 and ruff (rule C901), so that any number of a
report can be checked with them: 1 for the function, and 1 for each `if`, `elif`, `for`, `while`, `except` clause,
`else` of a `try`, `case`, and function nested inside it. A last `case` that always matches is the `else` of its
`match` and counts nothing. Boolean operators, conditional expressions, comprehensions, assertions, `with`, and the
`else` of a loop are not counted.
"""

from __future__ import annotations

import ast
import importlib.util
import threading
import warnings
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict

SHOWN: Final = 10
"""Entries of each list in a report at most, so that a report of any file fits one message; counts are never cut."""
LONGEST_TEXT: Final = 120
"""Characters of a name or a message that a report repeats."""

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS: Final = ("body", "handlers", "orelse", "finalbody", "cases")
_TRIES: Final = (ast.Try, ast.TryStar)
_POINTS: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, *_FUNCTIONS)
NOT_PYTHON: Final = (SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
"""What decoding and parsing raise for bytes that are no Python source."""
_parsing = threading.Lock()


class Finding(BaseModel):
    """The root of what is found; all of it is immutable and travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Function(Finding):
    """One function, method, or function inside another."""

    name: str
    """Dotted from the module down: `Server.start.retry`."""
    line: int
    """Of its `def`, which stands below its decorators."""
    lines: int
    """From its `def` to its last line."""
    complexity: int


class Place(Finding):
    """A line, and the function or class around it; an empty `within` is the module itself."""

    line: int
    within: str


class FileReport(Finding):
    """One file. Where it could not be read as Python, `problem` says why and the counts are those known by then."""

    file: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    documentable: int = 0
    """Definitions that a docstring is expected of: see `expects_docstring`."""
    undocumented: int = 0
    bare_excepts: int = 0
    complexity: int = 0
    """Of the most complex function; 0 where there is none."""
    most_complex: tuple[Function, ...] = ()
    longest: Function | None = None
    undocumented_places: tuple[Place, ...] = ()
    bare_except_places: tuple[Place, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class, and whether its name and all names around it are public."""

    node: FunctionNode | ast.ClassDef
    name: str
    public: bool


@dataclass(slots=True)
class Outline:
    """The definitions and bare `except:` clauses of a module, in the order of the source."""

    definitions: list[Definition] = field(default_factory=list)
    bare_excepts: list[Place] = field(default_factory=list)

    @property
    def functions(self) -> list[Function]:
        return [
            Function(name=d.name, line=d.node.lineno, lines=length(d.node), complexity=complexity(d.node))
            for d in self.definitions
            if isinstance(d.node, _FUNCTIONS)
        ]


def measure(source: bytes, file: str) -> FileReport:
    """Report on the bytes of one file. What is no Python, or no text, is a finding and not an error."""
    lines = 0
    try:
        text = importlib.util.decode_source(source)
        lines = text.count("\n") + (text != "" and not text.endswith("\n"))
        tree = parse(text)
    except NOT_PYTHON as error:
        return FileReport(file=file, lines=lines, problem=_problem(error))
    found = outline(tree)
    functions = found.functions
    undocumented = [Place(line=1, within="")] if tree.body and ast.get_docstring(tree, clean=False) is None else []
    expected = [d for d in found.definitions if expects_docstring(d)]
    undocumented += [
        Place(line=d.node.lineno, within=d.name) for d in expected if ast.get_docstring(d.node, clean=False) is None
    ]
    worst = sorted(functions, key=lambda function: (-function.complexity, function.line))
    return FileReport(
        file=file,
        lines=lines,
        functions=len(functions),
        classes=len(found.definitions) - len(functions),
        documentable=len(expected) + bool(tree.body),
        undocumented=len(undocumented),
        bare_excepts=len(found.bare_excepts),
        complexity=worst[0].complexity if worst else 0,
        most_complex=tuple(worst[:SHOWN]),
        longest=max(functions, key=lambda function: function.lines, default=None),
        undocumented_places=tuple(undocumented[:SHOWN]),
        bare_except_places=tuple(found.bare_excepts[:SHOWN]),
    )


def parse(text: str) -> ast.Module:
    """Parse without the warnings about odd literals, which are about somebody else's file.

    Raises one of `NOT_PYTHON` for what the parser cannot take.
    """
    with _parsing, warnings.catch_warnings():  # the filters belong to the process, so one thread at a time
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply for the parser"
    if isinstance(error, SyntaxError):
        where = f" in line {error.lineno}" if error.lineno else ""
        return f"it does not parse{where}: {shortened(error.msg)}"
    return f"it cannot be read as text: {shortened(str(error))}"


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def inside(node: ast.AST) -> list[ast.AST]:
    """Return the statements, `except` clauses and cases directly inside a node, in the order of the source."""
    return [child for block in _BLOCKS for child in getattr(node, block, ())]


def outline(tree: ast.Module) -> Outline:
    """Find what is defined where. An explicit stack: thousands of `elif` are nested as deeply in the tree."""
    found = Outline()
    stack: list[tuple[ast.AST, str, bool]] = [(child, "", True) for child in reversed(tree.body)]
    while stack:
        node, scope, public = stack.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            scope = shortened(f"{scope}.{node.name}" if scope else node.name)
            public = public and not node.name.startswith("_")
            found.definitions.append(Definition(node, scope, public))
            public = public and isinstance(node, ast.ClassDef)
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.bare_excepts.append(Place(line=node.lineno, within=scope))
        stack += [(child, scope, public) for child in reversed(inside(node))]
    return found


def expects_docstring(definition: Definition) -> bool:
    """Tell whether users would look for a docstring.

    They would in every module that holds anything, and for every class, function and method whose name, and the
    names of all classes around it, begin with no underscore. Not for functions inside functions, nor for overloads,
    setters and deleters, which repeat a name that is documented elsewhere.
    """
    names = {
        decorator.id if isinstance(decorator, ast.Name) else decorator.attr
        for decorator in definition.node.decorator_list
        if isinstance(decorator, ast.Name | ast.Attribute)
    }
    return definition.public and not names & {"overload", "setter", "deleter"}


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def complexity(function: FunctionNode) -> int:
    """Return the cyclomatic complexity by the rules at the top of this module."""
    points = 1
    stack = inside(function)
    while stack:
        node = stack.pop()
        if isinstance(node, _POINTS) or (isinstance(node, _TRIES) and node.orelse):
            points += 1
        elif isinstance(node, ast.Match):
            last = node.cases[-1]
            points -= last.guard is None and _always_matches(last.pattern)
        stack += inside(node)
    return points


def _always_matches(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_always_matches, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _always_matches(pattern.pattern))
