"""The variables that a topology is filled in with where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.topology.files import gather, read
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.interpolate import fill
from orchestrator.topology.yaml_nodes import ListNode, MapNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.topology.yaml_nodes import Node


class Variable(NamedTuple):
    name: str
    required: bool
    """Some value that it is named in has no default."""


def variables_of(files: Sequence[Path], overlay: bytes, environ: Mapping[str, str]) -> tuple[Variable, ...]:
    """Return the variables that files name once `overlay` is laid over them, in the order of their names.

    The files are known to be readable. Variables of profiles count, whether or not they are applied: all are checked.
    """
    given = [(str(path), path, read(path, str(path))) for path in files]
    gathered = gather([*given, ("deployment.yaml", files[0].with_name("deployment.yaml"), overlay)], environ)
    found: dict[str, bool] = {}
    trees: list[Node] = [gathered.root, *(entry.value for entry in gathered.profiles.values())]
    for tree in trees:
        for text in _texts(tree):
            named = fill(text, {}, Guesses()).variables
            for name in named:
                others = {other: "x" for other in named if other != name}
                found[name] = found.get(name, False) or bool(fill(text, others, Guesses()).wrong)
    own = fill(overlay.decode(), {}, Guesses()).variables
    return tuple(Variable(name, found[name]) for name in sorted(found) if name not in own)


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, MapNode):
        for entry in node.entries.values():
            yield from _texts(entry.value)
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from _texts(item)
    else:
        yield node.text
