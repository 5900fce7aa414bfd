"""What a change to a topology grants and withdraws, peer by peer. Pure: two plans in, changes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.protocol.tokens import Grants
from orchestrator.topology.over_grants import beyond

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.topology.plan import Plan

ANY_SUB = "{sub}"
"""Stands for the name of a person or program in the peer id of a kind of user."""


@dataclass(frozen=True, slots=True)
class PeerChange:
    """How the rights of one peer id differ; a kind of user is one, ``{user}/{sub}``."""

    owner: str
    """The agent or kind of user."""
    peer: str
    kind: Literal["new", "changed", "removed"]
    granted: Grants
    """Patterns that it has now, and that no single pattern covered before."""
    withdrawn: Grants
    """Patterns that it had before, and that no single pattern covers now."""


def scope_diff(before: Plan, after: Plan) -> tuple[PeerChange, ...]:
    """Return every peer whose rights differ, in the order of `after`, those that are gone last."""
    old, new = _grants(before), _grants(after)
    changes = []
    for key in (*new, *(key for key in old if key not in new)):
        had, has = old.get(key, Grants()), new.get(key, Grants())
        granted, withdrawn = _beyond(has, had), _beyond(had, has)
        kind: Literal["new", "changed", "removed"] = (
            "new" if key not in old else "removed" if key not in new else "changed"
        )
        if kind != "changed" or granted != Grants() or withdrawn != Grants():
            changes.append(PeerChange(*key, kind, granted, withdrawn))
    return tuple(changes)


def grants_more(changes: Iterable[PeerChange]) -> bool:
    """Tell whether anybody may do anything that it might not do before."""
    return any(change.granted != Grants() for change in changes)


def _grants(plan: Plan) -> dict[tuple[str, str], Grants]:
    """Return what each peer id may do, by its owner and itself."""
    agents = {(replica.agent, replica.peer_id): replica.grants for replica in plan.replicas}
    return agents | {(user.user, f"{user.user}/{ANY_SUB}"): user.grants for user in plan.users}


def _beyond(more: Grants, less: Grants) -> Grants:
    return Grants(*(beyond(getattr(more, name), getattr(less, name)) for name in Grants.__slots__))
