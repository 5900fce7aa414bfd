"""What a topology and its handlers had better not do, though they may: findings, each with a code and its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.topology.credentials import without_secrets
from orchestrator.topology.explanations import ERRORS
from orchestrator.topology.lint_code import lint_code
from orchestrator.topology.lint_file import lint_file
from orchestrator.topology.lint_secrets import lint_clear_text, lint_tokens
from orchestrator.topology.lint_silence import Ignore, python_comments, read_ignores, silenced, yaml_comments
from orchestrator.topology.source_code import Modules
from orchestrator.topology.yaml_nodes import ListNode, MapNode, compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology
    from orchestrator.topology.source_code import ReadSource
    from orchestrator.topology.yaml_nodes import Node


@dataclass(frozen=True, slots=True)
class Lint:
    """What was found, in the order of the files; a problem without a code is about a comment that silences."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The files that were looked at, with stars in place of what is a secret by its shape."""


def lint(topology: Topology, read_source: ReadSource, *, now: float) -> Lint:
    """Look at a topology that `load_topology` returned, and at the source of its handlers.

    `now`, in Unix seconds, tells how long a token that stands in the file will live.
    """
    origin = topology.origin
    code = lint_code(topology, Modules(read_source))
    findings = [*lint_file(topology), *lint_tokens(topology, now), *lint_clear_text(origin.texts), *code.found]
    ignores: dict[str, list[Ignore]] = {}
    wrong: list[Problem] = []
    for texts, comments in ((origin.texts, yaml_comments), (code.texts, python_comments)):
        for source, text in texts.items():
            ignores[source], problems = read_ignores(text, source, comments)
            wrong += problems
    asleep = {source: _profile_lines(text, source) for source, text in origin.texts.items() if ignores[source]}
    left = silenced(
        findings,
        ignores,
        dormant=code.dormant,
        passed_over=lambda source, line: line in asleep.get(source, ()),
    )
    told = sorted(dict.fromkeys([*left, *wrong]))
    return Lint(
        errors=tuple(problem for problem in told if problem.code in ERRORS),
        warnings=tuple(problem for problem in told if problem.code not in ERRORS),
        texts={source: without_secrets(text) for source, text in {**origin.texts, **code.texts}.items()},
    )


def _profile_lines(text: str, source: str) -> range:
    """Return the lines of a file's profiles: of one that is not applied, most rules know nothing."""
    root, _ = compose(text, source)
    entry = root.entries.get("profiles")
    return range(0) if entry is None else range(entry.key.line, _last_line(entry.value) + 1)


def _last_line(node: Node) -> int:
    children: list[Node] = []
    if isinstance(node, MapNode):
        children = [entry.value for entry in node.entries.values()]
    elif isinstance(node, ListNode):
        children = list(node.items)
    return max([node.place.line, *map(_last_line, children)])
