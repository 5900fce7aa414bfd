"""What a dashboard and a run tell each other inside the `data` of directed sends; the run is a peer of the hub like any other.

A dashboard finds the runs on the channel `RUNS`, sends one `Watch`, and is told `RunOutline` once and `RunUpdate` from then
on, a few times a second at most and only when there is something to say. The first update after an outline is whole: all
replicas, and the last of the log and of the tasks. What exceeds one message comes in `Part`s.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct, field

RUNS: Final = "(runs)"
"""Where runs are listed as present; no agent or topology can name a channel that it would be confused with, since names hold
no parentheses."""
RUN: Final = "(run)"
"""How the peer id of a run begins: ``(run)/`` and something of its own."""

FlowKind: TypeAlias = Literal["ask", "task", "result", "chunk", "event", "claim", "state"]
TaskState: TypeAlias = Literal["running", "done", "failed", "cancelled", "lost"]


class Talk(Struct, frozen=True, omit_defaults=True, tag_field="type", rename="camel"):
    """The `data` of one send."""


# -- from a dashboard


class Watch(Talk, frozen=True, tag="watch"):
    """Be told of this run from now on, from the beginning: again, it starts over. It ends when a send is refused with
    `peer_not_found`."""


class Unwatch(Talk, frozen=True, tag="unwatch"):
    pass


class RunRequest(Talk, frozen=True, tag="run-request"):
    """Answered by one `RunAnswer` with the same id. What is changed is for the built-in user alone."""

    id: str
    do: str
    """``tasks``, ``task``, ``retry``, ``cancel``, ``restart``, ``scale``, ``log`` or ``play``."""
    arguments: dict[str, Any] = {}


# -- from a run


class RunAnswer(Talk, frozen=True, tag="run-answer"):
    id: str
    result: Any = None
    error: str = ""
    """A sentence for people; empty = it was done."""


class AgentOutline(Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    label: str
    """What people read."""
    role: Literal["coordinator", "worker", "agent"]
    replicas: tuple[str, ...]
    """Peer ids."""
    capabilities: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    """The agents that it hands tasks to."""
    tasks: tuple[str, ...] = ()
    """The names of those that it takes, as far as they are known."""
    kept: bool = False
    """Its tasks are kept in a store until they are done."""


class TeamOutline(Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    channel: str
    members: tuple[str, ...]
    """Agents."""


class LobbyOutline(Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    channel: str
    members: tuple[str, ...]
    watchers: tuple[str, ...] = ()
    """Agents and kinds of users."""


class UserOutline(Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    asks: tuple[str, ...] = ()


class ReplayOutline(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """It is no run, but a recording of one that is shown."""

    began: float
    """Unix seconds of its first moment."""
    seconds: float
    speed: float = 1.0


class RunOutline(Talk, frozen=True, tag="run-outline"):
    """What a run consists of; told again when that changes."""

    name: str
    source: str
    """The topology file's name."""
    node: str
    """The machine."""
    began: float
    """Unix seconds."""
    agents: tuple[AgentOutline, ...]
    teams: tuple[TeamOutline, ...] = ()
    lobbies: tuple[LobbyOutline, ...] = ()
    users: tuple[UserOutline, ...] = ()
    keeps_tasks: bool = False
    """It has a store, so that ``tasks`` and what follows from it can be requested."""
    admin: bool = False
    """Whoever asks may change something."""
    replay: ReplayOutline | None = None


class ReplicaUpdate(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One replica as it is now, or ``(hub)`` or ``(store)``; the whole of it."""

    peer: str
    agent: str
    state: str
    where: str = "here"
    pid: int | None = None
    since: float | None = None
    restarts: int = 0
    detail: str = ""
    inflight: int = 0
    capacity: int = 0
    memory: int = 0
    """Bytes that are resident; 0 = not known."""


class TaskUpdate(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What has become of one task."""

    id: str
    task: str
    peer: str
    """The replica that works on it, or did."""
    state: TaskState
    time: float
    """Unix seconds of when that came to be so."""
    origin: str = field(name="from", default="")
    """The peer that gave it out."""
    attempt: int = 1
    seconds: float | None = None
    """That it took; `None` while it runs."""
    error: str = ""
    kept: bool = False


class LogUpdate(Struct, frozen=True, omit_defaults=True, rename="camel"):
    source: str
    time: float
    level: str
    event: str
    agent: str | None = None
    fields: dict[str, Any] = {}
    exception: str = ""
    stream: str | None = None


class AgentLoad(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Of one agent, over the time since the last update."""

    agent: str
    inflight: int = 0
    capacity: int = 0
    ended: int = 0
    failed: int = 0
    p50: float | None = None
    """Seconds that tasks took; `None` = none ended."""
    p95: float | None = None


class RunUpdate(Talk, frozen=True, tag="run-update"):
    time: float
    """Unix seconds; of a replay, of the moment that is shown."""
    whole: bool = False
    """It replaces all that was told before."""
    replicas: tuple[ReplicaUpdate, ...] = ()
    """Those of which anything has changed."""
    gone: tuple[str, ...] = ()
    """Peer ids of those that are no part of the run any more."""
    flows: tuple[tuple[str, str, FlowKind, int], ...] = ()
    """How many messages went since the last update: from an agent or user to an agent, a user or ``team/NAME``."""
    load: tuple[AgentLoad, ...] = ()
    tasks: tuple[TaskUpdate, ...] = ()
    log: tuple[LogUpdate, ...] = ()
    missed: int = 0
    """Lines of the log, and ends of tasks, that came too fast and are not told."""
    position: float | None = None
    """Of a replay: seconds from its beginning."""


ToRun: TypeAlias = Watch | Unwatch | RunRequest
ToDashboard: TypeAlias = RunAnswer | RunOutline | RunUpdate

decode_to_run: Final = msgspec.json.Decoder(ToRun).decode
