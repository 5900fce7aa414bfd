"""What whoever operates a run is allowed at its hub, as the built-in user: to see all, and to speak to everybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.codes import ALL_ACTIONS
from orchestrator.protocol.dashboard import RUN
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_METADATA
from orchestrator.protocol.tokens import Claims, Grants, compact_size
from orchestrator.topology.references import ASKER
from orchestrator.topology.scopes import ANY_AGENT
from orchestrator.topology.token_sizes import LONGEST, excess_size

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan

EVERYTHING: Final = ("**",)
RUN_PEERS: Final = f"{RUN}/*"


def operator_claims(plan: Plan, sub: str, exp: int, instance: str) -> Claims:
    """Return the claims of ``cli/{sub}``, who may ask and send to every agent of a plan, send to the runs themselves, and
    observe and publish on every channel, without being listed as present on any.

    `exp` is in Unix seconds. Whom it may ask is in its private metadata, unless that is more than a token can carry.
    Raises `ValueError` when `sub` cannot be part of a peer id.
    """
    claims = replace(
        plan.user(ASKER).claims(sub, exp),
        channels=EVERYTHING,
        permissions=ALL_ACTIONS,
        grants=_grants(_patterns(plan)),
        instance=instance,
    )
    key = LONGEST if plan.hub.key is None else plan.hub.key.id
    return claims if excess_size(claims, key) is None else replace(claims, metadata={})


def _grants(agents: tuple[str, ...]) -> Grants:
    grants = Grants(observe=EVERYTHING, publish=EVERYTHING, send=(*agents, RUN_PEERS))
    fits = len(grants.send) <= MAX_CHANNEL_CLAIMS and compact_size(grants.to_claim()) <= MAX_METADATA
    return grants if fits else _grants((ANY_AGENT,))


def _patterns(plan: Plan) -> tuple[str, ...]:
    """Return one pattern for the peers of each agent: names hold no dot."""
    patterns = (replica.peer_id if replica.replica is None else f"{replica.agent}.*" for replica in plan.replicas)
    return tuple(dict.fromkeys(patterns))
