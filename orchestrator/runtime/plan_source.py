"""Where a run's plan comes from, for as long as it runs: its files, read again, and the numbers that were asked for since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.topology.scaling import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.topology.handlers import HandlerFault, HandlerReport
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan

    Reports = Mapping[str, HandlerReport | HandlerFault]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read at once: the files, what their handlers declare, and the plan that follows."""

    topology: Topology
    """As the files have it, without the numbers that were asked for."""
    reports: Reports
    plan: Plan
    environ: Mapping[str, str]
    """What processes that are started from now on inherit from."""
    wished: Mapping[str, int]
    """Replicas by agent that were asked for while the run lived, and that no file has overruled since."""


class PlanSource:
    """Reads for one run. Everything here blocks, and changes nothing until `adopt`."""

    def __init__(
        self,
        read: Callable[[], tuple[Topology, Reports, Mapping[str, str]]],
        planned: Callable[[Topology, Reports], Plan],
    ) -> None:
        """`read` reads the files and inspects the handlers; `planned` makes the plan of this run, or of its part.

        Both raise `OrchestratorError` for what cannot run.
        """
        self._read, self._planned = read, planned
        self._current: Reading | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a plan that runs."""
        return self._current is not None

    @property
    def current(self) -> Reading:
        assert self._current is not None, "a run begins with a reading"
        return self._current

    def adopt(self, reading: Reading) -> None:
        """This is what runs from now on."""
        self._current = reading

    def read(self) -> Reading:
        """Read the files as they are now. What was asked for stays, unless the file has another number than it had then.

        Raises `OrchestratorError`, a `TopologyError` with all mistakes of the files for instance.
        """
        topology, reports, environ = self._read()
        wished = {} if self._current is None else dict(self._current.wished)
        for agent in list(wished):
            if _replicas(topology, agent) != _replicas(self.current.topology, agent):
                del wished[agent]
        return self._reading(topology, reports, environ, wished)

    def scaled(self, wished: Mapping[str, int]) -> Reading:
        """Return the same with other numbers of replicas. Raises `OrchestratorError`."""
        now = self.current
        return self._reading(now.topology, now.reports, now.environ, {**now.wished, **wished})

    def _reading(
        self, topology: Topology, reports: Reports, environ: Mapping[str, str], wished: Mapping[str, int]
    ) -> Reading:
        plan = self._planned(scaled(topology, wished) if wished else topology, reports)
        return Reading(topology, reports, plan, environ, wished)


def _replicas(topology: Topology, agent: str) -> int | None:
    """Return what the files say about an agent; `None` also for one that they do not have any more."""
    return next((entry.replicas for _, name, entry in topology.each_agent() if name == agent), None)
