"""The sentences with which a run announces itself and says goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.runtime.supervisor import Supervisor


def counted(count: int, word: str) -> str:
    """Return ``1 replica`` or ``8 replicas``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def ready_line(replicas: int, seconds: float, url: str) -> str:
    return f"{counted(replicas, 'replica')} ready in {seconds:.1f} s · hub {url.replace('127.0.0.1', 'localhost')}"


def summary(replicas: int, supervisor: Supervisor, seconds: float, tally: Mapping[str, int]) -> str:
    """Return one line about the whole run: what ran, what was done, what went wrong, how it ended."""
    parts = [f"ran {counted(replicas, 'replica')} for {seconds:.1f} s"]
    parts += [
        f"{count} {what if count != 1 else what.replace('s ', ' ', 1)}"
        for what, count in sorted(tally.items())
        if count
    ]
    if supervisor.restarts:
        parts.append(counted(supervisor.restarts, "restart"))
    parts += [f"{name} failed for good" for name in supervisor.failed]
    parts += [f"{name} ended with {ended}" for name, ended in supervisor.unclean.items()]
    if not supervisor.failed and not supervisor.unclean:
        parts.append("all ended cleanly")
    return " · ".join(parts)
