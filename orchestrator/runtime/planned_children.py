"""The children that follow from a plan: what is started, in which order, under which policy, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.runtime.lives import HUB_NAME, STORE_NAME
from orchestrator.runtime.start_order import needs_of, stop_ranks
from orchestrator.runtime.supervisor import Child
from orchestrator.topology.replica import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica

SERVER_RESTART: Final = RestartPolicy("always", delay=0.2, max_delay=5.0, max_attempts=10, window=60.0)


def children_of(plan: Plan) -> list[Child]:
    """Return the hub, if it is ours, the store, if there is one of the run, and the replicas: those that take work before those that
    hand it out.

    They end the other way round, so that a task under way finds those whom it needs.
    """
    ranks = stop_ranks(plan)
    last = max(ranks.values(), default=0) + 1
    served = [*([HUB_NAME] if plan.hub.url is None else []), *([STORE_NAME] if plan.serves_store else [])]
    servers = [Child(name, SERVER_RESTART, rank=last, essential=True) for name in served]
    ordered = sorted(plan.here, key=lambda replica: ranks[replica.agent], reverse=True)
    return servers + [child_of(replica, ranks) for replica in ordered]


def child_of(replica: Replica, ranks: Mapping[str, int]) -> Child:
    return Child(replica.peer_id, replica.restart, rank=ranks[replica.agent])


def who_waits(plan: Plan) -> frozenset[str]:
    """Return the replicas that begin when those whom they hand work to have come."""
    return frozenset(name for name, needs in needs_of(plan.here).items() if needs)
