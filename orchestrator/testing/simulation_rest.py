"""What holds once nothing has gone wrong for a while: everybody knows who is there, and nothing is kept for nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.client.connection import Client
    from orchestrator.runtime.dispatching import Desk
    from orchestrator.runtime.kept_desk import KeptDesk
    from orchestrator.runtime.replica import Replica
    from orchestrator.testing.simulation_hub import World

QUIET: Final = 150.0
"""Virtual seconds without mishaps: more than heartbeats, reconnects, graces and what streams keep for readers take."""


def presence_holds(world: World) -> Iterator[tuple[str, str]]:
    """See that every roster is the truth."""
    invariant = "presence is true after quiet"
    for peer, replica in world.running.items():
        rosters: dict[str, tuple[str, Iterable[str]]] = {}
        for seat in world.planned(peer).lobbies:
            if seat.watcher:
                rosters[seat.channel] = (f"the lobby {seat.name!r}", replica._lobbies[seat.name].peers)
        for team in replica._teams.values():
            rosters[team.channel] = (f"the team {team.name!r}", team.members)
        if replica._desk is not None:
            there_now = [one for one in replica._desk.dispatcher.workforce.seats.values() if one.present]
            for pool in replica._desk.dispatcher.workforce.pools:
                if pool.channel is not None:
                    taken = [one.peer for one in there_now if one.pool.agent == pool.agent]
                    rosters[pool.channel] = (f"the pool of {pool.agent!r}", taken)
        for channel, (named, seen) in rosters.items():
            there = set(listed(world, channel)) - {peer}
            if set(seen) != there:
                yield invariant, f"{peer} sees {sorted(seen)} in {named}, and {sorted(there)} are there"
    for user, view in world.views.items():
        seen, there = set(view.peers), set(listed(world, view.channel))
        if seen != there:
            yield invariant, f"{user} sees {sorted(seen)} on {view.channel!r}, and {sorted(there)} are there"


def listed(world: World, channel: str) -> list[str]:
    """Return the agents that are to be seen on a channel."""
    return [peer for peer in world.running if channel in _held(world, peer, observed=False)]


def _held(world: World, peer: str, *, observed: bool) -> set[str]:
    planned = world.planned(peer)
    held = {*planned.subscribe, *(channel for channel in (planned.inbox, planned.pool) if channel is not None)}
    return held | set(planned.observe) if observed else held


def hub_holds(world: World) -> Iterator[tuple[str, str]]:
    """See that the hub knows the connections and subscriptions that there are, and no others."""
    connections: dict[str, list[set[str]]] = {}
    for connection in world.network.hub.connections():
        connections.setdefault(connection.peer_id, []).append(set(connection.subscriptions))
    for peer in world.running:
        wanted, held = _held(world, peer, observed=True), connections.pop(peer, [])
        if len(held) != 1:
            yield "nothing is left over", f"{peer} has {len(held)} connections at the hub after quiet, instead of one"
        elif missing := wanted - held[0]:
            yield "subscriptions last", f"{peer} lost its subscription to {min(missing)!r}"
    for peer in world.users:
        if len(held := connections.pop(peer, [])) != 1:
            yield "nothing is left over", f"{peer} has {len(held)} connections at the hub after quiet, instead of one"
    for peer in connections:
        yield "nothing is left over", f"the hub has a connection of {peer}, which has ended"


def engines_rest(world: World) -> Iterator[tuple[str, str]]:
    """See that no engine keeps anything of a task that is over. To be asked when no call is under way."""
    for peer, replica in world.running.items():
        for what, table in _tables(replica).items():
            if table:
                yield "nothing is left over", f"{peer} still keeps {what} after quiet: {_few(table)}"
    for peer, user in world.users.items():
        for agent, desk in user._desks.items():
            for what, table in _of_desk(desk).items():
                if table:
                    yield "nothing is left over", f"{peer} still keeps {what} for {agent} after quiet: {_few(table)}"


def _tables(replica: Replica) -> dict[str, Any]:
    workload = replica.workload
    tables = {
        "tasks that it works on": workload.intake._jobs,
        "tasks that wait": workload.intake._queue,
        "outcomes that nobody has heard": workload.intake._unheard,
        "running handlers": workload._running,
        "streams": workload._flows,
        "questions": workload._asked,
        "requests under way": replica._courier._owned._tasks,
    }
    if workload.leasing is not None:
        tables |= {"tasks of the store": workload.leasing._held, "tasks of the store that run": workload._kept}
    if replica._kept is not None:
        tables |= _of_kept_desk(replica._kept)
    return tables | (_of_desk(replica._desk) if replica._desk is not None else {})


def _of_kept_desk(desk: KeptDesk) -> dict[str, Any]:
    engine = desk.engine
    return {
        "stored tasks that it follows": engine._jobs,
        "those that wait for stored tasks": desk._waiters,
        "tasks for the store": desk._outbox,
        "requests to the store": desk._owned._tasks,
        "stored tasks at its workers": [task for seat in engine.workforce.seats.values() for task in seat.outstanding],
        "stored tasks that nobody took": [task for untaken in engine._untaken.values() for task in untaken],
    }


def _of_desk(desk: Desk) -> dict[str, Any]:
    return {
        "tasks that it gave out": desk.dispatcher._jobs,
        "callers": desk._replies,
        "readers": desk._chunks,
        "listeners for progress": desk._progress,
        "tasks at its workers": [
            task for seat in desk.dispatcher.workforce.seats.values() for task in seat.outstanding
        ],
    }


def _few(table: Any) -> str:
    return ", ".join(str(entry) for entry in list(table)[:3])


# -- after the end


def end_holds(world: World, clients: Mapping[str, Client]) -> Iterator[tuple[str, str]]:
    """See that nothing is left when everybody has ended; `clients` are those of all lives and users."""
    invariant = "nothing is left over"
    for connection in world.network.hub.connections():
        yield invariant, f"the hub has a connection of {connection.peer_id} after the end"
    app = world.network.hub._apps
    for home in app.values():
        if home.channels.exact:
            yield invariant, f"the hub has subscriptions to {_few(home.channels.exact)} after the end"
    for who, client in clients.items():
        if not client._driver.idle:
            yield invariant, f"the client of {who} has something under way after the end"
    here = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not here and task not in world.not_mine]
    if left:
        names = ", ".join(sorted(task.get_name() for task in left)[:5])
        yield invariant, f"{len(left)} tasks of asyncio are left after the end: {names}"


def timers(loop: Any) -> list[asyncio.TimerHandle]:
    """Return what is still to be called at some time."""
    return [handle for handle in loop._scheduled if not handle.cancelled()]
