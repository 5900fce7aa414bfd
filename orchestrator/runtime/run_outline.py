"""What a run consists of, as a dashboard is told it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.protocol.dashboard import AgentOutline, LobbyOutline, RunOutline, TeamOutline, UserOutline
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica


def outline_of(plan: Plan, *, node: str, began: float, admin: bool = False) -> RunOutline:
    """Return the outline of a plan; `began` is in Unix seconds, `admin` whether it is for somebody who may change things.

    The built-in user is left out: it may ask everybody.
    """
    first = {replica.agent: replica for replica in reversed(plan.replicas)}
    taken = {pool.agent: tuple(task.name for task in pool.tasks) for each in first.values() for pool in each.pools}
    return RunOutline(
        name=plan.name,
        source=plan.source.name,
        node=node,
        began=began,
        agents=tuple(_agent(plan, name, taken.get(name, ())) for name in dict.fromkeys(r.agent for r in plan.replicas)),
        teams=_teams(first.values()),
        lobbies=_lobbies(plan, first.values()),
        users=tuple(UserOutline(user.user, user.asks) for user in plan.users if user.user != ASKER),
        keeps_tasks=plan.store is not None,
        admin=admin,
    )


def _agent(plan: Plan, name: str, tasks: tuple[str, ...]) -> AgentOutline:
    replicas = plan.replicas_of(name)
    one = replicas[0]
    return AgentOutline(
        name=name,
        label=one.name,
        role=one.role,
        replicas=tuple(replica.peer_id for replica in replicas),
        capabilities=one.capabilities,
        workers=tuple(pool.agent for pool in one.pools),
        tasks=tasks,
        kept=one.delivery is not None,
    )


def _teams(replicas: Iterable[Replica]) -> tuple[TeamOutline, ...]:
    members: dict[tuple[str, str], list[str]] = {}
    for replica in replicas:
        for seat in replica.teams:
            members.setdefault((seat.name, seat.channel), []).append(replica.agent)
    return tuple(TeamOutline(name, channel, tuple(sorted(agents))) for (name, channel), agents in members.items())


def _lobbies(plan: Plan, replicas: Iterable[Replica]) -> tuple[LobbyOutline, ...]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    watchers: dict[str, list[str]] = {}
    seats = [(replica.agent, replica.lobbies) for replica in replicas]
    for name, lobbies in [*seats, *((user.user, user.lobbies) for user in plan.users)]:
        for seat in lobbies:
            found[seat.name] = (seat.channel, seat.members)
            if seat.watcher:
                watchers.setdefault(seat.name, []).append(name)
    return tuple(
        LobbyOutline(name, channel, members, tuple(sorted(watchers.get(name, ()))))
        for name, (channel, members) in found.items()
    )
