"""What a dashboard is told of a recording: its lines go in, in order, and what has become of the run comes out.

No clock, no file: `feed` moves it on, `take` says what is new since the last time, `whole` all that is so now.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from orchestrator.protocol import payloads as p
from orchestrator.protocol.dashboard import (
    AgentLoad,
    AgentOutline,
    FlowKind,
    LogUpdate,
    ReplayOutline,
    ReplicaUpdate,
    RunOutline,
    RunUpdate,
    TaskState,
    TaskUpdate,
)
from orchestrator.protocol.frames import ClientFrame, Publish, Send, Subscribe, Unsubscribe
from orchestrator.protocol.globs import compiled, has_star
from orchestrator.runtime.recent import cut

if TYPE_CHECKING:
    from orchestrator.hub.record_lines import Line

MAX_LOG: Final = 200
"""Lines that one update tells, and that a dashboard is told which begins to look on; of more, the last ones."""
MAX_TASKS: Final = 500
MAX_OPEN: Final = 2_000
"""Tasks that are followed at a time; of more, those begun first are forgotten."""
MAX_TEXT: Final = 400
MAX_AUDIENCES: Final = 1_000
NO_AGENT: Final = ""
_FLOWS: Final[dict[type, FlowKind]] = {
    p.Ask: "ask",
    p.TaskOffer: "task",
    p.Wake: "task",
    p.TaskResult: "result",
    p.TaskError: "result",
    p.CompletionChunk: "chunk",
    p.EventNotice: "event",
    p.ClaimNotice: "claim",
    p.RejectNotice: "claim",
    p.ReleaseNotice: "claim",
    p.HoldNotice: "claim",
    p.StateNotice: "state",
    p.StateMany: "state",
    p.StateDigest: "state",
    p.StateSync: "state",
    p.StateVersions: "state",
    p.StatePage: "state",
}
_LOUD: Final = (p.Ask, p.TaskOffer, p.TaskResult, p.TaskRefused, p.TaskCancel, p.EventNotice, p.ClaimNotice)
"""What is told at the level of what people want to know; the rest is for those who look closely."""
_frame: Final = msgspec.json.Decoder(ClientFrame).decode
_outline: Final = msgspec.json.Decoder(RunOutline | None).decode
_IDLE: Final = frozenset(("frame", "out", "tick", "sent", "pong", "stalled", "resumed", "result", "closed-file"))


class Replaying:
    """`began` is Unix seconds, of the heading of the recording; `seconds` how long it is."""

    def __init__(self, outline: bytes, *, name: str, began: float, seconds: float, speed: float = 1.0) -> None:
        """`outline` is the JSON of a `RunOutline`, or ``null``: then the agents are those that come."""
        self.began, self.seconds, self.speed = began, seconds, speed
        self.position = 0.0
        """Seconds from the beginning of what was fed last."""
        planned = _outline(outline)
        self._planned = planned or RunOutline(name, name, "", began, ())
        self._derived = planned is None
        self._offset = 0.0
        self._peers: dict[int, str] = {}
        """By connection, those that are open."""
        self._agents: dict[str, str] = {}
        """By peer."""
        self._replicas: dict[str, ReplicaUpdate] = {}
        for agent in self._planned.agents:
            for peer in agent.replicas:
                self._agents[peer] = agent.name
                self._replicas[peer] = ReplicaUpdate(peer, agent.name, "waiting")
        self._instances: dict[str, str | None] = {}
        self._teams = {team.channel.rpartition("/")[0]: team.name for team in self._planned.teams}
        self._subscriptions: dict[int, dict[str, None]] = {}
        self._audiences: dict[str, tuple[str, ...]] = {}
        self._open: OrderedDict[tuple[str, str], TaskUpdate] = OrderedDict()
        """Tasks that run, by id and the peer that works on them."""
        self._offered: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """By id of a task, its name and who gave it out."""
        self._recent_tasks: deque[TaskUpdate] = deque(maxlen=MAX_TASKS)
        self._recent_log: deque[_Said] = deque(maxlen=MAX_LOG)
        self._changed: dict[str, None] = {}
        self._flows: Counter[tuple[str, str, FlowKind]] = Counter()
        self._ended: dict[str, list[tuple[float, bool]]] = {}
        self._tasks: deque[TaskUpdate] = deque()
        self._log: deque[_Said] = deque()
        self._missed = 0
        self._moved = False

    # -- what is told

    @property
    def outline(self) -> RunOutline:
        planned = self._planned
        agents = self._coming() if self._derived else planned.agents
        shown = ReplayOutline(self.began, self.seconds, self.speed)
        return msgspec.structs.replace(planned, agents=agents, admin=False, keeps_tasks=False, replay=shown)

    @property
    def agents(self) -> int:
        """How many agents the outline has, which grows where nobody has planned them."""
        return len(set(self._agents.values())) if self._derived else len(self._planned.agents)

    def take(self) -> RunUpdate | None:
        """Return what has happened since this was asked last; `None` = nothing."""
        if not self._moved:
            return None
        update = RunUpdate(
            self.began + self.position,
            replicas=tuple(self._replicas[peer] for peer in self._changed),
            flows=tuple((start, end, kind, count) for (start, end, kind), count in self._flows.items()),
            load=self._load(),
            tasks=tuple(self._tasks),
            log=tuple(map(_line_of, self._log)),
            missed=self._missed,
            position=round(self.position, 3),
        )
        self.forget()
        return update

    def whole(self) -> RunUpdate:
        """Return all that is so now, for somebody who knows nothing."""
        return RunUpdate(
            self.began + self.position,
            whole=True,
            replicas=tuple(self._replicas.values()),
            tasks=(*self._recent_tasks, *self._open.values())[-MAX_TASKS:],
            log=tuple(map(_line_of, self._recent_log)),
            position=round(self.position, 3),
        )

    def forget(self) -> None:
        """Let go of what is new: everybody is told everything anew."""
        for gathered in (self._changed, self._flows, self._ended, self._tasks, self._log):
            gathered.clear()
        self._missed, self._moved = 0, False

    def copy(self) -> Replaying:
        """Return another one that stands here and goes its own way."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | deque):
                setattr(other, name, value.copy())
        other._subscriptions = {number: held.copy() for number, held in self._subscriptions.items()}
        other.forget()
        return other

    def move(self, position: float) -> None:
        """Let time pass in which nothing is recorded."""
        if position != self.position:
            self.position, self._moved = position, True

    # -- what happens

    def seconds_of(self, line: Line) -> float:
        return max(0.0, line.t + self._offset)

    def feed(self, line: Line) -> None:
        kind = line.k
        if kind == "hub":
            self._hub(line)
        if kind in _IDLE:
            return
        self.position, self._moved = self.seconds_of(line), True
        match kind:
            case "in":
                self._received(line)
            case "connect":
                self._connected(line)
            case "disconnect":
                self._disconnected(line.c, line.x or "lost")
            case "lost" | "closed" | "cut":
                why = f"closed by the hub with {line.n}: {line.x}" if kind == "closed" else "lost"
                self._disconnected(line.c, why)
            case "refused":
                self._say("(hub)", None, "warning", f"a connection is refused: {line.n}, {line.x}")
            case "gap":
                self._say("(hub)", None, "error", f"{line.d['missing']} events are missing from the recording here")
            case "broadcast":
                self._say("(hub)", None, "info", f"{line.d['from']} publishes to {line.d['channel']} over HTTP")
            case "drain":
                self._say("(hub)", None, "info", "the hub is shutting down")

    def _hub(self, line: Line) -> None:
        """A hub begins: nobody is connected to it."""
        self._offset = line.d["wall"] - line.t - self.began
        self.position = self.seconds_of(line)
        for number in list(self._peers):
            self._disconnected(number, "the hub ended")
        self._subscriptions.clear()
        self._audiences.clear()
        self._say("(hub)", None, "info", "the hub begins")

    def _connected(self, line: Line) -> None:
        said = line.d
        peer, metadata = said["peer"], _metadata(said["public"])
        agent = self._agent_of(peer, metadata)
        self._peers[line.c] = peer
        if agent:
            old = self._replicas.get(peer)
            again = peer in self._instances and self._instances[peer] != said["instance"]
            restarts = (0 if old is None else old.restarts) + again
            self._instances[peer] = said["instance"]
            self._stands(ReplicaUpdate(peer, agent, "ready", since=self.began + self.position, restarts=restarts))
        self._say(peer, agent or None, "info", "connected")

    def _agent_of(self, peer: str, metadata: Any) -> str:
        """Return which agent a peer is a replica of; empty for users and others."""
        if peer in self._agents:
            return self._agents[peer]
        agent = metadata.get("agent") if isinstance(metadata, dict) and metadata.get("kind") == "agent" else None
        if not isinstance(agent, str):
            return NO_AGENT
        self._agents[peer] = agent
        return agent

    def _disconnected(self, number: int, why: str) -> None:
        peer = self._peers.pop(number, None)
        self._subscriptions.pop(number, None)
        self._audiences.clear()
        if peer is None or peer in self._peers.values():  # it goes on over another connection
            return
        agent = self._agents.get(peer)
        if agent is not None:
            old = self._replicas[peer]
            state = "waiting" if why == "left" else "offline"
            self._stands(msgspec.structs.replace(old, state=state, since=None, inflight=0, detail=why))
            for key in [key for key in self._open if key[1] == peer]:
                self._end(key, "lost", "its replica is gone")
        self._say(peer, agent, "info" if why in ("left", "draining") else "warning", f"gone ({why})")

    def _received(self, line: Line) -> None:
        peer = self._peers.get(line.c)
        if peer is None or line.x is None:
            return
        try:
            frame = _frame(line.x)
        except (msgspec.DecodeError, RecursionError):
            self._say(peer, self._agents.get(peer), "warning", f"sends what is no message: {cut(line.x, 80)}")
            return
        match frame:
            case Subscribe(channel=channel):
                self._subscriptions.setdefault(line.c, {})[channel] = None
                self._audiences.clear()
            case Unsubscribe(channel=channel):
                self._subscriptions.get(line.c, {}).pop(channel, None)
                self._audiences.clear()
            case Publish(channel=channel, data=data):
                self._carried(peer, channel, self._audience(channel, peer), data)
            case Send(to=to, data=data):
                self._carried(peer, to, (self._end_of(to),), data)

    def _carried(self, sender: str, to: str, ends: tuple[str, ...], data: msgspec.Raw) -> None:
        said = p.decode_payload(data)
        start = self._end_of(sender)
        kind = _FLOWS.get(type(said))
        if kind is not None:
            for end in ends:
                self._flows[start, end, kind] += 1
        self._follow(sender, said)
        level = "warning" if isinstance(said, p.TaskError) else "info" if isinstance(said, _LOUD) else "debug"
        self._note(_Said(sender, self.began + self.position, level, to, self._agents.get(sender), said, data))

    def _end_of(self, peer: str) -> str:
        """Return the end of an edge: an agent, or the kind of a user."""
        return self._agents.get(peer) or peer.partition("/")[0]

    def _audience(self, channel: str, sender: str) -> tuple[str, ...]:
        """Return the ends of those who get what is published on a channel."""
        found = self._audiences.get(channel)
        if found is None:
            for prefix, name in self._teams.items():
                if prefix and channel.startswith(prefix):
                    found = (f"team/{name}",)
                    break
            else:
                numbers = [n for n, held in self._subscriptions.items() if any(_takes(one, channel) for one in held)]
                found = tuple(dict.fromkeys(self._end_of(self._peers[n]) for n in numbers if n in self._peers))
            if len(self._audiences) >= MAX_AUDIENCES:
                self._audiences.clear()
            self._audiences[channel] = found
        own = self._end_of(sender)
        return tuple(end for end in found if end != own)

    # -- tasks

    def _follow(self, sender: str, said: p.AnyPayload | None) -> None:
        match said:
            case p.TaskOffer(task_id=task_id, task=task):
                self._offered[task_id] = (task, sender)
                if len(self._offered) > MAX_OPEN:
                    self._offered.popitem(last=False)
            case p.TaskAccepted(task_id=task_id, attempt=attempt, load=load):
                task, origin = self._offered.get(task_id, ("", ""))
                now = self.began + self.position
                update = TaskUpdate(task_id, task, sender, "running", now, origin, max(1, attempt))
                self._open[task_id, sender] = update
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
                self._tell(update)
                self._loaded(sender, load)
            case p.TaskResult(task_id=task_id, load=load):
                self._end((task_id, sender), "done", "")
                self._loaded(sender, load)
            case p.TaskError(task_id=task_id, error=error, load=load):
                cancelled = error.type == "Cancelled"
                self._end((task_id, sender), "cancelled" if cancelled else "failed", f"{error.type}: {error.message}")
                self._loaded(sender, load)

    def _end(self, key: tuple[str, str], state: TaskState, error: str) -> None:
        begun = self._open.pop(key, None)
        now = self.began + self.position
        if begun is None:
            if state == "lost" or key[0] not in self._offered:
                return
            task, origin = self._offered[key[0]]
            begun = TaskUpdate(key[0], task, key[1], "running", now, origin)
        seconds = now - begun.time
        ended = msgspec.structs.replace(begun, state=state, time=now, seconds=seconds, error=cut(error, MAX_TEXT))
        self._recent_tasks.append(ended)
        self._tell(ended)
        agent = self._agents.get(key[1])
        if agent is not None:
            self._ended.setdefault(agent, []).append((seconds, state == "failed"))
            self._loaded(key[1], None)

    def _tell(self, update: TaskUpdate) -> None:
        self._tasks.append(update)
        if len(self._tasks) > MAX_TASKS:
            self._tasks.popleft()
            self._missed += 1

    def _loaded(self, peer: str, load: p.Load | None) -> None:
        old = self._replicas.get(peer)
        if old is None:
            return
        inflight = sum(key[1] == peer for key in self._open) if load is None else load.inflight
        capacity = old.capacity if load is None else load.capacity
        if (inflight, capacity) != (old.inflight, old.capacity):
            self._stands(msgspec.structs.replace(old, inflight=inflight, capacity=capacity))

    def _load(self) -> tuple[AgentLoad, ...]:
        touched = {self._replicas[peer].agent for peer in self._changed} | {*self._ended}
        return tuple(self._load_of(agent) for agent in sorted(touched))

    def _load_of(self, agent: str) -> AgentLoad:
        replicas = [update for update in self._replicas.values() if update.agent == agent]
        ended = self._ended.get(agent, [])
        times = sorted(seconds for seconds, _ in ended)
        return AgentLoad(
            agent,
            sum(update.inflight for update in replicas),
            sum(update.capacity for update in replicas),
            len(ended),
            sum(failed for _, failed in ended),
            _quantile(times, 0.5),
            _quantile(times, 0.95),
        )

    # -- notes

    def _stands(self, update: ReplicaUpdate) -> None:
        self._replicas[update.peer] = update
        self._changed[update.peer] = None

    def _say(self, source: str, agent: str | None, level: str, event: str) -> None:
        self._note(_Said(source, self.began + self.position, level, event, agent, None, None))

    def _note(self, line: _Said) -> None:
        self._recent_log.append(line)
        self._log.append(line)
        if len(self._log) > MAX_LOG:
            self._log.popleft()
            self._missed += 1

    def _coming(self) -> tuple[AgentOutline, ...]:
        peers: dict[str, list[str]] = {}
        for peer, agent in self._agents.items():
            peers.setdefault(agent, []).append(peer)
        return tuple(AgentOutline(name, name, "agent", tuple(replicas)) for name, replicas in peers.items())


