"""What every token of a topology says and why: a section for each agent and each kind of user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.topology.over_grants import OverGrants, over_grants
from orchestrator.topology.references import ASKER
from orchestrator.topology.scope_diff import ANY_SUB
from orchestrator.topology.scopes import Need, Relations, agent_needs, user_needs

if TYPE_CHECKING:
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan, UserPlan
    from orchestrator.topology.replica import Replica


@dataclass(frozen=True, slots=True)
class TokenText:
    """The claims of one token as they are minted, but for `exp` and `instance`, which belong to one moment."""

    peer: str
    """``{user}/{sub}`` for a kind of user: each person or program has one."""
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScopeSection:
    """One agent with all its replicas, or one kind of user."""

    name: str
    kind: str
    """Its role, or ``user``, or ``built-in user`` for the one that `orchestrator run --ask` acts as."""
    token_ttl: float
    """Seconds that each of its tokens lives."""
    needs: tuple[Need, ...]
    """Why it may what it may, as its first replica sees it."""
    tokens: tuple[TokenText, ...]
    flat: OverGrants
    """What the flat claims of its first token allow beyond that."""


def scope_table(topology: Topology, plan: Plan) -> tuple[ScopeSection, ...]:
    """Return a section for everybody who gets a token, in the order of the plan; `plan` is that of `topology`."""
    relations = Relations.of(topology)
    names = dict.fromkeys(replica.agent for replica in plan.replicas)
    agents = (_agent(relations, plan.replicas_of(name), plan.hub.token_ttl) for name in names)
    return (*agents, *(_user(relations, user) for user in plan.users))


def _agent(relations: Relations, replicas: tuple[Replica, ...], token_ttl: float) -> ScopeSection:
    first = replicas[0]
    return ScopeSection(
        name=first.agent,
        kind=first.role,
        token_ttl=token_ttl,
        needs=tuple(agent_needs(relations, first.agent, first.peer_id)),
        tokens=tuple(
            TokenText(replica.peer_id, _timeless(replica.claims(exp=0, instance="").to_payload()))
            for replica in replicas
        ),
        flat=over_grants(first.channels, first.permissions, first.grants),
    )


def _user(relations: Relations, user: UserPlan) -> ScopeSection:
    claims = user.claims(ANY_SUB, exp=0)
    return ScopeSection(
        name=user.user,
        kind="built-in user" if user.user == ASKER else "user",
        token_ttl=user.token_ttl,
        needs=tuple(user_needs(relations, user.user)),
        tokens=(TokenText(claims.sub, _timeless(claims.to_payload())),),
        flat=over_grants(user.channels, user.permissions, user.grants),
    )


def _timeless(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in ("exp", "instance")}
