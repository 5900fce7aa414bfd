"""What each agent and user is allowed, derived from what the topology says of it: nothing wider, nothing by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from orchestrator.protocol.codes import Action
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_METADATA
from orchestrator.protocol.tokens import Grants, compact_size
from orchestrator.topology.handlers import HandlerFault, HandlerReport
from orchestrator.topology.merging import Whole, merged, without_covered
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.topology.model import Agent, Scopes, Topology

ASKER_PEERS: Final = f"{ASKER}/*"
ANY_AGENT: Final = "*"
"""Matches the peer id of every agent and of no user: only users' ids hold a slash."""


def pool_channel(agent: str) -> str:
    return f"pools/{agent}"


def inbox_channel(peer: str) -> str:
    return f"tasks/{peer}"


def team_channel(topology: Topology, team: str) -> str:
    return topology.teams[team].channel or f"teams/{team}/state"


def lobby_channel(topology: Topology, lobby: str) -> str:
    return topology.presence[lobby].channel or f"lobbies/{lobby}"


def peers_of(name: str, agent: Agent) -> tuple[str, ...]:
    if agent.replicas is None:
        return (name,)
    return tuple(f"{name}.{number}" for number in range(1, agent.replicas + 1))


class Scope(NamedTuple):
    """Everything one token allows: `grants` exactly, `channels` and `permissions` as far as flat claims can say."""

    grants: Grants
    ready_subscribe: tuple[str, ...]
    ready_observe: tuple[str, ...]
    """Channels that the topology puts it on, as opposed to those it may also use by hand-written scopes."""

    @property
    def channels(self) -> tuple[str, ...]:
        found = _unique((*self.grants.subscribe, *self.grants.observe, *self.grants.publish))
        return found if len(found) <= MAX_CHANNEL_CLAIMS else without_covered(found)

    @property
    def permissions(self) -> frozenset[Action]:
        grants = self.grants
        needs = {
            Action.SUBSCRIBE: grants.subscribe or grants.observe,
            Action.PUBLISH: grants.publish,
            Action.PRESENCE: grants.presence or grants.observe,
            Action.SEND: grants.send,
        }
        return frozenset(action for action, patterns in needs.items() if patterns)

    def excess(self) -> str | None:
        """Say in which way this is more than a token can carry; `None` when it is not."""
        lists = [(name, getattr(self.grants, name)) for name in Grants.__slots__]
        for name, patterns in [*lists, ("channels", self.channels)]:
            if len(patterns) > MAX_CHANNEL_CLAIMS:
                return (
                    f"it needs {len(patterns)} patterns for {name!r}, with each one left out that others cover exactly, "
                    f"and a token holds {MAX_CHANNEL_CLAIMS}"
                )
        size = compact_size(self.grants.to_claim())
        return f"its grants take {size} bytes, and a token holds {MAX_METADATA}" if size > MAX_METADATA else None


Relation: TypeAlias = Literal[
    "worker", "coordinator", "team", "lobby member", "lobby watcher", "asked", "asks", "scopes"
]


class Need(NamedTuple):
    """What one relation takes: a row of the table of scopes."""

    relation: Relation
    """What the owner of the token is in it; ``scopes`` = what the file grants by hand."""
    others: tuple[str, ...]
    """The agents, users, team or lobby that it is a relation with."""
    grants: Grants