class _Said(NamedTuple):
    """A line of the log that becomes words when it is told, which few of them are."""

    source: str
    time: float
    level: str
    event: str
    """Of a message, to whom it went."""
    agent: str | None
    said: p.AnyPayload | None
    data: msgspec.Raw | None
    """Of what went on besides messages `None`."""


def _line_of(line: _Said) -> LogUpdate:
    event = line.event if line.data is None else f"→ {line.event}: {in_words(line.said, line.data)}"
    return LogUpdate(line.source, line.time, line.level, cut(event, MAX_TEXT), line.agent)


def in_words(said: p.AnyPayload | None, data: msgspec.Raw) -> str:
    """Return what a message says, in one line."""
    match said:
        case None:
            return cut(bytes(data[: 4 * MAX_TEXT]).decode(errors="replace"), MAX_TEXT)
        case p.Ask(prompt=prompt):
            return f"ask {cut(prompt, 120)!r}"
        case p.TaskOffer(task=task, task_id=task_id, attempt=attempt):
            return f"task {task or 'in words'} {task_id}" + (f", attempt {attempt}" if attempt > 1 else "")
        case p.TaskError(task_id=task_id, error=error):
            return f"task-error {task_id}: {error.type}: {error.message}"
        case p.TaskRefused(task_id=task_id, reason=reason):
            return f"task-refused {task_id}: {reason}"
        case p.CompletionChunk(stream_id=stream_id, seq=seq, more=more, done=done):
            last = (seq or 0) + len(more)
            pieces = f"{seq}" if not more else f"{seq} to {last}"
            return f"completion-chunk {pieces} of {stream_id}" + (", the last" if done else "")
        case p.EventNotice(event=event):
            return f"event {event}"
        case p.ClaimNotice(item_id=item) | p.RejectNotice(item_id=item) | p.ReleaseNotice(item_id=item):
            return f"{_type(said)} {item}"
        case p.StateNotice(key=key):
            return f"state of {key!r}"
    task_id = getattr(said, "task_id", "")
    return f"{_type(said)} {task_id}".rstrip()


def _type(said: Any) -> str:
    return str(type(said).__struct_config__.tag)


def _takes(held: str, channel: str) -> bool:
    return compiled(held).matches(channel) if has_star(held) else held == channel


def _metadata(public: str | None) -> Any:
    return None if public is None else msgspec.json.decode(public)


def _quantile(times: list[float], share: float) -> float | None:
    return times[min(len(times) - 1, int(share * len(times)))] if times else None
