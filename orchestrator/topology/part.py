"""Part of a plan: which of its agents one run starts, at which hub, and which are left to another run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import ExitCode, SeveralReasons, did_you_mean, listed
from orchestrator.topology.delivery import is_on_this_machine
from orchestrator.topology.guesses import some
from orchestrator.topology.values import Refused, Wanted, read_hub_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica
    from orchestrator.topology.store_access import Access


class NoSuchPart(SeveralReasons):
    """A plan cannot be run in the part that was asked for; one sentence for each reason."""

    exit_code = ExitCode.USAGE


def part_of(plan: Plan, *, only: Collection[str] = (), but: Collection[str] = (), hub: str | None = None) -> Plan:
    """Return the plan with the replicas that this run does not start in `elsewhere`: all others are still in it.

    `only` and `but` name agents, of which one may be given; neither = all run here. `hub` is where the hub is, instead of
    where the file says. The plan's store is `None` where the hub is elsewhere and nobody here needs one. Raises `NoSuchPart`.
    """
    if only and but:
        raise NoSuchPart("--only and --except say the same in two ways; give one of them")
    wrong = [*_misnamed(plan, only, "--only"), *_misnamed(plan, but, "--except"), *_not_startable(plan, only)]
    if wrong:
        raise NoSuchPart(*wrong)
    here = {replica.agent for replica in plan.replicas if not replica.external}
    here &= set(only) if only else here - set(but)
    if not here and (only or but):
        raise NoSuchPart("nothing is left to run here: every agent that is started by a run is excepted")
    elsewhere = frozenset(
        replica.peer_id for replica in plan.replicas if not replica.external and replica.agent not in here
    )
    part = replace(plan, elsewhere=elsewhere)
    if hub is not None:
        part = replace(part, hub=plan.hub._replace(url=_url(plan, hub)))
    return part if part.hub.url is None else _with_own_store(part)


def presence_channel(replica: Replica) -> str | None:
    """Return the channel on whose roster a replica is seen once it is ready; `None` for one that is listed on none.

    A worker's pool comes first: it is the last channel that a handler opens, and all replicas share it.
    """
    return replica.pool or replica.inbox or next(iter(replica.subscribe), None)


def _misnamed(plan: Plan, names: Collection[str], option: str) -> Iterator[str]:
    agents = dict.fromkeys(replica.agent for replica in plan.replicas)
    for name in names:
        if name not in agents:
            hint = did_you_mean(name, agents) or f"; there are {some(agents)}"
            copies = next((replica.agent for replica in plan.replicas if replica.peer_id == name), None)
            if copies is not None:
                hint = f": that is one replica, and all of an agent run in one place; write {copies!r}"
            yield f"{option}: there is no agent {name!r}{hint}"


def _not_startable(plan: Plan, only: Collection[str]) -> Iterator[str]:
    external = {replica.agent for replica in plan.replicas if replica.external}
    for name in only:
        if name in external:
            yield (
                f"--only: {name!r} is external, so no run starts it: give it a token by `orchestrator token`, or take "
                "'external: true' out"
            )


def _url(plan: Plan, hub: str) -> str:
    try:
        url = read_hub_url(hub)
    except Wanted:
        url = None
    except Refused as error:
        raise NoSuchPart(f"--hub: {error.sentence}") from None
    if url is None:
        raise NoSuchPart(f"--hub: expected a URL that begins with ws:// or wss://, found {hub!r}")
    if plan.hub.key is None:
        raise NoSuchPart(
            f"--hub: tokens for {url} are made from the key that its hub checks them with, and this topology has none: "
            "'hub: {key: \"${HUB_KEY}\"}', with HUB_KEY the pair of that hub; `orchestrator keys new` makes one for both"
        )
    return url


# -- the store of a run whose hub is elsewhere


def _with_own_store(part: Plan) -> Plan:
    """Return a part without a store that nobody here needs. Raises `NoSuchPart` for one that both sides would need."""
    here = {replica.agent: replica.store for replica in part.here if replica.store is not None}
    if not here:
        return replace(part, store=None)
    if is_on_this_machine(part.store):
        left = [replica for replica in part.replicas if replica.peer_id in part.elsewhere]
        there = {replica.agent: replica.store for replica in left if replica.store is not None}
        partners = {name: [other for other in there if _share(access, there[other])] for name, access in here.items()}
        torn = [_torn(name, found) for name, found in partners.items() if found]
        if torn:
            raise NoSuchPart(*torn)
    return part


def _torn(here: str, there: list[str]) -> str:
    are = "is" if len(there) == 1 else "are"
    return (
        f"{here!r} shares tasks or claims with {listed(there)}, which {are} run elsewhere, and this version keeps those in "
        "a store that one run alone reaches, in memory or in a file: run them together, or write 'at-most-once' and "
        "'claims: {consistency: best-effort}'"
    )


def _share(one: Access, other: Access) -> bool:
    """Tell whether two agents meet in the store: one takes what the other puts there, or both claim a team's items."""
    return other.agent in one.queues or one.agent in other.queues or not set(one.teams).isdisjoint(other.teams)
