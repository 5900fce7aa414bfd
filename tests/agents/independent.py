"""The measures of one file, counted another way: words of the token stream, and a recursive walk of the tree."""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
from collections import Counter
from typing import NamedTuple


class Tally(NamedTuple):
    lines: int
    functions: int
    classes: int
    bare_excepts: int
    documentable: int
    undocumented: int
    complexities: Counter[tuple[str, int, int]]
    """Name, line and complexity of each function."""
    longest: int


def tally(source: bytes) -> Tally:
    words = list(tokenize.tokenize(io.BytesIO(source).readline))
    names = [(word.string, after.string) for word, after in itertools.pairwise(words) if word.type == 1]
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    tree = ast.parse(source)
    docs = Documented()
    docs.visit(tree)
    measured = Complexities()
    measured.visit(tree)
    return Tally(
        lines=len(io.TextIOWrapper(io.BytesIO(source), encoding).readlines()),
        functions=sum(word == "def" for word, _ in names),
        classes=sum(word == "class" for word, _ in names),
        bare_excepts=names.count(("except", ":")),
        documentable=docs.expected,
        undocumented=docs.expected - docs.found,
        complexities=measured.found,
        longest=measured.longest,
    )


class Documented:
    """Counts public definitions, and those whose first statement is a string."""

    def __init__(self) -> None:
        self.expected = self.found = 0

    def visit(self, node: ast.AST) -> None:
        match node:
            case ast.Module(body=[]):
                return
            case ast.Module():
                self._count(node)
            case ast.ClassDef() if node.name[0] != "_":
                self._count(node)
            case ast.ClassDef():
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                decorators = [ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list]
                if node.name[0] != "_" and not {"overload", "setter", "deleter"}.intersection(decorators):
                    self._count(node)
                return
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def _count(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.expected += 1
        match node.body[0]:
            case ast.Expr(value=ast.Constant(value=str())):
                self.found += 1


class Complexities:
    """Adds each decision to every function around it."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.found: Counter[tuple[str, int, int]] = Counter()
        self.longest = 0

    def visit(self, node: ast.AST) -> None:
        self.open = [points + self._decisions(node) for points in self.open]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.open.append(1)
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.found[node.name, node.lineno, self.open.pop()] += 1
            assert node.end_lineno is not None
            self.longest = max(self.longest, 1 + node.end_lineno - node.lineno)

    def _decisions(self, node: ast.AST) -> int:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If() | ast.ExceptHandler():
                return 1
            case ast.For() | ast.AsyncFor() | ast.While():
                return 1
            case ast.Try(orelse=[_, *_]) | ast.TryStar(orelse=[_, *_]):
                return 1
            case ast.Match():
                # The only kind of last case that this second opinion takes for an `else`.
                return len(node.cases) - ast.unparse(node.cases[-1]).strip().startswith("case _:")
        return 0
