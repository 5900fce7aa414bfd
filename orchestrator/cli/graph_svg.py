"""The graph of a topology as an SVG that needs nothing else: whatever is read stands on a colour of its own, so that
it is legible on light and on dark pages alike."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from orchestrator.cli.graph_layout import Point, Size, lay_out
from orchestrator.cli.graph_routes import routes
from orchestrator.cli.graph_words import COLOURS, INK, MEANINGS, notes, spelt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.graph_layout import Layout
    from orchestrator.topology.graph import Edge, EdgeKind, Graph, Node

LINE: Final = "#768390"
"""Of lines: far enough from white and from black."""
PLATE: Final = "#2d333b"
"""Under what is written beside the boxes."""

_MARGIN: Final = 24.0
_TITLE: Final = 17
_NAME: Final = 15
_NOTE: Final = 12
_LEADING: Final = 17.0
_PADDING: Final = 14.0
_LEGEND_STEP: Final = 26.0
_LEGEND_LINE: Final = 44.0
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"
_STROKES: Final[dict[EdgeKind, str]] = {
    "asks": 'stroke-width="1.6"',
    "dispatches": 'stroke-width="2.6"',
    "member": 'stroke-width="1.6" stroke-dasharray="1 5" stroke-linecap="round"',
    "listed": 'stroke-width="1.6" stroke-dasharray="1 5" stroke-linecap="round"',
    "watches": 'stroke-width="1.6" stroke-dasharray="8 5"',
}
_ARROWED: Final = frozenset({"asks", "dispatches", "watches"})


def svg(graph: Graph) -> str:
    return "\n".join(_Drawing(graph).elements()) + "\n"


def text_width(text: str, size: float) -> float:
    """Return how wide a text is at most, about: fonts differ, and none is at hand to measure."""
    return size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    if character in "iljtfrI.,:;'|!()[] ":
        return 0.38
    return 0.92 if character in "mwMW@" else 0.72 if character.isupper() else 0.6


class _Drawing:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sizes = {node.name: _size(node) for node in graph.nodes}
        widest = max((text_width(spelt(edge), _NOTE) for edge in graph.edges), default=0.0)
        lines = [(edge.source, edge.target) for edge in graph.edges]
        self.layout: Layout = lay_out(self.sizes, lines, column_gap=max(90.0, widest + 60.0))
        self.top = _MARGIN + _TITLE + 2 * 10 + _MARGIN
        self.ways = [
            [Point(at.x + _MARGIN, at.y + self.top) for at in way]
            for way in routes(graph.edges, self.layout, self.sizes)
        ]

    def elements(self) -> Iterator[str]:
        drawn = {MEANINGS[edge.kind]: edge.kind for edge in self.graph.edges}
        kinds = [drawn[meaning] for meaning in dict.fromkeys(MEANINGS.values()) if meaning in drawn]
        legend = max((_LEGEND_LINE + text_width(MEANINGS[kind], _NOTE) for kind in kinds), default=0.0) + 3 * _PADDING
        heading = text_width(self.graph.name, _TITLE) + 2 * _PADDING
        width = max(self.layout.width, heading, legend if kinds else 0.0) + 2 * _MARGIN
        below = self.top + self.layout.height + _MARGIN
        height = below + (len(kinds) * _LEGEND_STEP + _MARGIN if kinds else 0.0)
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONT}">'
        yield f"  <title>{_text(self.graph.name)}</title>"
        yield f"  <desc>{_text(self.said())}</desc>"
        yield from _plate(Point(_MARGIN, _MARGIN), Size(heading, _TITLE + 20), self.graph.name, _TITLE, bold=True)
        for edge, way in zip(self.graph.edges, self.ways, strict=True):
            yield from self.line(edge, way)
        for node in self.graph.nodes:
            yield from self.box(node)
        for edge, way in zip(self.graph.edges, self.ways, strict=True):
            yield from self.label(edge, way)
        if kinds:
            yield from _legend(kinds, Point(_MARGIN, below), legend)
        yield "</svg>"

    def said(self) -> str:
        """Return the drawing in words, for those who hear it."""
        return "; ".join(map(_said, self.graph.edges)) or ", ".join(node.name for node in self.graph.nodes)

    def box(self, node: Node) -> Iterator[str]:
        size, at = self.sizes[node.name], self.layout.boxes[node.name]
        x, y = at.x + _MARGIN, at.y + self.top - size.height / 2
        round_ = 10 if node.kind in ("coordinator", "worker", "agent") else size.height / 2
        dashes = ' stroke-dasharray="5 4"' if node.external else ""
        yield f'  <g class="{node.kind}">'
        yield (
            f'    <rect x="{x:.1f}" y="{y:.1f}" width="{size.width:.1f}" height="{size.height:.1f}" rx="{round_:.1f}" '
            f'fill="{COLOURS[node.kind]}" stroke="{INK}" stroke-opacity="0.6"{dashes}/>'
        )
        middle, line = x + size.width / 2, y + _PADDING + _NAME - 3
        yield f"    {_centred(middle, line, node.label, _NAME, bold=True)}"
        for number, note in enumerate(notes(node), start=1):
            yield f"    {_centred(middle, line + number * _LEADING + 1, note, _NOTE)}"
        yield "  </g>"

    def line(self, edge: Edge, way: Sequence[Point]) -> Iterator[str]:
        shown, end = way, way[-1]
        towards = 1.0 if way[-1].x >= way[-2].x else -1.0
        if edge.kind in _ARROWED:
            shown = [*way[:-1], Point(end.x - 8.0 * towards, end.y)]
        yield (
            f'  <path class="{edge.kind}" d="{_curve(shown)}" fill="none" stroke="{LINE}" {_STROKES[edge.kind]}>'
            f"<title>{_text(_said(edge))}</title></path>"
        )
        if edge.kind in _ARROWED:
            yield f"  {_arrow(end, towards)}"

    def label(self, edge: Edge, way: Sequence[Point]) -> Iterator[str]:
        """Say the tasks of a line in the middle of its last bow."""
        told = spelt(edge)
        if told:
            width = text_width(told, _NOTE) + 12
            middle = Point((way[-2].x + way[-1].x) / 2 - width / 2, (way[-2].y + way[-1].y) / 2 - 10)
            yield from _plate(middle, Size(width, 20), told, _NOTE)


def _size(node: Node) -> Size:
    told = notes(node)
    width = max(text_width(node.label, _NAME) * 1.06, *(text_width(note, _NOTE) for note in told), 80.0)
    return Size(width + 2 * _PADDING, 2 * _PADDING + _NAME + len(told) * _LEADING - 6)


def _curve(way: Sequence[Point]) -> str:
    """Return a path that bows between columns and runs straight through them."""
    parts = [f"M{way[0].x:.1f} {way[0].y:.1f}"]
    for number, (begin, end) in enumerate(pairwise(way)):
        if number % 2:
            parts.append(f"L{end.x:.1f} {end.y:.1f}")
        else:
            bow = (end.x - begin.x) / 2
            parts.append(f"C{begin.x + bow:.1f} {begin.y:.1f} {end.x - bow:.1f} {end.y:.1f} {end.x:.1f} {end.y:.1f}")
    return " ".join(parts)


def _arrow(tip: Point, towards: float) -> str:
    back = tip.x - 11.0 * towards
    return (
        f'<path class="arrow" d="M{tip.x:.1f} {tip.y:.1f} L{back:.1f} {tip.y - 5.5:.1f} L{back:.1f} {tip.y + 5.5:.1f} Z" '
        f'fill="{LINE}"/>'
    )


def _legend(kinds: Sequence[EdgeKind], at: Point, width: float) -> Iterator[str]:
    yield (
        f'  <rect x="{at.x:.1f}" y="{at.y:.1f}" width="{width:.1f}" height="{len(kinds) * _LEGEND_STEP + 10:.1f}" rx="8" '
        f'fill="{PLATE}"/>'
    )
    for number, kind in enumerate(kinds):
        y = at.y + 5 + (number + 0.5) * _LEGEND_STEP
        begin, end = at.x + _PADDING, at.x + _PADDING + _LEGEND_LINE - 10
        stop = end - 8 if kind in _ARROWED else end
        yield f'  <path d="M{begin:.1f} {y:.1f} L{stop:.1f} {y:.1f}" fill="none" stroke="{LINE}" {_STROKES[kind]}/>'
        if kind in _ARROWED:
            yield f"  {_arrow(Point(end, y), 1.0)}"
        yield (
            f'  <text x="{end + _PADDING:.1f}" y="{y + 4:.1f}" font-size="{_NOTE}" fill="{INK}">{_text(MEANINGS[kind])}</text>'
        )


def _plate(at: Point, size: Size, text: str, font: int, *, bold: bool = False) -> Iterator[str]:
    yield (
        f'  <rect x="{at.x:.1f}" y="{at.y:.1f}" width="{size.width:.1f}" height="{size.height:.1f}" rx="6" '
        f'fill="{PLATE}" stroke="{LINE}" stroke-width="0.8"/>'
    )
    yield f"  {_centred(at.x + size.width / 2, at.y + size.height / 2 + font * 0.35, text, font, bold=bold)}"


def _centred(x: float, y: float, text: str, font: int, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{font}"{weight} text-anchor="middle" fill="{INK}">{_text(text)}</text>'


def _said(edge: Edge) -> str:
    told = f" ({', '.join(edge.tasks)})" if edge.tasks else ""
    return f"{edge.source} {MEANINGS[edge.kind]} {edge.target}{told}"


def _text(text: str) -> str:
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return printable.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
