"""What the source of a handler's module says, read without running any of it: imports, classes, functions.

Names are kept as the module writes them; `ModuleCode.imported` tells where one comes from.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.topology.source_functions import FunctionCode, Surroundings, read_function
from orchestrator.topology.source_names import dotted, last_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

OURS: Final = "orchestrator"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A module's source; `name` is the file as messages have it."""

    name: str
    text: str
    is_package: bool = False


if TYPE_CHECKING:
    ReadSource: TypeAlias = Callable[[str], SourceFile | None]
    """From the dotted name of a module to its source; `None` where there is none to read."""


class Imported(NamedTuple):
    """Where a name comes from; `attribute` is empty for a module itself."""

    module: str
    attribute: str


@dataclass(frozen=True, slots=True)
class ClassCode:
    name: str
    bases: tuple[str, ...]
    is_agent: bool
    relations: Mapping[str, str]
    """Attributes by name, with the last word of their annotation: ``desk`` is a ``Team``."""
    functions: Mapping[str, FunctionCode]
    names: frozenset[str]
    """Names that its body and its methods use."""


@dataclass(frozen=True, slots=True)
class ModuleCode:
    module: str
    source: SourceFile
    imported: Mapping[str, Imported] = field(default_factory=dict)
    starred: tuple[str, ...] = ()
    """Modules of which everything is imported."""
    classes: Mapping[str, ClassCode] = field(default_factory=dict)
    functions: Mapping[str, FunctionCode] = field(default_factory=dict)
    """Functions of the module, and what it assigns to a name, read as a function that is called like the name."""

    def comes_from_us(self, name: str, *attributes: str) -> bool:
        """Tell whether a dotted name means one of these attributes of this package."""
        head, _, rest = name.partition(".")
        found = self.imported.get(head)
        if found is None:
            return False
        whole = ".".join(filter(None, (found.module, found.attribute, rest)))
        return whole.startswith(f"{OURS}.") and whole.rpartition(".")[2] in attributes


def read_module(module: str, source: SourceFile) -> ModuleCode | None:
    """Return what a module says; `None` for a text that is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's literals, which their own tools speak of
            tree = ast.parse(source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    imported, starred = _imports(tree, module if source.is_package else module.rpartition(".")[0])
    code = ModuleCode(module, source, imported, starred)
    definitions = list(_top(tree.body))
    known = frozenset(node.name for node in definitions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    speaks = any(
        found.module.startswith(OURS) and found.attribute in ("", "connect", "User") for found in imported.values()
    )
    whole = {name: ".".join(filter(None, found)) for name, found in imported.items()}
    around = Surroundings(re.split("\r\n|\r|\n", source.text), speaks, known, whole)
    classes: dict[str, ClassCode] = {}
    functions: dict[str, FunctionCode] = {}
    for node in definitions:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = _class(node, code, around)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions[node.name] = read_function(node.name, node, around, {})
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    functions[target.id] = read_function(target.id, node, around, {})
    return ModuleCode(module, source, imported, starred, classes, functions)


def _top(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield the statements of a module, those within `if` and `try` too."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _top(getattr(node, name, ()))


def _imports(tree: ast.Module, package: str) -> tuple[dict[str, Imported], tuple[str, ...]]:
    """Return imports by the name that they get, wherever in the module they stand."""
    found: dict[str, Imported] = {}
    starred: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head = alias.name.partition(".")[0]
                found[alias.asname or head] = Imported(alias.name if alias.asname else head, "")
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*above, node.module]))
            for alias in node.names:
                if alias.name == "*":
                    starred.append(module)
                else:
                    found[alias.asname or alias.name] = Imported(module, alias.name)
    return found, tuple(starred)


def _class(node: ast.ClassDef, code: ModuleCode, around: Surroundings) -> ClassCode:
    relations = {
        item.target.id: last_name(item.annotation)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    functions = {
        item.name: read_function(f"{node.name}.{item.name}", item, around, relations)
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return ClassCode(
        name=node.name,
        bases=tuple(filter(None, map(dotted, bases))),
        is_agent=any(code.comes_from_us(dotted(decorator), "agent") for decorator in node.decorator_list),
        relations=relations,
        functions=functions,
        names=frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name)),
    )


@dataclass(slots=True)
class Modules:
    """Modules by name, each read when it is first asked for."""

    read_source: ReadSource
    known: dict[str, ModuleCode | None] = field(default_factory=dict)

    def get(self, module: str) -> ModuleCode | None:
        if module not in self.known:
            source = self.read_source(module)
            self.known[module] = None if source is None else read_module(module, source)
        return self.known[module]

    def is_task(self, code: ModuleCode, name: str) -> bool:
        """Tell whether a dotted name of a module means a subclass of `Task` or `StreamTask`, as far as can be read."""
        return self._is_task(code, name, set())

    def _is_task(self, code: ModuleCode, name: str, seen: set[tuple[str, str]]) -> bool:
        if (code.module, name) in seen or not name:
            return False
        seen.add((code.module, name))
        own = code.classes.get(name)
        if own is not None:
            return any(
                code.comes_from_us(base, "Task", "StreamTask") or self._is_task(code, base, seen) for base in own.bases
            )
        head, _, rest = name.partition(".")
        found = code.imported.get(head)
        if found is not None:
            return self._is_imported_task(found, rest, seen)
        return any(self._is_imported_task(Imported(module, name), "", seen) for module in code.starred)

    def _is_imported_task(self, found: Imported, rest: str, seen: set[tuple[str, str]]) -> bool:
        """Look in the module that an import names, or in the one that its attribute is."""
        if found.module.partition(".")[0] == OURS:
            return False
        *within, name = ".".join(filter(None, (found.attribute, rest))).split(".")
        places = [(found.module, ".".join((*within, name))), (".".join((found.module, *within)), name)]
        for module, attribute in places:
            code = self.get(module)
            if code is not None and self._is_task(code, attribute, seen):
                return True
        return False
