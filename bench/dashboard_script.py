"""What a large run says of itself, four times a second: the outline, and updates of replicas, messages, tasks and lines."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

UPDATES: Final = 4
"""A second."""
_LAYER: Final = 10
"""One agent in so many is a coordinator, and one an agent that is neither that nor a worker."""
_CAPACITY: Final = 4
_TASKS, _LINES, _CHANGED = 40, 25, 125
"""In one update."""


@dataclass
class LargeRun:
    agents: int = 50
    replicas: int = 500
    messages: int = 2_000
    """A second."""
    rng: random.Random = field(default_factory=lambda: random.Random(11))
    _number: int = 0

    def __post_init__(self) -> None:
        few = max(1, self.agents // _LAYER)
        roles = ["coordinator"] * few + ["worker"] * (self.agents - 2 * few) + ["agent"] * few
        self.roles = {f"{role}-{number}": role for number, role in enumerate(roles[: self.agents])}
        each = self.replicas // len(self.roles)
        self.peers = {f"{name}.{n}": name for name in self.roles for n in range(1, each + 1)}
        self.workers = [name for name, role in self.roles.items() if role == "worker"]
        self.coordinators = [name for name, role in self.roles.items() if role == "coordinator"]

    def outline(self) -> dict[str, Any]:
        share = max(1, len(self.workers) // len(self.coordinators))
        handed = {name: self.workers[n * share : (n + 1) * share] for n, name in enumerate(self.coordinators)}
        agents = [
            {
                "name": name,
                "label": name,
                "role": role,
                "replicas": [peer for peer, agent in self.peers.items() if agent == name],
                "capabilities": ["web", "pdf"],
                "workers": handed.get(name, []),
                "tasks": ["Research"],
            }
            for name, role in self.roles.items()
        ]
        return {
            "name": "large",
            "source": "large.yaml",
            "node": "here",
            "began": time.time(),
            "agents": agents,
            "teams": [{"name": "desk", "channel": "teams/desk/state", "members": self.coordinators}],
            "lobbies": [{"name": "lobby", "channel": "lobbies/lobby", "members": self.workers[:10]}],
            "users": [{"name": "cli", "asks": self.coordinators}],
            "admin": True,
        }

    def whole(self) -> dict[str, Any]:
        return {"replicas": [self._replica(peer) for peer in self.peers]}

    def update(self) -> dict[str, Any]:
        """Return what a quarter of a second brings."""
        chosen = self.rng.sample(sorted(self.peers), min(_CHANGED, len(self.peers)))
        flows = self._flows()
        return {
            "replicas": [self._replica(peer) for peer in chosen],
            "flows": flows,
            "load": [
                {"agent": name, "inflight": 9, "capacity": 40, "ended": 10, "p50": 0.05, "p95": 0.2}
                for name in self.roles
            ],
            "tasks": [self._task() for _ in range(_TASKS)],
            "log": [self._line() for _ in range(_LINES)],
            "missed": 10,
        }

    def _flows(self) -> list[list[Any]]:
        share = max(1, len(self.workers) // len(self.coordinators))
        pairs = [
            (boss, worker)
            for n, boss in enumerate(self.coordinators)
            for worker in self.workers[n * share : (n + 1) * share]
        ] or [("cli", name) for name in self.coordinators]
        count = max(1, self.messages // UPDATES // (2 * len(pairs)))
        return [
            *([boss, worker, "task", count] for boss, worker in pairs),
            *([worker, boss, "result", count] for boss, worker in pairs),
            *([boss, "team/desk", "event", 1] for boss in self.coordinators),
        ]

    def _replica(self, peer: str) -> dict[str, Any]:
        state = self.rng.choices(["ready", "starting", "waiting", "offline", "failed"], [96, 1, 1, 1, 1])[0]
        inflight = self.rng.randint(0, _CAPACITY) if state == "ready" else 0
        return {
            "peer": peer,
            "agent": self.peers[peer],
            "state": state,
            "pid": 4321,
            "since": time.time() - 100,
            "inflight": inflight,
            "capacity": _CAPACITY,
            "memory": 50_000_000,
        }

    def _task(self) -> dict[str, Any]:
        self._number += 1
        state = self.rng.choices(["running", "done", "failed"], [45, 50, 5])[0]
        peer = self.rng.choice(self.workers or self.coordinators) + ".1"
        error = {"error": "ValueError: no such page"} if state == "failed" else {}
        return {
            "id": f"task-{self._number}",
            "task": "Research",
            "peer": peer,
            "state": state,
            "time": time.time(),
            "from": self.coordinators[0] + ".1",
            "seconds": None if state == "running" else 0.05,
            **error,
        }

    def _line(self) -> dict[str, Any]:
        agent = self.rng.choice(self.workers or self.coordinators)
        level = self.rng.choices(["debug", "info", "warning", "error"], [10, 80, 8, 2])[0]
        return {
            "source": f"{agent}.1",
            "agent": agent,
            "time": time.time(),
            "level": level,
            "event": f"looked at page {self._number} of a long document about rivers and lighthouses",
            "fields": {"topic": "rivers", "page": self._number},
        }
