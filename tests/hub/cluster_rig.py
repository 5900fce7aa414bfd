"""Several hubs' cores on one engine of which tests take every step: what was said, what the engine did, what was heard."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.hub.backplane import Backplane, Kind, Listener, Topic
from orchestrator.hub.core import Hub
from orchestrator.hub.settings import Settings
from orchestrator.protocol.globs import compiled, has_star
from tests.hub.rig import Peer, Rig


class Engine:
    """Carries messages like a server: each end speaks to it in order, and hears from it in order."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    def match(self, held: Topic, topic: Topic) -> bool:
        if held.kind is Kind.CHANNEL and topic.kind is Kind.CHANNEL and has_star(held.text):
            return held.app == topic.app and compiled(held.text).matches(topic.text)
        return held == topic


class End:
    """One hub's end."""

    largest = 1 << 20

    def __init__(self, engine: Engine, island: int = 0) -> None:
        self.engine = engine
        self.island = island
        self.up = True
        self.topics: dict[Topic, None] = {}
        self.in_force: dict[Topic, None] = {}
        self.out: deque[Callable[[], object]] = deque()
        self.heard: deque[Callable[[], object]] = deque()
        self.listener: Listener
        self.said = 0
        engine.ends.append(self)

    async def __aenter__(self) -> Backplane:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def listen(self, topic: Topic) -> None:
        assert topic not in self.topics
        self.topics[topic] = None
        if self.up:
            self.out.append(lambda: self.in_force.update({topic: None}))

    def ignore(self, topic: Topic) -> None:
        del self.topics[topic]
        if self.up:
            self.out.append(lambda: self.in_force.pop(topic, None))

    def barrier(self, ticket: int) -> None:
        assert self.up
        self.out.append(lambda: self.heard.append(lambda: self.listener.passed(ticket)))

    def publish(self, topic: Topic, message: bytes) -> bool:
        if self.up:
            self.said += 1
            self.out.append(lambda: self._carry(topic, message))
        return self.up

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        def carry() -> None:
            if not self._carry(topic, message):
                self.heard.append(lambda: self.listener.nobody(ticket))

        if self.up:
            self.out.append(carry)
        return self.up

    def _carry(self, topic: Topic, message: bytes) -> int:
        found = 0
        for end in self.engine.ends:
            if end is self or end.island != self.island or not end.up:
                continue
            for held in end.in_force:
                if self.engine.match(held, topic):  # once for each that matches, as engines do
                    end.heard.append(partial(end.listener.heard, message))
                    found += 1
        return found

    # -- what tests do

    def lose(self) -> None:
        """Have the engine go away, with everything that is on its way."""
        self.up = False
        self.in_force.clear()
        self.out.clear()
        self.heard.clear()
        self.listener.turned(False, "it was stopped")

    def find(self) -> None:
        self.up = True
        self.in_force.update(self.topics)
        self.listener.turned(True, "it was started")

    def vanish(self) -> None:
        """Have the hub of this end be killed."""
        self.up = False
        self.in_force.clear()
        self.heard.clear()
        self.out.clear()


class Node(Rig):
    """One hub."""

    make_hub = Hub

    def __init__(self, name: str, engine: Engine, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self.end = End(engine)
        self.end.listener = _Listener(self)
        self.alive = True
        self.cluster = self.hub.join(name, self.end, self.now)

    def flush(self) -> None:
        while self.hub.turn.dirty or self.hub.turn.owed:
            if self.hub.turn.owed:
                self.cluster.speak()
            super().flush()


class _Listener:
    def __init__(self, node: Node) -> None:
        self._node = node

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        self._node.hub.turn.now = self._node.now
        call(*arguments)
        self._node.hub.drop_slow()
        self._node.flush()

    def heard(self, message: bytes) -> None:
        self._do(self._node.cluster.heard, message)

    def nobody(self, ticket: int) -> None:
        self._do(self._node.cluster.nobody, ticket)

    def passed(self, ticket: int) -> None:
        self._do(self._node.cluster.passed, ticket)

    def turned(self, up: bool, why: str) -> None:
        self._do(self._node.cluster.turned, up, why)


class Nodes:
    """Hubs whose clocks go together. Unless `lazy`, whatever is to be carried is carried at once."""

    def __init__(self, count: int, settings: Settings | None = None, *, lazy: bool = False) -> None:
        self.engine = Engine()
        self.lazy = lazy
        self._settings = settings
        self.nodes: list[Node] = []
        for _ in range(count):
            self.start()
        self.run()

    def __getitem__(self, at: int) -> Node:
        return self.nodes[at]

    def start(self) -> Node:
        node = Node(f"hub-{len(self.nodes)}", self.engine, self._settings)
        if self.nodes:
            node.advance(self.nodes[0].now - node.now)
        node.flush()
        self.nodes.append(node)
        return node

    def kill(self, at: int) -> None:
        self.nodes[at].end.vanish()
        self.nodes[at].alive = False

    def stop(self, at: int) -> None:
        """Shut a hub down, as the server does."""
        node = self.nodes[at]
        node.hub.drain(node.now)
        node.flush()
        self.advance(1.0)
        node.cluster.end()
        self.run()
        self.kill(at)

    def step(self, rng: random.Random) -> bool:
        """Carry one thing, over any of the ways there are; tell whether there was any."""
        ways = [way for node in self.nodes if node.alive for way in (node.end.out, node.end.heard) if way]
        if not ways:
            return False
        rng.choice(ways).popleft()()
        return True

    def run(self) -> None:
        """Carry everything there is."""
        rng = random.Random(0)
        while self.step(rng):
            pass

    def advance(self, seconds: float) -> None:
        steps = max(1, round(seconds / 0.05))
        for _ in range(steps):
            for node in self.nodes:
                if node.alive:
                    node.advance(seconds / steps)
                    node.flush()
            if not self.lazy:
                self.run()

    def stale(self) -> bool:
        """Tell whether the first hub takes what it knows of the others for out of date."""
        return self.nodes[0].cluster.stale

    def connect(self, at: int, sub: str, **options: Any) -> Peer:
        peer = self.nodes[at].connect(sub, **options)
        if not self.lazy:
            self.run()
        return peer

    def ask(self, peer: Peer, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request, and return its answer, which may come from elsewhere."""
        before = len(peer.all())
        peer.send({"type": kind, "requestId": "r", **fields})
        self.run()
        answers = [one for one in peer.all()[before:] if one.get("requestId") == "r"]
        assert len(answers) == 1, answers
        return answers[0]

    def join(self, peer: Peer, channel: str, **fields: Any) -> list[dict[str, Any]]:
        """Subscribe, wait for the roster and return what came besides the ack."""
        peer.new()
        assert self.ask(peer, "subscribe", channel=channel, **fields)["type"] == "ack"
        self.advance(0.1)
        return [frame for frame in peer.new() if frame["type"] != "ack"]