class Relations(NamedTuple):
    """Who has to do with whom, looked up by the name of an agent."""

    topology: Topology
    agents: Mapping[str, Agent]
    bosses: Mapping[str, tuple[str, ...]]
    """The coordinators that dispatch to an agent."""
    teams: Mapping[str, tuple[str, ...]]
    lobbies: Mapping[str, tuple[str, ...]]
    """The lobbies that an agent or user is in or watches."""
    askers: Mapping[str, tuple[str, ...]]
    """The users that may ask an agent."""
    idle: frozenset[str] = frozenset()
    """Agents that are known to take no task, so that there is nothing to ask them."""

    @classmethod
    def of(cls, topology: Topology, reports: Mapping[str, HandlerReport | HandlerFault] | None = None) -> Relations:
        """`reports` holds what each handler declares, as far as its code was looked at."""
        lobbies = {lobby: (*entry.members, *entry.watchers) for lobby, entry in topology.presence.items()}
        return cls(
            topology=topology,
            agents={name: agent for _, name, agent in topology.each_agent()},
            bosses=_inverted({boss: entry.workers for boss, entry in topology.coordinators.items()}),
            teams=_inverted({team: entry.members for team, entry in topology.teams.items()}),
            lobbies=_inverted({lobby: _unique(names) for lobby, names in lobbies.items()}),
            askers=_inverted({user: entry.asks for user, entry in topology.users.items()}),
            idle=frozenset(name for _, name, agent in topology.each_agent() if _is_idle(agent, reports or {})),
        )

    def takes_tasks(self, name: str) -> bool:
        return name in self.topology.workers or name in self.bosses

    def joins_pool(self, name: str) -> bool:
        """Tell whether an agent lists itself among its replicas: programs without a handler know of no such thing."""
        return self.agents[name].handler is not None

    def pattern(self, name: str) -> str:
        """Return the one pattern that matches the peer ids of an agent and of no other: names hold no dot."""
        return name if self.agents[name].replicas is None else f"{name}.*"


def _is_idle(agent: Agent, reports: Mapping[str, HandlerReport | HandlerFault]) -> bool:
    if agent.handler is None:
        return not agent.handles
    report = reports.get(agent.handler)
    return isinstance(report, HandlerReport) and not report.tasks


