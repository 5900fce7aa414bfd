"""What the workloads have found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from orchestrator.client.load.run import Span


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that single ones took; `None` = there were none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Self:
        if not nanoseconds:
            return cls()
        ordered = sorted(nanoseconds)
        last = len(ordered) - 1
        p50, p95, p99 = (ordered[min(last, int(len(ordered) * share))] / 1e6 for share in (0.5, 0.95, 0.99))
        return cls(round(p50, 3), round(p95, 3), round(p99, 3))


@dataclass(frozen=True, slots=True)
class Found:
    """What one workload has found."""

    span: Span
    latency: Latency
    lost: int
    """What was sent and did not arrive."""
    uneven: int = 0
    """Receivers that got another number of messages than the first one did."""
