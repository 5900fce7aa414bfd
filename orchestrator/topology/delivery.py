"""What the delivery of tasks and the consistency of claims need of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology


def check_delivery(topology: Topology) -> Iterator[Problem]:
    """Yield what is asked for and no store is declared for."""
    if topology.store is not None:
        return
    for name, team in topology.teams.items():
        if team.claims.consistency == "strong":
            sentence = "strong claims are kept in a store, and this file declares none: 'store: sqlite:///claims.db'"
            yield topology.origin.at_value(("teams", name, "claims", "consistency"), sentence)


def claims_are_strong(topology: Topology, team: str) -> bool:
    consistency = topology.teams[team].claims.consistency
    return topology.store is not None if consistency is None else consistency == "strong"


def is_durable(store: str | None) -> bool:
    """Tell whether what a store holds outlives the processes that use it."""
    return store is not None and store != "memory:"
