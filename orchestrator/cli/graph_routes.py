"""The ways of a drawing's lines: from one box to another, past those between, apart where several share a side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.graph_layout import Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.cli.graph_layout import Layout, Size
    from orchestrator.topology.graph import Edge

_APART: Final = 14.0
"""Between two lines at the side of a box, where it is high enough."""
_CORNER: Final = 14.0
"""Of a side, that stays free at both of its ends."""


def routes(edges: Sequence[Edge], layout: Layout, sizes: Mapping[str, Size]) -> list[list[Point]]:
    """Return the points of each line, from its source to its target; every other stretch between them is straight."""
    ways: list[list[Point]] = []
    sides: dict[tuple[str, bool], list[int]] = {}
    for number, edge in enumerate(edges):
        left, right = _ends(edge, layout)
        begin = layout.boxes[left]
        ways.append([Point(begin.x + sizes[left].width, begin.y), *layout.bends[left, right], layout.boxes[right]])
        sides.setdefault((left, True), []).append(number)
        sides.setdefault((right, False), []).append(number)
    for (name, is_right), numbers in sides.items():
        at, beside = (0, 1) if is_right else (-1, -2)
        numbers.sort(key=lambda number: ways[number][beside].y)
        step = min(_APART, max(sizes[name].height - 2 * _CORNER, 0.0) / max(len(numbers) - 1, 1))
        for place, number in enumerate(numbers):
            middle = ways[number][at]
            ways[number][at] = Point(middle.x, layout.boxes[name].y + (place - (len(numbers) - 1) / 2) * step)
    return [way if _ends(edge, layout)[0] == edge.source else way[::-1] for edge, way in zip(edges, ways, strict=True)]


def _ends(edge: Edge, layout: Layout) -> tuple[str, str]:
    ends = edge.source, edge.target
    return ends if ends in layout.bends else ends[::-1]
