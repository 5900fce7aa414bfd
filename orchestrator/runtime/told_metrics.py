"""What a run tells its hub of its replicas' figures: added up by agent, so that it fits into one message of any run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub.agent_figures import by_agent
from orchestrator.runtime.control import MetricsTold, ReplicaFigures

if TYPE_CHECKING:
    from collections.abc import Sequence


def told_metrics(request: int, replicas: Sequence[ReplicaFigures]) -> MetricsTold:
    sums = (
        ReplicaFigures(
            one.agent,
            "",
            one.restarts,
            one.inflight,
            one.capacity,
            dict(one.counts),
            dict(one.seconds),
            dict(one.total_seconds),
        )
        for one in by_agent(replicas)
    )
    return MetricsTold(request, tuple(sums))
