"""One replica of an agent: all that its process is told of itself, as the plan has it.

These types travel to agent processes as JSON, so each of them encodes and decodes with msgspec.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Claims, Grants
from orchestrator.topology.handlers import HandledTask
from orchestrator.topology.store_access import Access

Role: TypeAlias = Literal["coordinator", "worker", "agent"]


@dataclass(frozen=True, slots=True)
class DurableDelivery:
    """How tasks that are kept in the store are tried again; seconds."""

    max_attempts: int
    """Attempts in all."""
    delay: float
    """What the second attempt waits at most; doubled for each one after it."""
    max_delay: float


@dataclass(frozen=True, slots=True)
class Pool:
    """The replicas of one worker, as a coordinator sees them."""

    agent: str
    channel: str | None
    """The presence channel in which its replicas are listed; `None` for programs without a handler, which join none."""
    peers: tuple[str, ...]
    """Its replicas; the inbox of a peer is ``tasks/{peer}``."""
    concurrency: int
    """Tasks that one replica takes at once."""
    capabilities: tuple[str, ...]
    tasks: tuple[HandledTask, ...]
    """What its handler takes; empty when the handlers were not imported."""
    timeout: float = 120.0
    """Seconds that a task may take where its caller says nothing else."""
    delivery: DurableDelivery | None = None
    """`None` = its tasks are messages, and nothing keeps them."""


@dataclass(frozen=True, slots=True)
class TeamSeat:
    """A team that an agent is a member of."""

    name: str
    channel: str
    members: tuple[str, ...]
    """Peer ids of all members, this one's too."""
    strong: bool = False
    """Whether its claims are leases in the store; else they are agreed on by messages."""
    ttl: float = 30.0
    """Seconds that a claim holds without a sign of life of its holder."""
    unsafe: bool = False
    """Its strong claims may be kept by a store that cannot promise them."""


@dataclass(frozen=True, slots=True)
class LobbySeat:
    """A lobby in which an agent or user is listed, or which it watches, or both."""

    name: str
    channel: str
    member: bool
    watcher: bool
    members: tuple[str, ...]
    """The agents that are listed in it. Where a hub knows no watchers without a place in the roster, they are the others."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When an ended replica is started again; seconds, and `None` for without limit."""

    condition: Literal["on-failure", "always", "never"] = "on-failure"
    delay: float = 1.0
    max_delay: float = 60.0
    max_attempts: int | None = 5
    window: float = 600.0


@dataclass(frozen=True, slots=True)
class ReconnectLimits:
    """How long a replica goes on trying to reach its hub: attempts in a row, and seconds between two at most."""

    max_attempts: int | None = 100
    max_delay: float = 30.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One process to run: one peer id, and one token whose claims follow from this."""

    agent: str
    replica: int | None
    """Counts from 1; `None` for an agent that declares no replicas."""
    peer_id: str
    handler: str | None
    """`None` for a program that is no handler of this package."""
    role: Role
    name: str
    """What people read."""
    concurrency: int
    capabilities: tuple[str, ...]
    peer_metadata: dict[str, Any]
    environment: dict[str, str] = field(repr=False)
    """Added to what the process inherits."""
    inbox: str | None
    """Where a worker's tasks arrive; `None` for an agent that no coordinator dispatches to."""
    pool: str | None
    """Where a worker is listed as present."""
    pools: tuple[Pool, ...]
    """The workers that a coordinator dispatches to."""
    teams: tuple[TeamSeat, ...]
    lobbies: tuple[LobbySeat, ...]
    subscribe: tuple[str, ...]
    """Channels that it must hold to be ready."""
    observe: tuple[str, ...]
    """Channels that it must hold to be ready, without being listed in them."""
    channels: tuple[str, ...]
    """The flat `channels` claim."""
    permissions: frozenset[Action]
    grants: Grants
    inherit_environment: bool = True
    restart: RestartPolicy = RestartPolicy()
    reconnect: ReconnectLimits = ReconnectLimits()
    command: tuple[str, ...] = ()
    """What is run instead of a handler, word by word."""
    external: bool = False
    """It is run by somebody else."""
    delivery: DurableDelivery | None = None
    """Of the tasks that coordinators hand to it; `None` = they are messages, and nothing keeps them."""
    store: Access | None = None
    """What it may do with the store; `None` = it needs none."""
    start_method: Literal["fork", "spawn"] = "fork"
    """`spawn` = its process begins with a fresh interpreter; only a handler's ever does."""
    watchdog: float | None = 20.0
    """Seconds for which its handler may block the event loop before it is started again; `None` = without limit."""

    def claims(self, *, exp: int, instance: str) -> Claims:
        """Return its token's claims; `exp` in Unix seconds, `instance` fresh for each start of its process."""
        return Claims(
            sub=self.peer_id,
            exp=exp,
            channels=self.channels,
            permissions=self.permissions,
            peer_metadata=self.peer_metadata,
            grants=self.grants,
            instance=instance,
            rate="unlimited",
        )
