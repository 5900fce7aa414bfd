"""What the drawings of a topology have in common: the words at nodes and edges, and the colours of roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.topology.graph import Edge, EdgeKind, Node, NodeKind

INK: Final = "#ffffff"
"""Of what is written on the colours below, each of which is dark enough for it."""
COLOURS: Final[dict[NodeKind, str]] = {
    "coordinator": "#1f6feb",
    "worker": "#1a7f37",
    "agent": "#626b75",
    "user": "#8250df",
    "team": "#9a6700",
    "lobby": "#bf3989",
}
MEANINGS: Final[dict[EdgeKind, str]] = {
    "asks": "may ask",
    "dispatches": "hands tasks to",
    "member": "is in",
    "listed": "is in",
    "watches": "watches",
}
_MOST_TASKS: Final = 3


def counted(word: str, node: Node) -> str:
    """Return a word with the number of replicas, where there are several."""
    return f"{word} \N{MULTIPLICATION SIGN} {node.replicas}" if node.replicas > 1 else word


def notes(node: Node) -> tuple[str, ...]:
    """Return what stands below the name of a node."""
    kind = counted(node.kind, node)
    if node.external:
        return (kind, "run elsewhere")
    return (kind, _cut(node.program)) if node.program else (kind,)


def spelt(edge: Edge) -> str:
    """Return the tasks of an edge, the first few of many."""
    more = len(edge.tasks) - _MOST_TASKS
    return ", ".join((*edge.tasks[:_MOST_TASKS], *([f"{more} more"] if more > 0 else [])))


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
