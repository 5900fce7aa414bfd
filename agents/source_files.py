"""From what somebody types, a package, a directory or a file, to the Python files that it means. Nothing is imported."""

from __future__ import annotations

import difflib
import importlib.util
import os
import pkgutil
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final, NamedTuple

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Directories that hold no source of the package itself, besides hidden ones and virtual environments."""


class NoSource(LookupError):
    """There is no Python source under that name; the sentence says what there is instead."""


class SourceFile(NamedTuple):
    path: str
    """Absolute."""
    name: str
    """As it is shown: relative to the parent of what was asked for, with forward slashes."""


class Sources(NamedTuple):
    files: tuple[SourceFile, ...]
    """In the order of their paths, each once."""
    refused: tuple[tuple[str, str], ...]
    """What is there and cannot be handed on, with the reason why."""


def find_sources(asked: str) -> Sources:
    """Find the files of a package by its dotted name, of a directory, or one file by its path.

    What looks like a path is one; any other name is first looked for as a module, then in the working directory.
    Raises `NoSource`.
    """
    asked = asked.strip()
    if not asked or "\0" in asked:
        raise NoSource("name a package, a directory or a Python file to review")
    try:
        path = Path(asked).expanduser()
    except RuntimeError:  # ~somebody, and there is no such user
        path = Path(asked)
    if not all(part.isidentifier() for part in asked.split(".")) or asked.endswith(".py"):
        return _under(path, asked)
    spec = _find_module(asked)
    if spec is None:
        return _under(path, asked)
    if spec.submodule_search_locations:
        return _gathered([Path(folder) for folder in spec.submodule_search_locations])
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise NoSource(f"module {asked!r} has no Python source: it is compiled, or part of the interpreter")
    return _gathered([Path(spec.origin)])


def _under(path: Path, asked: str) -> Sources:
    try:
        if path.is_dir() or (path.is_file() and path.suffix == ".py"):
            return _gathered([path])
        if path.exists():
            raise NoSource(f"{asked!r} is neither a directory nor a file that ends in .py")
    except OSError as error:  # longer than any path may be, say
        raise NoSource(f"{asked[:80]!r} cannot be looked at: {error.strerror}") from None
    raise NoSource(f"there is no package, directory or Python file {asked!r}{_nearest(path)}")


def _find_module(name: str) -> ModuleSpec | None:
    """Find a module by way of its parents' paths: `importlib.util.find_spec` would import the parents."""
    first, *rest = name.split(".")
    try:
        # Frozen modules of the standard library have a source as well, which only the path finder knows of.
        spec = PathFinder.find_spec(first) or importlib.util.find_spec(first)
    except (ImportError, ValueError):  # some finder of an editable install objects, or the module has no spec
        return None
    found = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        found = f"{found}.{part}"
        spec = PathFinder.find_spec(found, spec.submodule_search_locations)
    return spec


def _nearest(path: Path) -> str:
    """Return the name that was probably meant, among modules, packages and what lies beside the path."""
    if path.parent == Path():
        known = {*sys.stdlib_module_names, *(module.name for module in pkgutil.iter_modules())}
        known |= {entry.name for entry in _entries(Path())}
    else:
        known = {str(entry) for entry in _entries(path.parent)}
    near = difflib.get_close_matches(str(path), sorted(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir() or entry.suffix == ".py"]
    except OSError:
        return []


def _gathered(roots: list[Path]) -> Sources:
    files: dict[str, SourceFile] = {}
    refused: list[tuple[str, str]] = []
    for root in roots:
        # Several roots make one namespace package; names relative to them might be the same.
        base = Path(root.absolute().anchor) if len(roots) > 1 else root.absolute().parent
        for path in sorted(_walk(root.absolute(), refused)):
            name = path.relative_to(base).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                refused.append((name.encode(errors="replace").decode(), "its name is not UTF-8"))
                continue
            files[str(path)] = SourceFile(str(path), name)
    if not files and not refused:
        raise NoSource(f"there is no Python file in {' and '.join(map(repr, map(str, roots)))}")
    return Sources(tuple(files.values()), tuple(refused))


def _walk(root: Path, refused: list[tuple[str, str]]) -> list[Path]:
    if root.is_file():
        return [root]

    def unreadable(error: OSError) -> None:
        name = os.fsencode(str(error.filename)).decode(errors="replace")
        refused.append((name, f"the directory cannot be read: {error.strerror}"))

    found = []
    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        subfolders[:] = [name for name in subfolders if not _skipped(Path(folder, name))]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return found


def _skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED or (folder / "pyvenv.cfg").is_file()
