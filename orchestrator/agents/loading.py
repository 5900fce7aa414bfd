"""From a `handler:` reference to the class or module that it names. Only agent processes and the inspecting child call this."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Final

from orchestrator.errors import HandlerError, did_you_mean

_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<attribute>[^\W\d]\w*))?")


def load_handler(reference: str, directory: Path, app_dir: Path | None = None) -> type | ModuleType:
    """Import what `reference`, ``module:Class`` or ``module``, names.

    Modules are looked for in `directory`, then in its nearest ancestor that holds a `pyproject.toml`, or else in
    `app_dir` instead of these two, and then among what is installed. Raises `HandlerError` when there is no such thing; an error inside the module passes through.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise HandlerError(f"{reference!r} is no handler: it is written 'module:Class', or 'module' alone")
    roots = search_roots(directory, app_dir)
    for root in reversed(roots):
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))
    module = _import(match["module"], roots)
    if match["attribute"] is None:
        return module
    found = getattr(module, match["attribute"], None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        kind = "no class" if found is None else "something that is no class"
        raise HandlerError(
            f"module {match['module']!r} has {kind} {match['attribute']!r}{did_you_mean(match['attribute'], classes)}"
        )
    return found


def search_roots(directory: Path, app_dir: Path | None = None) -> tuple[Path, ...]:
    """Return the directories in which handlers are looked for before what is installed, nearest first."""
    if app_dir is not None:
        return (app_dir.resolve(),)
    start = directory.resolve()
    for ancestor in (start, *start.parents):
        if (ancestor / "pyproject.toml").is_file():
            return (start,) if ancestor == start else (start, ancestor)
    return (start,)


def given(app_dir: str) -> Path | None:
    """Return the directory that a message to a child process names; empty = none."""
    return Path(app_dir) if app_dir else None


def _import(name: str, roots: tuple[Path, ...]) -> ModuleType:
    packages = name.split(".")
    try:
        for depth in range(1, len(packages) + 1):
            _refuse_links_out(".".join(packages[:depth]), roots)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not: its author wants to see where
        raise HandlerError(
            f"there is no module {error.name!r}{did_you_mean(name, _modules_near(name, roots))}; "
            f"looked in {', '.join(map(str, roots))} and among the installed packages"
        ) from None


def _modules_near(name: str, roots: tuple[Path, ...]) -> list[str]:
    """Return the names of modules beside the one that was looked for."""
    *packages, _ = name.split(".")
    found = []
    for root in roots:
        folder = root.joinpath(*packages)
        if folder.is_dir():
            found += [".".join((*packages, file.stem)) for file in folder.glob("*.py")]
            found += [".".join((*packages, init.parent.name)) for init in folder.glob("*/__init__.py")]
    return found


def _refuse_links_out(name: str, roots: tuple[Path, ...]) -> None:
    """Raise `HandlerError` for a module that seems to lie in one of the roots and really lies elsewhere.

    Looks before anything of the module is run; the packages that it is in have been looked at, and run, before.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.has_location:
        return
    seeming, real = Path(spec.origin).absolute(), Path(spec.origin).resolve()
    installed = [Path(path).resolve() for path in {*sysconfig.get_paths().values(), *map(str, roots)}]
    if any(seeming.is_relative_to(root) for root in roots) and not any(real.is_relative_to(path) for path in installed):
        raise HandlerError(f"module {name!r} is a link out of the topology's directory, to {real}")
