"""How a run lets its own user in to its hub: by a token for a command, by a link for a browser."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.tokens import mint
from orchestrator.runtime.operator_wire import Entry, KeptTasks, Linked, NotUnderstood
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.operator import operator_claims
from orchestrator.topology.plan import ASKER_TOKEN_LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.plan_source import Reports
    from orchestrator.topology.plan import Plan


@dataclass(frozen=True, slots=True)
class LettingIn:
    seat: Seat
    new_code: Callable[[], str]
    """Makes what signs a browser in at the hub of the run, once."""

    def entry(self, plan: Plan, reports: Reports, sub: str, instance: str, now: float) -> Entry:
        """Return what a command connects with; `now` is in Unix seconds. What is empty of `sub` and `instance` is made up.

        `reports` holds what each handler declares, as far as that is known. Raises `NotUnderstood` for a `sub` that cannot be part of a peer id.
        """
        token, expires_at = self._token(plan, sub or secrets.token_hex(4), instance, now)
        return Entry(
            self.seat.url,
            token,
            expires_at,
            self.seat.trusted,
            lobbies_of(plan),
            agents_of(plan),
            _tasks(plan, reports),
            kept_in(plan),
        )

    def link(self, plan: Plan, now: float) -> Linked:
        if self.seat.listening is None:  # a hub elsewhere knows no codes of ours
            token, _ = self._token(plan, f"dashboard-{secrets.token_hex(4)}", "", now)
            return Linked(page_at(self.seat.url, f"token={token}"))
        return Linked(page_at(self.seat.url, f"code={self.new_code()}"))

    def _token(self, plan: Plan, sub: str, instance: str, now: float) -> tuple[str, int]:
        expires_at = int(now + ASKER_TOKEN_LIFE)
        try:
            claims = operator_claims(plan, sub, expires_at, instance or secrets.token_hex(8))
        except ValueError as error:
            raise NotUnderstood(str(error)) from None
        return mint(self.seat.key, claims), expires_at


def lobbies_of(plan: Plan) -> dict[str, str]:
    """Return the channel of each lobby."""
    seats = [each.lobbies for each in plan.replicas] + [each.lobbies for each in plan.users]
    return {seat.name: seat.channel for lobbies in seats for seat in lobbies}


def agents_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the peer ids of each agent."""
    agents: dict[str, list[str]] = {}
    for replica in plan.replicas:
        agents.setdefault(replica.agent, []).append(replica.peer_id)
    return {agent: tuple(peers) for agent, peers in agents.items()}


def kept_in(plan: Plan) -> dict[str, KeptTasks]:
    """Return the agents whose tasks are kept, and how those are tried again."""
    pools = {pool.agent: pool for replica in plan.replicas for pool in replica.pools}
    return {
        name: KeptTasks(pool.delivery.max_attempts, pool.delivery.delay, pool.delivery.max_delay, pool.timeout)
        for name, pool in pools.items()
        if pool.delivery is not None
    }


def _tasks(plan: Plan, reports: Reports) -> dict[str, dict[str, bool]]:
    """Return by agent the tasks that its handler is known to take, and whether each is answered in chunks."""
    found = {}
    for replica in plan.replicas:
        report = reports.get(replica.handler or "")
        if replica.agent not in found and isinstance(report, HandlerReport):
            found[replica.agent] = {task.name: task.kind == "stream" for task in report.tasks}
    return found


_SCHEMES: Final = {"ws": "http", "wss": "https"}


def page_at(hub_url: str, fragment: str) -> str:
    """Return the address of the page that a hub serves. A browser keeps the fragment, behind ``#``, to itself.

    Of a hub on this machine it is the name that certificates are for; but without one, the address that the hub listens on: by
    the name, a browser would try IPv6 first, and show the fragment to whoever else listens there.
    """
    scheme, _, rest = hub_url.partition("://")
    if scheme == "wss":
        rest = rest.replace("127.0.0.1", "localhost")
    return f"{_SCHEMES[scheme]}://{rest.rstrip('/')}/#{fragment}"
