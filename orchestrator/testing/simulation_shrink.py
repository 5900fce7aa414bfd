"""Finds the shortest prefix of a schedule that still fails, and leaves out of it what does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.testing.simulation_faults import Schedule

RUNS: Final = 60
"""How often a failing simulation is run again at most."""


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], runs: int = RUNS) -> Schedule:
    """Return a part of a schedule that fails, as short as it is found in so many runs; `schedule` itself is known to.

    First the shortest prefix, by bisection; then each mishap in it is left out, from the last to the first, for as long
    as that makes it shorter.
    """
    left = runs

    def tried(candidate: Schedule) -> bool:
        nonlocal left
        if left <= 0:
            return False
        left -= 1
        return fails(candidate)

    best = schedule
    low, high = 0, len(schedule)
    while low < high:  # the mishaps up to `high` fail
        middle = (low + high) // 2
        if tried(best[:middle]):
            high = middle
        else:
            low = middle + 1
    best = best[:high]
    shorter = True
    while shorter:
        shorter = False
        for number in reversed(range(len(best))):
            candidate = best[:number] + best[number + 1 :]
            if tried(candidate):
                best, shorter = candidate, True
    return best