def _inverted(lists: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Turn the names that each owner lists into the owners that list each name."""
    owners: dict[str, list[str]] = {}
    for owner, names in lists.items():
        for name in names:
            owners.setdefault(name, []).append(owner)
    return {name: tuple(listing) for name, listing in owners.items()}


def agent_needs(relations: Relations, name: str, peer: str) -> Iterator[Need]:
    """Yield what the replica `peer` of the agent `name` needs, relation by relation."""
    if relations.takes_tasks(name):
        yield _worker(relations, name, peer)
    if name in relations.topology.coordinators:
        yield _coordinator(relations, relations.topology.coordinators[name].workers)
    for team in relations.teams.get(name, ()):
        yield _team(relations, team, name)
    yield from _lobbies(relations, name)
    askers = relations.askers.get(name, ()) if name in relations.idle else (*relations.askers.get(name, ()), ASKER)
    if askers:
        yield Need("asked", askers, Grants(send=tuple(f"{user}/*" for user in askers)))
    yield from _by_hand(relations.agents[name].scopes)


def user_needs(relations: Relations, name: str) -> Iterator[Need]:
    """Yield what one kind of user needs; the built-in one asks every agent that takes anything."""
    if name == ASKER:
        asked = tuple(agent for agent in relations.agents if agent not in relations.idle)
        if asked:
            yield Need("asks", asked, Grants(send=tuple(map(relations.pattern, asked))))
        return
    entry = relations.topology.users[name]
    if entry.asks:
        yield Need("asks", entry.asks, Grants(send=tuple(map(relations.pattern, entry.asks))))
    yield from _lobbies(relations, name)
    yield from _by_hand(entry.scopes)


def _worker(relations: Relations, name: str, peer: str) -> Need:
    """A worker hears its inbox, is listed in its pool, and answers its coordinators."""
    bosses = relations.bosses.get(name, ())
    pool = (pool_channel(name),) if relations.joins_pool(name) else ()
    return Need(
        "worker",
        bosses,
        Grants(subscribe=(inbox_channel(peer), *pool), send=tuple(map(relations.pattern, bosses))),
    )


def _coordinator(relations: Relations, workers: tuple[str, ...]) -> Need:
    """A coordinator fills inboxes, sees who is there, and cancels."""
    pools = tuple(pool_channel(worker) for worker in workers if relations.joins_pool(worker))
    patterns = tuple(map(relations.pattern, workers))
    inboxes = tuple(map(inbox_channel, patterns))
    return Need("coordinator", workers, Grants(observe=pools, publish=inboxes, send=patterns))


def _team(relations: Relations, team: str, name: str) -> Need:
    """A member hears and tells all of them, sees who is there, and hands newcomers what they missed of the state."""
    channel = (team_channel(relations.topology, team),)
    members = relations.topology.teams[team].members
    others = tuple(
        relations.pattern(member) for member in members if member != name or _may_be_several(relations, name)
    )
    return Need("team", (team,), Grants(subscribe=channel, publish=channel, presence=channel, send=others))


def _may_be_several(relations: Relations, name: str) -> bool:
    """Tell whether an agent has siblings, or gets some while it runs: nobody is started anew for that."""
    return relations.agents[name].replicas is not None


def _lobbies(relations: Relations, name: str) -> Iterator[Need]:
    """A member is listed, a watcher sees who is; to observe a channel is to see its presence."""
    for lobby in relations.lobbies.get(name, ()):
        entry, channel = relations.topology.presence[lobby], (lobby_channel(relations.topology, lobby),)
        if name in entry.members:
            yield Need("lobby member", (lobby,), Grants(subscribe=channel))
        if name in entry.watchers:
            yield Need("lobby watcher", (lobby,), _watching(channel, listed=name in entry.members))


def _watching(channel: tuple[str, ...], *, listed: bool) -> Grants:
    return Grants(presence=channel) if listed else Grants(observe=channel)


def _by_hand(scopes: Scopes) -> Iterator[Need]:
    grants = Grants(scopes.subscribe, scopes.observe, scopes.publish, scopes.presence, scopes.send)
    if grants != Grants():
        yield Need("scopes", (), grants)


def agent_scope(relations: Relations, name: str, peer: str) -> Scope:
    """Return what the replica `peer` of the agent `name` is allowed."""
    return _fitted(_scope(agent_needs(relations, name, peer)), relations)


def user_scope(relations: Relations, name: str) -> Scope:
    return _fitted(_scope(user_needs(relations, name)), relations)


def asker_scope(relations: Relations) -> Scope:
    """Return what the built-in user is allowed: to ask every agent."""
    return user_scope(relations, ASKER)


def _scope(found: Iterable[Need]) -> Scope:
    needs = tuple(found)
    derived = _joined(need.grants for need in needs if need.relation != "scopes")
    observe = tuple(channel for channel in derived.observe if channel not in derived.subscribe)
    derived = Grants(derived.subscribe, observe, derived.publish, derived.presence, derived.send)
    by_hand = [need.grants for need in needs if need.relation == "scopes"]
    return Scope(_joined((derived, *by_hand)), derived.subscribe, derived.observe)


def _joined(parts: Iterable[Grants]) -> Grants:
    several = tuple(parts)
    return Grants(*(_unique(each for grants in several for each in getattr(grants, name)) for name in Grants.__slots__))


def _fitted(scope: Scope, relations: Relations) -> Scope:
    """Return the same rights in fewer patterns where a token could not hold them all."""
    if scope.excess() is None:
        return scope
    grants = scope.grants
    inboxes = tuple(_inboxes(relations))
    return scope._replace(
        grants=Grants(
            subscribe=merged(grants.subscribe, inboxes),
            observe=merged(grants.observe, inboxes),
            publish=merged(grants.publish, inboxes),
            presence=merged(grants.presence, inboxes),
            send=merged(
                grants.send, (*_replicas(relations), Whole(tuple(map(relations.pattern, relations.agents)), ANY_AGENT))
            ),
        ),
    )


def _replicas(relations: Relations) -> Iterator[Whole]:
    """Yield for each agent the pattern that stands for all of its replicas: ids of this form are theirs alone."""
    for name, agent in relations.agents.items():
        yield Whole(peers_of(name, agent), relations.pattern(name))


def _inboxes(relations: Relations) -> Iterator[Whole]:
    for whole in _replicas(relations):
        yield Whole(tuple(map(inbox_channel, whole.parts)), inbox_channel(whole.pattern))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
