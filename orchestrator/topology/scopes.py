"""What each agent and user is allowed, derived from what the topology says of it: nothing wider, nothing by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.codes import Action
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_METADATA
from orchestrator.protocol.tokens import Grants, compact_size
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything one token allows: `grants` exactly, `channels` and `permissions` as far as flat claims can say."""

    grants: Grants
    ready_subscribe: tuple[str, ...]
    ready_observe: tuple[str, ...]
    """Channels that the topology puts it on, as opposed to those it may also use by hand-written scopes."""

    @property
    def channels(self) -> tuple[str, ...]:
        return _unique((*self.grants.subscribe, *self.grants.observe, *self.grants.publish))

    @property
    def permissions(self) -> frozenset[Action]:
        grants = self.grants
        needs = {
            Action.SUBSCRIBE: grants.subscribe or grants.observe,
            Action.PUBLISH: grants.publish,
            Action.PRESENCE: grants.presence,
            Action.SEND: grants.send,
        }
        return frozenset(action for action, patterns in needs.items() if patterns)

    def excess(self) -> str | None:
        """Say in which way this is more than a token can carry; `None` when it is not."""
        lists = [(name, getattr(self.grants, name)) for name in Grants.__slots__]
        for name, patterns in [*lists, ("channels", self.channels)]:
            if len(patterns) > MAX_CHANNEL_CLAIMS:
                return f"it needs {len(patterns)} patterns for {name!r}, and a token holds {MAX_CHANNEL_CLAIMS}"
        size = compact_size(self.grants.to_claim())
        return f"its grants take {size} bytes, and a token holds {MAX_METADATA}" if size > MAX_METADATA else None


@dataclass(slots=True)
class _Needs:
    """What has been found to be needed so far, in order, with repeats."""

    subscribe: list[str] = field(default_factory=list)
    observe: list[str] = field(default_factory=list)
    publish: list[str] = field(default_factory=list)
    presence: list[str] = field(default_factory=list)
    send: list[str] = field(default_factory=list)

    def scope(self, extra: Scopes) -> Scope:
        subscribe = _unique(self.subscribe)
        observe = tuple(channel for channel in _unique(self.observe) if channel not in subscribe)
        grants = Grants(
            subscribe=_unique((*subscribe, *extra.subscribe)),
            observe=_unique((*observe, *extra.observe)),
            publish=_unique((*self.publish, *extra.publish)),
            presence=_unique((*self.presence, *extra.presence)),
            send=_unique((*self.send, *extra.send)),
        )
        return Scope(grants, subscribe, observe)


@dataclass(frozen=True, slots=True)
class Relations:
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

    @classmethod
    def of(cls, topology: Topology) -> Relations:
        lobbies = {lobby: (*entry.members, *entry.watchers) for lobby, entry in topology.presence.items()}
        return cls(
            topology=topology,
            agents={name: agent for _, name, agent in topology.each_agent()},
            bosses=_inverted({boss: entry.workers for boss, entry in topology.coordinators.items()}),
            teams=_inverted({team: entry.members for team, entry in topology.teams.items()}),
            lobbies=_inverted({lobby: _unique(names) for lobby, names in lobbies.items()}),
            askers=_inverted({user: entry.asks for user, entry in topology.users.items()}),
        )

    def takes_tasks(self, name: str) -> bool:
        return name in self.topology.workers or name in self.bosses

    def pattern(self, name: str) -> str:
        """Return the one pattern that matches the peer ids of an agent and of no other: names hold no dot."""
        return name if self.agents[name].replicas is None else f"{name}.*"


def _inverted(lists: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Turn the names that each owner lists into the owners that list each name."""
    owners: dict[str, list[str]] = {}
    for owner, names in lists.items():
        for name in names:
            owners.setdefault(name, []).append(owner)
    return {name: tuple(listing) for name, listing in owners.items()}


def agent_scope(relations: Relations, name: str, peer: str) -> Scope:
    """Return what the replica `peer` of the agent `name` is allowed."""
    needs = _Needs()
    _tasks(needs, relations, name, peer)
    _teams(needs, relations, name)
    _lobbies(needs, relations, name)
    needs.send += [f"{user}/*" for user in relations.askers.get(name, ())]
    needs.send.append(ASKER_PEERS)
    return needs.scope(relations.agents[name].scopes)


def _tasks(needs: _Needs, relations: Relations, name: str, peer: str) -> None:
    """A worker hears its inbox and answers its coordinators; a coordinator fills inboxes and sees who is there."""
    if relations.takes_tasks(name):
        needs.subscribe += [inbox_channel(peer), pool_channel(name)]
        needs.send += [relations.pattern(boss) for boss in relations.bosses.get(name, ())]
    if name in relations.topology.coordinators:
        for worker in relations.topology.coordinators[name].workers:
            needs.observe.append(pool_channel(worker))
            needs.presence.append(pool_channel(worker))
            needs.publish.append(inbox_channel(relations.pattern(worker)))
            needs.send.append(relations.pattern(worker))


def _teams(needs: _Needs, relations: Relations, name: str) -> None:
    for team in relations.teams.get(name, ()):
        channel = team_channel(relations.topology, team)
        needs.subscribe.append(channel)
        needs.publish.append(channel)
        needs.presence.append(channel)
        members = relations.topology.teams[team].members
        mates = [mate for mate in members if mate != name or relations.agents[mate].replicas is not None]
        needs.send += [relations.pattern(mate) for mate in mates]


def _lobbies(needs: _Needs, relations: Relations, name: str) -> None:
    for lobby in relations.lobbies.get(name, ()):
        channel = lobby_channel(relations.topology, lobby)
        is_member = name in relations.topology.presence[lobby].members
        (needs.subscribe if is_member else needs.observe).append(channel)
        needs.presence.append(channel)


def user_scope(relations: Relations, name: str) -> Scope:
    entry = relations.topology.users[name]
    needs = _Needs(send=[relations.pattern(agent) for agent in entry.asks])
    _lobbies(needs, relations, name)
    return needs.scope(entry.scopes)


def asker_scope(relations: Relations) -> Scope:
    """Return what the built-in user is allowed: to ask every agent."""
    scope = Scope(Grants(send=tuple(map(relations.pattern, relations.agents))), (), ())
    return scope if scope.excess() is None else Scope(Grants(send=(ANY_AGENT,)), (), ())


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
