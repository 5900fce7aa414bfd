"""What `orchestrator bench` has found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from orchestrator.client.load.course import Part
    from orchestrator.client.load.figures import Found

OPERATIONS: Final[dict[Part, str]] = {
    "connect": "connections",
    "fan-out": "deliveries",
    "direct": "messages",
    "round trip": "round trips",
    "stream": "chunks",
}
"""What is counted."""


class Row(NamedTuple):
    part: Part
    found: Found


def fields(found: Found) -> dict[str, Any]:
    span, latency = found.span, found.latency
    return {
        "operations": span.operations,
        "seconds": round(span.seconds, 3),
        "per_second": round(span.per_second, 1),
        "p50_ms": latency.p50,
        "p95_ms": latency.p95,
        "p99_ms": latency.p99,
        "lost": found.lost,
        "generator_share": round(span.generator_cpu / span.seconds, 3) if span.seconds else None,
    }


_COLUMNS: Final = ("WORKLOAD", "PER SECOND", "", "P50 MS", "P95 MS", "P99 MS", "LOST")
_TEXTS: Final = (0, 2)
"""Columns that are aligned to the left."""


def table(rows: list[Row]) -> list[str]:
    """Show what was found, a part a line."""
    cells = [_COLUMNS, *map(_cells, rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(_COLUMNS))]
    return [
        "  ".join(
            text.ljust(width) if at in _TEXTS else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _cells(row: Row) -> tuple[str, ...]:
    latency = row.found.latency
    times = ("-" if value is None else f"{value:.2f}" for value in (latency.p50, latency.p95, latency.p99))
    rate = row.found.span.per_second
    return (
        row.part,
        f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}",
        OPERATIONS[row.part],
        *times,
        f"{row.found.lost:,}",
    )
