"""Where the boxes of a drawing stand: in columns from left to right, with few crossings, each near what it leads to."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROW_GAP: Final = 26.0
"""Between two boxes of a column."""
BEND_HEIGHT: Final = 12.0
"""Of the room that a line keeps for itself in a column which it passes."""
_SWEEPS: Final = 12
_MANY: Final = 2000
"""Lines from which on the order is looked for only once: crossings of that many cannot be told apart anyway."""


@dataclass(frozen=True, slots=True)
class Size:
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


@dataclass(slots=True)
class Layout:
    boxes: dict[str, Point]
    """The middle of the left side of each box."""
    bends: dict[tuple[str, str], list[Point]]
    """Points that the line between two boxes passes, for each column between them, in pairs."""
    width: float
    height: float


def lay_out(sizes: Mapping[str, Size], lines: Iterable[tuple[str, str]], column_gap: float) -> Layout:
    """Return places for boxes of the given sizes, of which lines lead from left to right wherever they can.

    A line of a circle may lead back; its bends still go from its left end to its right end.
    """
    pairs = list(dict.fromkeys((a, b) for a, b in lines if a != b))
    forward = _without_circles(list(sizes), pairs)
    ranks = _ranks(list(sizes), forward)
    net = _Net.of(sizes, forward, ranks)
    _order(net)
    return _place(net, sizes, column_gap)


def _without_circles(names: list[str], pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs with those turned around that lead back to where one came from."""
    below: dict[str, list[str]] = {name: [] for name in names}
    for source, target in pairs:
        below[source].append(target)
    state: dict[str, int] = {}
    forward: dict[tuple[str, str], None] = {}
    for root in names:
        stack = [(root, iter(below[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            name, rest = stack[-1]
            target = next(rest, "")
            if not target:
                state[name] = 2
                stack.pop()
            elif state.get(target) == 1:
                forward[target, name] = None
            else:
                forward[name, target] = None
                if target not in state:
                    state[target] = 1
                    stack.append((target, iter(below[target])))
    return list(forward)


def _ranks(names: list[str], forward: list[tuple[str, str]]) -> dict[str, int]:
    """Return the column of each box: right of all that leads to it, and no further left than it has to be."""
    above, below = _neighbours(names, forward)
    ranks: dict[str, int] = {}
    waiting = {name: len(above[name]) for name in names}
    ready = [name for name in names if not waiting[name]]
    order = []
    for name in ready:
        order.append(name)
        ranks[name] = max((ranks[other] + 1 for other in above[name]), default=0)
        for other in below[name]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for name in reversed(order):
        if below[name] and not above[name]:
            ranks[name] = min(ranks[other] for other in below[name]) - 1
    return ranks


def _neighbours(
    names: Iterable[str], pairs: Iterable[tuple[str, str]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = {name: [] for name in names}
    below: dict[str, list[str]] = {name: [] for name in above}
    for source, target in pairs:
        above[target].append(source)
        below[source].append(target)
    return above, below


@dataclass(slots=True)
class _Net:
    """Columns of boxes, and of bends where a line passes a column, so that every line leads to the next column."""

    columns: list[list[str]]
    above: dict[str, list[str]]
    below: dict[str, list[str]]
    heights: dict[str, float]
    chains: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, sizes: Mapping[str, Size], forward: list[tuple[str, str]], ranks: Mapping[str, int]) -> _Net:
        columns: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
        for name in sizes:
            columns[ranks[name]].append(name)
        heights = {name: size.height for name, size in sizes.items()}
        chains: dict[tuple[str, str], list[str]] = {}
        steps: list[tuple[str, str]] = []
        for source, target in forward:
            chain = [f"{source}\0{target}\0{rank}" for rank in range(ranks[source] + 1, ranks[target])]
            for rank, bend in enumerate(chain, start=ranks[source] + 1):
                columns[rank].append(bend)
                heights[bend] = BEND_HEIGHT
            chains[source, target] = chain
            way = [source, *chain, target]
            steps += pairwise(way)
        return cls(columns, *_neighbours(heights, steps), heights, chains)


def _order(net: _Net) -> None:
    """Put each column in the order of what it is connected with, over and over, and keep the order that crosses least."""
    if sum(map(len, net.below.values())) > _MANY:
        _sweep(net.columns, net.above)
        return
    best, fewest = [list(column) for column in net.columns], _crossings(net)
    for number in range(_SWEEPS):
        forth = number % 2 == 0
        _sweep(net.columns if forth else net.columns[::-1], net.above if forth else net.below)
        crossings = _crossings(net)
        if crossings < fewest:
            best, fewest = [list(column) for column in net.columns], crossings
    net.columns = best


def _sweep(columns: Sequence[list[str]], towards: Mapping[str, list[str]]) -> None:
    for before, column in pairwise(columns):
        at = {name: index for index, name in enumerate(before)}
        own = {name: index * len(before) / max(len(column), 1) for index, name in enumerate(column)}
        column.sort(key=lambda name: _mean([at[each] for each in towards[name]], own[name]))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(net: _Net) -> int:
    crossings = 0
    for left, right in pairwise(net.columns):
        at = {name: index for index, name in enumerate(right)}
        ends = [end for name in left for end in sorted(at[other] for other in net.below[name])]
        crossings += sum(1 for index, end in enumerate(ends) for other in ends[:index] if other > end)
    return crossings


def _place(net: _Net, sizes: Mapping[str, Size], column_gap: float) -> Layout:
    middles = _middles(net)
    top = min((middles[name] - net.heights[name] / 2 for name in net.heights), default=0.0)
    bottom = max((middles[name] + net.heights[name] / 2 for name in net.heights), default=0.0)
    boxes: dict[str, Point] = {}
    passed: dict[str, list[Point]] = {}
    x = 0.0
    for column in net.columns:
        width = max((sizes[name].width for name in column if name in sizes), default=0.0)
        for name in column:
            y = middles[name] - top
            if name in sizes:
                boxes[name] = Point(x + (width - sizes[name].width) / 2, y)
            else:
                passed[name] = [Point(x, y), Point(x + width, y)]
        x += width + column_gap
    bends = {pair: [point for bend in chain for point in passed[bend]] for pair, chain in net.chains.items()}
    return Layout(boxes, bends, max(x - column_gap, 0.0), bottom - top)


def _middles(net: _Net) -> dict[str, float]:
    """Return the height of each middle: as near to those of its neighbours as order and gaps allow."""
    middles: dict[str, float] = {}
    for column in net.columns:
        y = 0.0
        for name in column:
            middles[name] = y + net.heights[name] / 2
            y += net.heights[name] + ROW_GAP
    for number in range(_SWEEPS):
        for column in net.columns if number % 2 else net.columns[::-1]:
            wished = [
                _mean([middles[each] for each in (*net.above[name], *net.below[name])], middles[name])
                for name in column
            ]
            middles.update(zip(column, _apart(wished, [net.heights[name] for name in column]), strict=True))
    return middles


def _apart(wished: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return the places nearest to the wished ones, in the same order, that leave a gap between any two."""
    offsets, offset = [], 0.0
    for index, height in enumerate(heights):
        offset += 0.0 if index == 0 else (heights[index - 1] + height) / 2 + ROW_GAP
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []  # the mean of a run that moves as one, and its length
    for wish, offset in zip(wished, offsets, strict=True):
        mean, count = wish - offset, 1
        while blocks and blocks[-1][0] >= mean:
            other, length = blocks.pop()
            mean, count = (mean * count + other * length) / (count + length), count + length
        blocks.append((mean, count))
    shifts = [mean for mean, count in blocks for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
