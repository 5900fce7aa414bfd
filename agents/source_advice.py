"""A second look at the most complex functions of one source text: what is large about each, and what to do about it."""

from __future__ import annotations

import ast
import importlib.util
from typing import TYPE_CHECKING, Final, NamedTuple

from agents.source_metrics import Finding, FunctionNode, complexity, inside, length, outline, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_NESTING: Final = 5
"""Blocks inside one another; the default of pylint's `too-many-nested-blocks`."""
MOST_COMPLEXITY: Final = 10
"""The limit that McCabe gave in "A Complexity Measure" (1976), and the default of ruff's C901."""
MOST_PARAMETERS: Final = 5
"""The default of pylint's `too-many-arguments`."""
MOST_LINES: Final = 50
"""Of one function: what a screen shows."""

_COMPOUND: Final = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.Match),
)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Advice(Finding):
    """What a second look found in one function: its measures, and one suggestion about the worst of them."""

    name: str
    line: int
    complexity: int
    nesting: int
    parameters: int
    lines: int
    suggestion: str


class Block(NamedTuple):
    """A compound statement and how many of them it is inside of, itself included."""

    node: ast.stmt
    depth: int


def advise(source: bytes, most: int = 3) -> tuple[Advice, ...]:
    """Look again at the `most` complex functions. Raises one of `NOT_PYTHON` for what is none."""
    found = outline(parse(importlib.util.decode_source(source)))
    functions = [(d.name, d.node) for d in found.definitions if not isinstance(d.node, ast.ClassDef)]
    functions.sort(key=lambda named: (-complexity(named[1]), named[1].lineno))
    return tuple(_look(name, node) for name, node in functions[:most])


def _look(name: str, node: FunctionNode) -> Advice:
    found = list(blocks(node))
    advice = Advice(
        name=name,
        line=node.lineno,
        complexity=complexity(node),
        nesting=max((block.depth for block in found), default=0),
        parameters=parameters(node),
        lines=length(node),
        suggestion="",
    )
    measures: list[tuple[float, Callable[[], str]]] = [
        (advice.nesting / MOST_NESTING, lambda: _about_nesting(found)),
        (advice.complexity / MOST_COMPLEXITY, lambda: _about_branches(node, found)),
        (advice.parameters / MOST_PARAMETERS, lambda: _about_parameters(advice.parameters)),
        (advice.lines / MOST_LINES, lambda: _about_length(node, found)),
    ]
    worst, suggest = max(measures, key=lambda measure: measure[0])
    return advice.model_copy(update={"suggestion": suggest() if worst > 1 else "within every limit: leave it as it is"})


def blocks(function: FunctionNode) -> Iterator[Block]:
    """Yield the compound statements of a function itself; an `elif` is as deep as its `if`."""
    stack: list[tuple[ast.AST, int]] = [(child, 0) for child in inside(function)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, _SCOPES):
            continue
        if isinstance(node, _COMPOUND):
            depth += 1
            yield Block(node, depth)
        further = _elif(node)
        stack += [(child, depth - (child is further)) for child in inside(node)]


def _elif(node: ast.AST) -> ast.If | None:
    """Return the `elif` that follows an `if`; an `if` in an `else:` block stands further to the right."""
    match node:
        case ast.If(orelse=[ast.If() as further]) if further.col_offset == node.col_offset:
            return further
    return None


def parameters(function: FunctionNode) -> int:
    """Count what a caller may have to pass: not `self` or `cls`, and neither `*args` nor `**kwargs`."""
    positional = function.args.posonlyargs + function.args.args
    bound = bool(positional) and positional[0].arg in ("self", "cls")
    return len(positional) - bound + len(function.args.kwonlyargs)


def _about_nesting(found: list[Block]) -> str:
    deepest = max(found, key=lambda block: block.depth)
    where = f"line {deepest.node.lineno} begins the innermost of {deepest.depth} nested blocks"
    return f"{where}: return early, or give the inner ones a function of their own"


def _about_branches(function: FunctionNode, found: list[Block]) -> str:
    chain, branches = _longest_chain(found)
    if chain is not None and branches > 4:
        return f"the `if` chain from line {chain.lineno} has {branches} branches: a `match` or a table would name each"
    return f"{complexity(function) - 1} decisions: {_take_out(function, found)}"


def _longest_chain(found: list[Block]) -> tuple[ast.If | None, int]:
    """Return the `if` with the most `elif` and `else` after it, and how many branches that makes."""
    continued = {id(_elif(block.node)) for block in found}
    longest, most = None, 0
    for block in found:
        if not isinstance(block.node, ast.If) or id(block.node) in continued:
            continue
        branches, last = 1, block.node
        while (further := _elif(last)) is not None:
            branches, last = branches + 1, further
        branches += bool(last.orelse)
        if branches > most:
            longest, most = block.node, branches
    return longest, most


def _about_parameters(count: int) -> str:
    return f"{count} parameters: those that travel together want an object of their own"


def _about_length(function: FunctionNode, found: list[Block]) -> str:
    return f"{length(function)} lines: {_take_out(function, found)}"


def _take_out(function: FunctionNode, found: list[Block]) -> str:
    """Name the largest part that leaves something behind: what holds nearly the whole function only moves it."""
    most = length(function) * 0.6
    parts = [block.node for block in found] + [node for node in function.body if isinstance(node, _SCOPES)]
    parts = [node for node in parts if 4 <= length(node) <= most]
    if not parts:
        return "its steps could become functions with names"
    largest = max(parts, key=length)
    return f"the {_noun(largest)} of {length(largest)} lines from line {largest.lineno} could become a function"


def _noun(node: ast.stmt) -> str:
    if isinstance(node, _SCOPES):
        return f"inner `{node.name}`"
    return f"`{type(node).__name__.removeprefix('Async').removesuffix('Star').lower()}` block"
