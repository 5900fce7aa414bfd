"""How a run lets its own user in to its hub: by a token for a command, by a link for a browser."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.errors import OrchestratorError
from orchestrator.protocol.tokens import mint
from orchestrator.runtime.operator_wire import Entry, Linked, NotUnderstood
from orchestrator.topology.operator import operator_claims
from orchestrator.topology.plan import ASKER_TOKEN_LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.runtime.lives import Seat
    from orchestrator.topology.plan import Plan


class NoDashboard(OrchestratorError):
    """The hub of a run has no page that a link could lead to."""


@dataclass(frozen=True, slots=True)
class LettingIn:
    seat: Seat
    new_code: Callable[[], str] | None
    """Makes what signs a browser in at the hub of the run, once; `None` = there is no such hub."""

    def entry(self, plan: Plan, sub: str, instance: str, now: float) -> Entry:
        """Return what a command connects with; `now` is in Unix seconds. What is empty of `sub` and `instance` is made up.

        Raises `NotUnderstood` for a `sub` that cannot be part of a peer id.
        """
        token, expires_at = self._token(plan, sub or secrets.token_hex(4), instance, now)
        seats = {seat.name: seat.channel for each in (*plan.replicas, *plan.users) for seat in each.lobbies}
        agents: dict[str, list[str]] = {}
        for replica in plan.replicas:
            agents.setdefault(replica.agent, []).append(replica.peer_id)
        return Entry(
            self.seat.url,
            token,
            expires_at,
            self.seat.trusted,
            seats,
            {agent: tuple(peers) for agent, peers in agents.items()},
        )

    def link(self, plan: Plan, now: float) -> Linked:
        """Raises `NoDashboard`."""
        if self.seat.listening is None:  # a hub elsewhere knows no codes of ours
            token, _ = self._token(plan, f"dashboard-{secrets.token_hex(4)}", "", now)
            return Linked(page_at(self.seat.url, f"token={token}"))
        if self.new_code is None:
            raise NoDashboard("the hub of this run serves no dashboard")
        return Linked(page_at(self.seat.url, f"code={self.new_code()}"))

    def _token(self, plan: Plan, sub: str, instance: str, now: float) -> tuple[str, int]:
        expires_at = int(now + ASKER_TOKEN_LIFE)
        try:
            claims = operator_claims(plan, sub, expires_at, instance or secrets.token_hex(8))
        except ValueError as error:
            raise NotUnderstood(str(error)) from None
        return mint(self.seat.key, claims), expires_at


_SCHEMES: Final = {"ws": "http", "wss": "https"}


def page_at(hub_url: str, fragment: str) -> str:
    """Return the address of the page that a hub serves. A browser keeps the fragment, behind ``#``, to itself."""
    scheme, _, rest = hub_url.partition("://")
    return f"{_SCHEMES[scheme]}://{rest.rstrip('/')}/#{fragment}"
