"""What becomes of a run when its plan is another one: who is started, ended, started again, told, or left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from orchestrator.errors import SeveralReasons, listed
from orchestrator.topology.replica import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orchestrator.topology.plan import HubPlan, Plan
    from orchestrator.topology.replica import Replica

Difference: TypeAlias = Literal["same", "told", "repolicied", "restarted"]


class NeedsNewStart(SeveralReasons):
    """A running run cannot become what the new plan says; one sentence for each reason."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The difference that a new plan makes to the replicas that a run starts; each tuple in the order of the new plan."""

    plan: Plan
    """The one that holds from now on; its store is that of the run, also where nobody needs it any more."""
    added: tuple[Replica, ...] = ()
    removed: tuple[str, ...] = ()
    """Peer ids, in the order of the old plan."""
    restarted: tuple[Replica, ...] = ()
    """As they are from now on, with their restart policies."""
    told: tuple[Replica, ...] = ()
    """Their processes go on, and are told who else there is."""
    repolicied: tuple[Replica, ...] = ()
    """Their processes go on, and are started again under another policy; some of them may be `told` as well."""
    others: tuple[str, ...] = ()
    """What else is new, and concerns no process of this run: ``expects elsewhere scribe.2``."""

    def __bool__(self) -> bool:
        """Whether anything has changed."""
        changes = (self.added, self.removed, self.restarted, self.told, self.repolicied, self.others)
        return any(map(bool, changes))

    def __str__(self) -> str:
        parts = [
            _said("adds", [replica.peer_id for replica in self.added]),
            _said("restarts", [replica.peer_id for replica in self.restarted]),
            _said("ends", self.removed),
            _said("changes the restart policy of", [replica.peer_id for replica in self.repolicied]),
            *self.others,
        ]
        # Who is told follows from the others, wherever there are any.
        told = _said("tells", [replica.peer_id for replica in self.told])
        return "; ".join(filter(None, parts)) or told or "nothing has changed"


def told_apart(old: Replica, new: Replica) -> Difference:
    """Return what a process that runs as `old` needs to become `new`.

    `told`: only who else is there differs, and perhaps the restart policy; `repolicied`: the latter alone. Whatever this
    does not know, a process cannot take up while it runs: `restarted`.
    """
    if old == new:
        return "same"
    if _alone(old) != _alone(new):
        return "restarted"
    return "repolicied" if replace(old, restart=new.restart) == new else "told"


def _alone(replica: Replica) -> Replica:
    """Return a replica without what it is told of others while it runs, and what its parent alone needs to know."""
    return replace(
        replica,
        restart=RestartPolicy(),
        pools=tuple(replace(pool, peers=()) for pool in replica.pools),
        teams=tuple(replace(seat, members=()) for seat in replica.teams),
        lobbies=tuple(replace(seat, members=()) for seat in replica.lobbies),
    )


def revise(old: Plan, new: Plan) -> Revision:
    """Return the difference between the plan of a run and another one. Raises `NeedsNewStart`.

    Where a run starts a part, `new` is the same part of the new plan.
    """
    impossible = [*_other_place(old, new), *_other_hub(old.hub, new.hub), *_other_store(old, new)]
    if impossible:
        raise NeedsNewStart(*impossible)
    before = {replica.peer_id: replica for replica in old.here}
    after = {replica.peer_id: replica for replica in new.here}
    kept = [(before[peer], replica) for peer, replica in after.items() if peer in before]
    differences = [(told_apart(was, now), was, now) for was, now in kept]
    return Revision(
        plan=replace(new, store=old.store),
        added=tuple(replica for peer, replica in after.items() if peer not in before),
        removed=tuple(peer for peer in before if peer not in after),
        restarted=tuple(now for kind, _, now in differences if kind == "restarted"),
        told=tuple(now for kind, _, now in differences if kind == "told"),
        repolicied=tuple(now for kind, was, now in differences if kind != "restarted" and was.restart != now.restart),
        others=tuple(_others(old, new)),
    )


def _said(verb: str, peers: Collection[str]) -> str:
    return f"{verb} {', '.join(peers)}" if peers else ""


# -- what is no replica's alone


def _other_place(old: Plan, new: Plan) -> Iterator[str]:
    if old.name != new.name:
        yield f"the topology was called {old.name!r} and is {new.name!r} now: a run keeps its name"
    if (old.source, old.directory) != (new.source, new.directory):
        yield (
            f"the topology was {Path(old.directory, old.source.name)} and is {Path(new.directory, new.source.name)} now: start a run "
            "of that one"
        )
    if old.app_dir != new.app_dir:
        yield "handlers are looked for in another directory now (--app-dir): running processes have theirs already"
    if old.withheld != new.withheld:
        changed = listed(sorted(old.withheld ^ new.withheld))
        yield (
            f"the hub and store sections are read from other variables now, which no agent may inherit ({changed}): "
            "running processes have their environment already"
        )


def _other_hub(old: HubPlan, new: HubPlan) -> Iterator[str]:
    if old.url != new.url:
        yield f"the hub was {_where(old)} and is {_where(new)} now: everybody is connected to the former"
    elif old.url is None and (old.host, old.port) != (new.host, new.port):
        yield (
            f"hub.listen was {old.host}:{old.port} and is {new.host}:{new.port} now: everybody is connected to the former"
        )
    if old.url is None and old.tls != new.tls:
        yield "hub.tls names other files now: everybody has been told to trust the certificate in the former"
    if old.url is None and old.backplane != new.backplane:  # an address may hold a password
        yield "hub.backplane is at another address now: the hub is joined to the others at the former"
    if old.key != new.key:
        yield "hub.key is another one now: nobody's token would be valid any more"


def _where(hub: HubPlan) -> str:
    return "that of the run" if hub.url is None else hub.url


def _other_store(old: Plan, new: Plan) -> Iterator[str]:
    if new.store is None or old.store == new.store:
        return
    if old.store is None:
        yield "some agents need a store now, and this run was started without one"
    else:  # an address may hold a password
        yield "the store is at another address now: the tasks and claims of this run are kept at the former"


def _others(old: Plan, new: Plan) -> Iterator[str]:
    if old.hub.token_ttl != new.hub.token_ttl:
        yield f"makes tokens of agents for {new.hub.token_ttl:g} s from now on"
    awaited, expected = _awaited(old), _awaited(new)
    yield from filter(None, [_said("expects elsewhere", [peer for peer in expected if peer not in awaited])])
    yield from filter(None, [_said("expects no more", [peer for peer in awaited if peer not in expected])])


def _awaited(plan: Plan) -> Sequence[str]:
    """Return the peers that the run expects and does not start."""
    return [replica.peer_id for replica in plan.replicas if replica.external or replica.peer_id in plan.elsewhere]
