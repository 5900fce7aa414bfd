"""Valid topology files at random, every key in a line of its own, and what may be done to one line of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

DURATIONS: Final = ("150ms", "30s", "2m", "1.5h", "7")
WORDS: Final = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "kite", "lark")


@dataclass
class Line:
    """One line of a file: a key, or an item of a list."""

    steps: tuple[str | int, ...]
    text: str
    named: bool = False
    """Its key is a name that the author chose."""
    required: bool = False
    refers: tuple[str, ...] = ()
    """Names that its value refers to."""


@dataclass
class File:
    lines: list[Line] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(f"{line.text}\n" for line in self.lines)

    def number(self, steps: tuple[str | int, ...]) -> int:
        """Return the line, from 1, in which a key stands."""
        return next(number for number, line in enumerate(self.lines, start=1) if line.steps == steps)


def random_tree(rng: random.Random) -> dict[str, Any]:
    """Return a valid topology as plain values; texts, numbers and booleans as they are written."""
    names = rng.sample(WORDS, 9)
    workers, agents = names[: rng.randint(1, 3)], names[3 : 3 + rng.randint(0, 2)]
    tree: dict[str, Any] = {"version": 1}
    if rng.random() < 0.5:
        tree["name"] = "farm"
    if rng.random() < 0.5:
        tree["hub"] = some(rng, {"url": "local", "listen": "127.0.0.1:0", "token_ttl": "15m", "backplane": "memory"})
    if rng.random() < 0.5:
        tree["store"] = rng.choice(["memory", "sqlite:///farm.db"])
    if rng.random() < 0.5:
        tree["defaults"] = some(
            rng,
            {
                "restart": restart(rng),
                "reconnect": {"max_attempts": "unlimited", "max_delay": "9s"},
                "start_method": "spawn",
                "watchdog": "unlimited",
            },
        )
    tree["workers"] = {name: agent(rng) for name in workers}
    if agents:
        tree["agents"] = {name: agent(rng) for name in agents}
    if rng.random() < 0.7:
        tree["coordinators"] = {names[6]: {"handler": "app:Boss", "workers": workers, **extras(rng)}}
    everyone = [*workers, *agents]
    if rng.random() < 0.6:
        claims: dict[str, Any] = {"claims": {"ttl": rng.choice(DURATIONS), "consistency": "best-effort"}}
        tree["teams"] = {names[7]: {"members": rng.sample(everyone, len(everyone)), **some(rng, claims)}}
    if rng.random() < 0.6:
        watchers: dict[str, Any] = {"watchers": [everyone[-1]]} if len(everyone) > 1 else {}
        tree["presence"] = {names[8]: {"members": [everyone[0]], **watchers, **some(rng, {"channel": "hall/one"})}}
    if rng.random() < 0.6:
        tree["users"] = {"reader": {"asks": [everyone[0]], **some(rng, {"token_ttl": "1h"})}}
    return tree


def agent(rng: random.Random) -> dict[str, Any]:
    how = rng.choice(["handler", "handler", "command", "external"])
    ways: dict[str, dict[str, Any]] = {
        "handler": {"handler": "app:One"},
        "command": {"command": ["node", "one.js"], "handles": ["Add"]},
        "external": {"external": True, "handles": ["Add"]},
    }
    return {**ways[how], **({} if how == "external" else extras(rng, how))}


def extras(rng: random.Random, how: str = "handler") -> dict[str, Any]:
    tasks = {"timeout": rng.choice(DURATIONS), "delivery": "at-most-once"}
    return some(
        rng,
        {
            "name": "The One",
            "replicas": rng.randint(1, 9),
            "concurrency": rng.randint(1, 9),
            "capabilities": ["web", "pdf"],
            "restart": restart(rng),
            "environment": {"MODEL": "small", "DEPTH": "3"},
            "inherit_environment": rng.random() < 0.5,
            **({"start_method": "spawn", "watchdog": rng.choice(["1m", "unlimited"])} if how == "handler" else {}),
            "tasks": tasks,
            "enabled": True,
            "scopes": {"publish": ["audit/drafts"], "send": ["somebody"]},
        },
    )


def restart(rng: random.Random) -> dict[str, Any]:
    return some(
        rng, {"condition": "always", "delay": rng.choice(DURATIONS), "max_attempts": 5, "window": "10m"}, least=1
    )


def some(rng: random.Random, entries: dict[str, Any], least: int = 0) -> dict[str, Any]:
    chosen = [key for key in entries if rng.random() < 0.4] or rng.sample(list(entries), max(least, 1))
    return {key: entries[key] for key in chosen}


NAMED_SECTIONS: Final = {"workers", "agents", "coordinators", "teams", "presence", "users"}
REFERRING: Final = {"workers", "members", "watchers", "asks"}
REQUIRED: Final = {"version", "members"}


def written(tree: dict[str, Any]) -> File:
    """Write a topology with every key and every item in a line of its own."""
    file = File()
    _write(file, tree, (), 0)
    return file


def _write(file: File, mapping: dict[str, Any], above: tuple[str | int, ...], depth: int) -> None:
    for key, value in mapping.items():
        steps = (*above, key)
        named = (len(above) == 1 and above[0] in NAMED_SECTIONS) or (bool(above) and above[-1] == "environment")
        required = key in REQUIRED or key == "handler" or (len(above) == 2 and key == "workers")
        indent = "  " * depth
        if isinstance(value, dict):
            file.lines.append(Line(steps, f"{indent}{key}:", named))
            _write(file, value, steps, depth + 1)
        elif isinstance(value, list):
            refers = tuple(value) if key in REFERRING and len(above) == 2 else ()
            items = ", ".join(value)
            file.lines.append(Line(steps, f"{indent}{key}: [{items}]", named, required, refers))
        else:
            scalar = str(value).lower() if isinstance(value, bool) else value
            quoted = f"'{scalar}'" if above and above[-1] == "environment" else scalar
            file.lines.append(Line(steps, f"{indent}{key}: {quoted}", named, required))
