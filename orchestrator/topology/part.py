"""Part of a plan: which of its agents one run starts, at which hub, and which are left to another run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.errors import ExitCode, SeveralReasons, listed
from orchestrator.topology.delivery import is_on_this_machine
from orchestrator.topology.plan_ranges import chosen, replicas_in
from orchestrator.topology.values import Refused, Wanted, read_hub_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.plan_ranges import Range
    from orchestrator.topology.replica import Replica
    from orchestrator.topology.store_access import Access


NO_TLS: Final = "without TLS a hub is reached on its own machine alone: write wss://…"
"""About an address that no client connects to."""


class NoSuchPart(SeveralReasons):
    """A plan cannot be run in the part that was asked for; one sentence for each reason."""

    exit_code = ExitCode.USAGE


def part_of(
    plan: Plan,
    *,
    only: Collection[str] = (),
    but: Collection[str] = (),
    hub: str | None = None,
    strict: bool = True,
) -> Plan:
    """Return the plan with the replicas that this run does not start in `elsewhere`: all others are still in it.

    `only` and `but` name agents, or some of their replicas (see `read_range`); one of the two may be given, and neither =
    all run here. `hub` is where the hub is, instead of where the file says. `strict`: each replica that is named has to be
    there; else those that are not yet, or no more, are passed over. The plan's store is `None` where the hub is elsewhere
    and nobody here needs one. Raises `NoSuchPart`.
    """
    if only and but:
        raise NoSuchPart("--only and --except say the same in two ways; give one of them")
    mine, wrong = chosen(plan, only, "--only", strict=strict)
    others, also_wrong = chosen(plan, but, "--except", strict=strict)
    wrong += [*also_wrong, *_not_startable(plan, mine)]
    if wrong:
        raise NoSuchPart(*wrong)
    startable = {replica.peer_id for replica in plan.replicas if not replica.external}
    named = {replica.peer_id for replica in replicas_in(plan, mine or others)}
    here = startable & named if only else startable - named
    if not here and only:
        raise NoSuchPart(f"nothing is left to run here: there is none of {listed(map(str, mine))} now")
    if not here and but:
        raise NoSuchPart("nothing is left to run here: every agent that is started by a run is excepted")
    part = replace(plan, elsewhere=frozenset(startable - here))
    if hub is not None:
        part = replace(part, hub=plan.hub._replace(url=_url(plan, hub), backplane=None))
    return part if _has_the_hub(part) else _with_own_store(part)


def _has_the_hub(part: Plan) -> bool:
    """Tell whether a part is the one that starts the hub, where there is one hub, and with it the store that all others
    would reach."""
    return part.hub.url is None and (part.hub.backplane is None or not part.elsewhere)


def presence_channel(replica: Replica) -> str | None:
    """Return the channel on whose roster a replica is seen once it is ready; `None` for one that is listed on none.

    A worker's pool comes first: it is the last channel that a handler opens, and all replicas share it.
    """
    return replica.pool or replica.inbox or next(iter(replica.subscribe), None)


def _not_startable(plan: Plan, only: Collection[Range]) -> Iterator[str]:
    external = {replica.agent for replica in plan.replicas if replica.external}
    for agent in dict.fromkeys(each.agent for each in only):
        if agent in external:
            yield (
                f"--only: {agent!r} is external, so no run starts it: give it a token by `orchestrator token`, or take "
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
    if not may_be_reached(url):
        raise NoSuchPart(f"--hub: {NO_TLS}, found {hub!r}")
    if plan.hub.key is None:
        raise NoSuchPart(
            f"--hub: tokens for {url} are made from the key that its hub checks them with, and this topology has none: "
            "'hub: {key: \"${HUB_KEY}\"}', with HUB_KEY the pair of that hub; `orchestrator keys new` makes one for both"
        )
    return url


def may_be_reached(url: str) -> bool:
    """Tell whether clients connect to a hub at this address: tokens go with TLS, or stay on the machine."""
    return url.startswith("wss:") or urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


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
    if here in there:
        with_whom = f"replicas of it that run elsewhere{_and([name for name in there if name != here])}"
    else:
        with_whom = f"{listed(there)}, which {'is' if len(there) == 1 else 'are'} run elsewhere"
    return (
        f"{here!r} shares tasks or claims with {with_whom}, and this file keeps those in a store that one run alone "
        "reaches: run them together, give it a store for several machines ('store: nats://…' or 'redis://…'), or write "
        "'at-most-once' and 'claims: {consistency: best-effort}'"
    )


def _and(names: list[str]) -> str:
    return f", and with {listed(names)}" if names else ""


def _share(one: Access, other: Access) -> bool:
    """Tell whether two replicas meet in the store: they are of one agent, one takes what the other puts there, or both
    claim a team's items."""
    return (
        one.agent == other.agent
        or other.agent in one.queues
        or one.agent in other.queues
        or not set(one.teams).isdisjoint(other.teams)
    )
