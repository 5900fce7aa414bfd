"""What a measurement has found, beside what it should have found: a line for people, an object for programs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Final, Literal

_BUSY: Final = 0.5
_LOAD: Final = os.getloadavg()[0]
"""Of the last minute, before the measurement."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure and its limit."""

    name: str
    value: float | None
    """`None` = it could not be measured, which is a miss."""
    relation: Literal["<=", ">="]
    limit: float

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.relation == "<=" else self.value >= self.limit

    def __str__(self) -> str:
        shown = "not measured" if self.value is None else f"{self.value:.4g}"
        return f"{self.name} {shown} ({'met' if self.met else 'MISSED'}: {self.relation} {self.limit:g})"

    def as_json(self) -> dict[str, object]:
        return {"value": self.value, "relation": self.relation, "limit": self.limit, "met": self.met}


def tell(what: str, bars: list[Bar], figures: dict[str, object]) -> None:
    """Print one JSON object to standard output, and one line to standard error."""
    found = {"bench": what, "load_at_start": round(_LOAD, 2), "bars": {bar.name: bar.as_json() for bar in bars}}
    print(json.dumps({**found, **figures}), flush=True)
    busy = f" (the machine was busy before: load {_LOAD:.2f})" if _LOAD > _BUSY else ""
    print(f"{what}: {', '.join(map(str, bars))}{busy}", file=sys.stderr, flush=True)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of them do not exceed; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
