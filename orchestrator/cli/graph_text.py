"""The graph of a topology for a terminal: trees of who hands tasks to whom, and lists of who shares what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.graph_words import counted, spelt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.topology.graph import Edge, EdgeKind, Graph, Node


_WATCHES: Final[EdgeKind] = "watches"


def text(graph: Graph) -> str:
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    yield graph.name
    trees = _Trees(graph)
    for node in trees.roots():
        yield ""
        yield from trees.tree(node)
    rooms = [_room(graph, node) for node in graph.of_kind("team", "lobby", "user")]
    width = max((len(title) for title, _ in rooms), default=0)
    yield from ["", *(f"{title:<{width}}  {told}".rstrip() for title, told in rooms)] if rooms else []


class _Trees:
    """Every agent below those that hand tasks to it; what stands below one is spelt out once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.below: dict[str, list[Edge]] = {}
        for edge in graph.edges_of("dispatches"):
            self.below.setdefault(edge.source, []).append(edge)
        self.shown: set[str] = set()

    def roots(self) -> Iterator[Node]:
        """Yield what nobody hands tasks to, and then one of each circle that hands tasks around."""
        agents = self.graph.of_kind("coordinator", "worker", "agent")
        led = {edge.target for edge in self.graph.edges_of("dispatches")}
        for node in (*(node for node in agents if node.name not in led), *agents):
            if node.name not in self.shown:
                yield node

    def tree(self, node: Node) -> Iterator[str]:
        program = "run elsewhere" if node.external else node.program
        yield "  ".join(filter(None, (named(node), node.kind, program)))
        yield from self.branches(node, "")

    def branches(self, node: Node, indent: str) -> Iterator[str]:
        self.shown.add(node.name)
        edges = self.below.get(node.name, [])
        for edge in edges:
            is_last = edge is edges[-1]
            target, tasks = self.graph.node(edge.target), spelt(edge)
            again = target.name in self.shown and target.name in self.below
            told = f"{tasks} → {named(target)}" if tasks else f"→ {named(target)}"
            yield f"{indent}{'└─' if is_last else '├─'} {told}{'  (see above)' if again else ''}"
            if not again:
                yield from self.branches(target, indent + ("   " if is_last else "│  "))


def named(node: Node) -> str:
    return counted(node.name, node)


def _room(graph: Graph, node: Node) -> tuple[str, str]:
    """Return a team, a lobby or a kind of user, and who has to do with it."""
    if node.kind == "user":
        asked = [named(graph.node(edge.target)) for edge in graph.edges_of("asks") if edge.source == node.name]
        return f"user {node.name}", f"may ask {', '.join(asked)}" if asked else ""
    inside: EdgeKind = "member" if node.kind == "team" else "listed"
    members, watchers = (
        ", ".join(named(graph.node(edge.source)) for edge in graph.edges_of(kind) if edge.target == node.name)
        for kind in (inside, _WATCHES)
    )
    return f"{node.kind} {node.name}", f"{members}; watched by {watchers}" if watchers else members
