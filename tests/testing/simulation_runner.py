"""Runs many seeds of our own scenes on all cores: `python -m tests.testing.simulation_runner 2000`, `300:400` or `381`."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from orchestrator.testing.simulation import SimulationFailed
from tests.testing.simulation_scenes import Scenes

BLOCK = 25
"""Seeds that a process runs before it tells."""
SHOWN = 5
"""Failures that are shown whole."""


@dataclass
class Told:
    """What came of a block of seeds."""

    seeds: int = 0
    calls: int = 0
    failed: int = 0
    mishaps: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Told) -> None:
        self.seeds += other.seeds
        self.calls += other.calls
        self.failed += other.failed
        self.mishaps += other.mishaps
        self.failures += other.failures


def run(seeds: range) -> Told:
    scenes, told = Scenes(), Told(seeds=len(seeds))
    for seed in seeds:
        try:
            done = scenes.run(seed)
        except SimulationFailed as failure:
            told.failures.append((seed, str(failure)))
            continue
        told.calls += done.calls
        told.failed += done.failed
        told.mishaps.update(type(mishap).__name__ for _, mishap in done.schedule)
    return told


def main(asked: str) -> int:
    first, _, last = asked.rpartition(":")
    start = int(first) if first else 0
    seeds = range(start, int(last)) if first or int(last) > 0 else range(0)
    began, total = time.monotonic(), Told()
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed([pool.submit(run, block) for block in blocks]):
            told = done.result()
            for _, text in told.failures[: max(0, SHOWN - len(total.failures))]:
                print(f"{text}\n", flush=True)
            total.add(told)
            if sys.stderr.isatty():
                print(f"\r{total.seeds:,} of {len(seeds):,} seeds ", end="", file=sys.stderr)
    seconds = time.monotonic() - began
    failing = ", ".join(str(seed) for seed, _ in sorted(total.failures)) or "none"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(total.mishaps.items()))
    print(f"{total.seeds:,} seeds in {seconds:.0f} s, {total.seeds / seconds:.0f} a second; failing: {failing}")
    print(f"{total.calls:,} tasks and streams, {total.failed:,} of them ended in an error; mishaps: {kinds}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "2000"))
