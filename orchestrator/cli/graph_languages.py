"""The graph of a topology in the languages that other tools draw from: Mermaid and Graphviz's dot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.graph_words import COLOURS, INK, notes, spelt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.topology.graph import Edge, EdgeKind, Graph, Node, NodeKind

_SHAPES: Final[dict[NodeKind, tuple[str, str]]] = {
    "coordinator": ("[", "]"),
    "worker": ("[", "]"),
    "agent": ("[", "]"),
    "user": ("([", "])"),
    "team": ("{{", "}}"),
    "lobby": ("(", ")"),
}
_ARROWS: Final[dict[EdgeKind, str]] = {
    "dispatches": "==>",
    "asks": "-->",
    "member": "---",
    "listed": "---",
    "watches": "-.->",
}
_STYLES: Final[dict[EdgeKind, str]] = {
    "dispatches": "penwidth=2",
    "asks": "arrowhead=vee",
    "member": "dir=none",
    "listed": "dir=none",
    "watches": "style=dashed, arrowhead=vee",
}


def mermaid(graph: Graph) -> str:
    """Return a flowchart; its nodes are called ``n1`` and so on, since names may be words of the language."""
    return "\n".join(_mermaid(graph)) + "\n"


def _mermaid(graph: Graph) -> Iterator[str]:
    ids = {node.name: f"n{number}" for number, node in enumerate(graph.nodes, start=1)}
    yield "---"
    yield f'title: "{graph.name}"'
    yield "---"
    yield "flowchart LR"
    for node in graph.nodes:
        begin, end = _SHAPES[node.kind]
        label = "<br>".join(map(_entities, (_title(node), *notes(node))))
        yield f'  {ids[node.name]}{begin}"{label}"{end}:::{node.kind}'
    for edge in graph.edges:
        told = spelt(edge)
        label = f'|"{_entities(told)}"|' if told else ""
        yield f"  {ids[edge.source]} {_ARROWS[edge.kind]}{label} {ids[edge.target]}"
    for kind in dict.fromkeys(node.kind for node in graph.nodes):
        yield f"  classDef {kind} fill:{COLOURS[kind]},color:{INK},stroke:{COLOURS[kind]}"


def _entities(text: str) -> str:
    return "".join(
        f"#{ord(character)};" if character in _SPECIAL or not character.isprintable() else character
        for character in text
    )


_SPECIAL: Final = frozenset('"#&<>`\\;')


def dot(graph: Graph) -> str:
    """Return a directed graph for Graphviz."""
    return "\n".join(_dot(graph)) + "\n"


def _dot(graph: Graph) -> Iterator[str]:
    yield f"digraph {_quoted(graph.name)} {{"
    yield f"  graph [label={_quoted(graph.name)}, labelloc=t, rankdir=LR, fontname={_quoted('Helvetica')}];"
    yield f"  node [shape=box, style={_quoted('rounded,filled')}, fontname={_quoted('Helvetica')}];"
    yield f"  edge [fontname={_quoted('Helvetica')}, fontsize=10];"
    for node in graph.nodes:
        label = _quoted("\n".join((_title(node), *notes(node))))
        colours = f"fillcolor={_quoted(COLOURS[node.kind])}, fontcolor={_quoted(INK)}"
        yield f"  {_quoted(node.name)} [label={label}, {colours}{_shape(node, _DOT_SHAPES)}];"
    for edge in graph.edges:
        yield f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{_attributes(edge)}];"
    yield "}"


_DOT_SHAPES: Final[dict[NodeKind, str]] = {"user": "oval", "team": "hexagon", "lobby": "oval"}


def _shape(node: Node, shapes: Mapping[NodeKind, str]) -> str:
    return f", shape={shapes[node.kind]}" if node.kind in shapes else ""


def _attributes(edge: Edge) -> str:
    told = spelt(edge)
    return f"label={_quoted(told)}, {_STYLES[edge.kind]}" if told else _STYLES[edge.kind]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _title(node: Node) -> str:
    return node.label if node.label == node.name else f"{node.label} ({node.name})"
