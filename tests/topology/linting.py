"""Topologies and handlers for tests of lint, and what is found in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.topology.lint import Lint, lint
from orchestrator.topology.source_code import SourceFile
from tests.topology.files import ENVIRON, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOW: Final = 1_700_000_000.0

ONE: Final = "version: 1\nagents:\n  one: {handler: 'app:Handler'}\n"
THREE: Final = """\
version: 1
agents:
  one: {handler: 'app:Handler', replicas: 3}
teams:
  desk: {members: [one]}
"""


def sources(modules: Mapping[str, str]) -> Callable[[str], SourceFile | None]:
    """Return what reads modules out of a mapping; a name that ends in ``/`` there is that of a package."""
    return lambda name: (
        SourceFile(f"{name.replace('.', '/')}.py", modules[name])
        if name in modules
        else SourceFile(f"{name.replace('.', '/')}/__init__.py", modules[f"{name}/"], is_package=True)
        if f"{name}/" in modules
        else None
    )


def linted(text: str, modules: Mapping[str, str] | None = None, environ: Mapping[str, str] = ENVIRON) -> Lint:
    return lint(read(text, environ), sources(modules or {}), now=NOW)


def findings(text: str, modules: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each finding, errors first, without the name of the topology file."""
    found = linted(text, modules)
    return [str(problem).removeprefix("topology.yaml:") for problem in (*found.errors, *found.warnings)]


def places(text: str, modules: Mapping[str, str] | None = None) -> list[tuple[str, int]]:
    """Return code and line of each finding."""
    found = linted(text, modules)
    return [(problem.code, problem.line) for problem in (*found.errors, *found.warnings)]


def in_code(body: str, topology: str = ONE) -> list[tuple[str, int]]:
    """Return code and line of what is found in the source of `app`."""
    return places(topology, {"app": body})
