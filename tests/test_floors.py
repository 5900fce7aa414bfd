"""Imports run downwards only, and what is heavy stays where it is needed.

`errors` → `protocol` → `topology`, `patterns` → `agents`, `hub`, `client`, `store`, `deployment` → `runtime` → `testing`, `cli`.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("errors",),
    ("protocol",),
    ("topology", "patterns"),
    ("agents", "hub", "client", "store", "deployment"),
    ("runtime",),
    ("testing", "cli"),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
DOORS = {"__init__": {"agents", "errors", "runtime"}, "__main__": {"cli"}}
"""The package's own files, and the parts that each may open."""
ONLY_IN_HUB = {"aiohttp", "picows", "uvloop"}
SLOW = {
    "asyncio",
    "concurrent",
    "email",
    "http",
    "logging",
    "multiprocessing",
    "ssl",
    "subprocess",
    "unittest",
    "urllib",
}
"""Parts of the standard library that take longer to import than the command line takes to say what it can do."""
SHAPELESS = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc", "core_utils"}


class Import(NamedTuple):
    module: str
    line: int
    inside: bool
    """Within a function, or for type checkers alone: nothing that runs when the file is imported."""


@functools.cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(imported(parsed(path), path.relative_to(ROOT).parts[:-1]))


def imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[Import]:
    """Yield everything that a module imports, wherever in it that stands; relative imports by their full name."""
    later = {id(node) for outer in ast.walk(tree) if deferred(outer) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, id(node) in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (start, node.module)))
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "orchestrator" else [module]
            yield from (Import(name, node.lineno, id(node) in later) for name in names)


def deferred(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    """Return the folder of the package that a file is in, or the name of a file beside them."""
    inside = path.relative_to(ROOT / "orchestrator").parts
    return inside[0].removesuffix(".py")


OURS = sources("orchestrator")


@pytest.mark.parametrize("path", OURS, ids=shown)
def test_a_file_imports_from_its_own_folder_and_lower_floors(path: Path) -> None:
    here = part_of(path)
    assert here in FLOOR or here in DOORS, f"{shown(path)} is on no floor"
    wrong = []
    for found in imports(path):
        top, _, rest = found.module.partition(".")
        there = rest.partition(".")[0]
        if top != "orchestrator" or there == here:
            continue
        if there not in FLOOR:
            wrong.append(f"{shown(path)}:{found.line} imports {found.module}: name the module that defines it")
        elif here in DOORS:
            if there not in DOORS[here]:
                wrong.append(f"{shown(path)}:{found.line} imports {found.module}")
        elif FLOOR[there] >= FLOOR[here]:
            where = "the same floor" if FLOOR[there] == FLOOR[here] else "a higher one"
            wrong.append(f"{shown(path)}:{found.line} imports {found.module}, which is on {where}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in OURS if part_of(path) != "hub"], ids=shown)
def test_what_serves_sockets_is_imported_by_the_hub_alone(path: Path) -> None:
    found = [each for each in imports(path) if each.module.partition(".")[0] in ONLY_IN_HUB]
    assert not found, f"{shown(path)} imports {found}"


@pytest.mark.parametrize("path", sources("orchestrator/cli"), ids=shown)
def test_the_command_line_starts_without_anything_heavy(path: Path) -> None:
    at_once = [each.module for each in imports(path) if not each.inside]
    light = set(sys.stdlib_module_names) - SLOW
    ours = ("orchestrator.errors", "orchestrator.cli")
    heavy = [name for name in at_once if name.partition(".")[0] not in light and not name.startswith(ours)]
    assert not heavy, f"{shown(path)} imports {heavy} at once: import it in the function that needs it"


@pytest.mark.parametrize("path", sources("agents"), ids=shown)
def test_handlers_import_what_is_public(path: Path) -> None:
    import orchestrator

    allowed = {f"orchestrator.{name}" for name in orchestrator.__all__} | {"orchestrator.errors"}
    ours = [each.module for each in imports(path) if each.module.partition(".")[0] == "orchestrator"]
    assert set(ours) <= allowed, f"{shown(path)} imports {set(ours) - allowed}"


def test_every_file_has_a_name_that_says_what_is_in_it() -> None:
    parts = {
        part for path in sources("orchestrator", "agents") for part in path.relative_to(ROOT).with_suffix("").parts
    }
    assert not parts & SHAPELESS


@pytest.mark.parametrize("path", OURS, ids=shown)
def test_every_file_says_first_what_it_is_for(path: Path) -> None:
    assert path.name == "__main__.py" or ast.get_docstring(parsed(path)), f"{shown(path)} has no docstring"


def test_an_import_inside_a_function_or_for_type_checkers_is_seen() -> None:
    """The walk itself: what it would miss, no other test here could find."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from orchestrator.hub import keys\n"
        "def f():\n    import orchestrator.cli.main\n    from ..runtime import host\n    from . import limits\n"
        "from orchestrator import Task\n"
    )
    assert sorted(imported(ast.parse(source), ("orchestrator", "protocol")), key=lambda found: found.line) == [
        Import("typing", 1, False),
        Import("orchestrator.hub", 3, True),
        Import("orchestrator.cli.main", 5, True),
        Import("orchestrator.runtime", 6, True),
        Import("orchestrator.protocol", 7, True),
        Import("orchestrator.Task", 8, False),
    ]
