"""From the name of a module to its source, found as an import would find it, with nothing imported or run."""

from __future__ import annotations

import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.agents.loading import search_roots
from orchestrator.topology.source_code import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.topology.source_code import ReadSource

MAX_BYTES: Final = 1_048_576
"""Of a source that is read; larger ones are data in the shape of Python."""


def source_reader(directory: Path, beside: Path, app_dir: Path | None = None) -> ReadSource:
    """Return what finds sources for a topology in `directory`; files below `beside` are named relative to it.

    It answers `None` for a module that is not there, is compiled, or is part of Python.
    """
    roots = search_roots(directory, app_dir)
    installed = [Path(entry) for entry in sys.path if entry]

    def read(module: str) -> SourceFile | None:
        parts = module.split(".")
        file = _find(parts, roots)
        if file is None and parts[0] not in sys.stdlib_module_names:
            file = _find(parts, installed)
        return None if file is None else _read(file, beside)

    return read


def _find(parts: Sequence[str], folders: Iterable[Path]) -> Path | None:
    """Return the file of a module, the first in the order of an import; of packages without a file, every part counts."""
    here, *below = parts
    portions: list[Path] = []
    for folder in folders:
        package, file = folder / here / "__init__.py", folder / f"{here}.py"
        if package.is_file():
            return _find(below, [package.parent]) if below else package
        if file.is_file():
            return None if below else file
        if (folder / here).is_dir():
            portions.append(folder / here)
    return _find(below, portions) if below and portions else None


def _read(file: Path, beside: Path) -> SourceFile | None:
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        with tokenize.open(file) as opened:  # decodes as Python would
            text = opened.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    name = file.relative_to(beside) if file.is_relative_to(beside) else file
    return SourceFile(str(name), text, is_package=file.name == "__init__.py")
