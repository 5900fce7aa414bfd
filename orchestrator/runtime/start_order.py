"""Who begins after whom, and ends before whom: those that take work are there before those that hand it out.

All processes are started at once. What waits is a coordinator's own beginning, its `setup()` above all, so that what it
hands out there finds somebody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica


class StartOrder:
    """Who may begin, by peer id. `needs` names for each those who have to come up before it.

    Those who need each other, directly or round about, do not wait for each other; nor does anybody for one that is no
    key of `needs`. Whoever has settled once stays settled until it leaves: a coordinator that is started again waits
    only for those that never came up.
    """

    def __init__(self, needs: Mapping[str, Collection[str]]) -> None:
        self._settled: set[str] = set()
        self._waiting: dict[str, None] = {}  # a set that keeps the order of asking
        self._needs: dict[str, frozenset[str]] = {}
        self._missing: dict[str, set[str]] = {}
        self.revised(needs)

    @property
    def waiting(self) -> Collection[str]:
        """Those whose turn has not come yet, although they have asked."""
        return self._waiting.keys()

    def asked(self, name: str) -> tuple[str, ...]:
        """The process of this replica waits for its turn. As all of these, return whose turn has come: each asking is
        answered once, and one that is repeated before that stands for both."""
        self._waiting[name] = None
        return self._whose_turn()

    def settled(self, name: str) -> tuple[str, ...]:
        """This one is ready, or given up, or has fallen and waits for its restart: nobody needs to wait for it.

        What it may have asked itself is void, for the process that asked is past that, or gone.
        """
        self._waiting.pop(name, None)
        if name in self._needs:
            self._settled.add(name)
        for missing in self._missing.values():
            missing.discard(name)
        return self._whose_turn()

    def left(self, names: Iterable[str]) -> tuple[str, ...]:
        """These are no part of the run any more."""
        gone = {*names}
        return self.revised({name: needs - gone for name, needs in self._needs.items() if name not in gone})

    def revised(self, needs: Mapping[str, Collection[str]]) -> tuple[str, ...]:
        """These are the replicas and their needs from now on; those that stay have settled as before."""
        self._needs = {name: frozenset(whom) & needs.keys() for name, whom in needs.items()}
        self._settled &= self._needs.keys()
        self._waiting = {name: None for name in self._waiting if name in self._needs}
        circle = _circles(self._needs)
        self._missing = {
            name: {other for other in whom if circle[other] != circle[name]} - self._settled
            for name, whom in self._needs.items()
        }
        return self._whose_turn()

    def _whose_turn(self) -> tuple[str, ...]:
        names = tuple(name for name in self._waiting if not self._missing.get(name))
        for name in names:
            del self._waiting[name]
        return names


def needs_of(replicas: Iterable[Replica]) -> dict[str, frozenset[str]]:
    """Return for each replica that is started here those that it hands work to, as far as they are started here too.

    Work that is kept in the store waits there, so nobody needs to be ready for it.
    """
    own = {replica.peer_id: replica for replica in replicas if not replica.external}
    return {
        name: frozenset(peer for pool in replica.pools if pool.delivery is None for peer in pool.peers if peer in own)
        for name, replica in own.items()
    }


def stop_ranks(plan: Plan) -> dict[str, int]:
    """Return when each agent is told to end: after everybody who hands it work; those who hand out none come last."""
    workers = {replica.agent: {pool.agent for pool in replica.pools} for replica in plan.replicas}
    ranks: dict[str, int] = {}
    waiting = {agent for agent, below in workers.items() if below}
    while waiting:
        # Agents that hand each other work have no first: they end together.
        first = {
            agent for agent in waiting if not any(agent in workers[other] for other in waiting - {agent})
        } or waiting
        ranks.update(dict.fromkeys(first, max(ranks.values(), default=-1) + 1))
        waiting = waiting - first
    last = max(ranks.values(), default=-1) + 1
    return {agent: ranks.get(agent, last) for agent in workers}


def _circles(needs: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return a number for each name, the same for two exactly when each can be reached from the other.

    Tarjan's algorithm, with a list in place of recursion: a chain may be longer than Python's stack.
    """
    number: dict[str, int] = {}
    reaches: dict[str, int] = {}  # the lowest number among those on the path that can be reached
    circle: dict[str, int] = {}
    path: list[str] = []
    for root in needs:
        if root in number:
            continue
        number[root] = reaches[root] = len(number)
        path.append(root)
        visits = [(root, iter(needs[root]))]
        while visits:
            name, others = visits[-1]
            for other in others:
                if other not in number:
                    number[other] = reaches[other] = len(number)
                    path.append(other)
                    visits.append((other, iter(needs[other])))
                    break
                if other not in circle:
                    reaches[name] = min(reaches[name], number[other])
            else:
                visits.pop()
                if visits:
                    above = visits[-1][0]
                    reaches[above] = min(reaches[above], reaches[name])
                if reaches[name] == number[name]:
                    while True:
                        member = path.pop()
                        circle[member] = number[name]
                        if member == name:
                            break
    return circle
