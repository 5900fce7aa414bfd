"""Where in NATS everything lies: one stream for a namespace, and in it one subject for each thing that is kept."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def token(text: str) -> str:
    """Return what stands for any text in a subject: itself if that can be, else a digest, which no plain text looks like."""
    if _PLAIN.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return "=" + urlsafe_b64encode(digest).decode().rstrip("=")


class Subjects:
    """The stream of a namespace and its subjects. Each keeps its last message only, whose number is its revision."""

    def __init__(self, namespace: str) -> None:
        """Raises `ValueError` for a namespace that is empty or longer than 64 characters."""
        if not 0 < len(namespace) <= 64:
            raise ValueError(f"a namespace has 1 to 64 characters, not {len(namespace)}")
        own = token(namespace)
        self.stream = f"orchestrator_store_{own}"
        self._root = f"orchestrator_store.{own}"
        self.everything = f"{self._root}.>"
        self.tasks = f"{self._root}.task.>"
        self.packs = f"{self._root}.pack.>"

    def task(self, queue: str, task_id: str) -> str:
        return f"{self._root}.task.{token(queue)}.{token(task_id)}"

    def task_anywhere(self, task_id: str) -> str:
        """Match a task in whichever queue; there is one at most."""
        return f"{self._root}.task.*.{token(task_id)}"

    def tasks_of(self, queue: str) -> str:
        return f"{self._root}.task.{token(queue)}.>"

    def key(self, caller: str, queue: str, kind: str, key: str) -> str:
        parts = (str(len(part)) + ":" + part for part in (caller, queue, kind, key))
        return f"{self._root}.key.{token(' ' + ''.join(parts))}"

    def effect(self, queue: str, key: str) -> str:
        return f"{self._root}.effect.{token(queue)}.{token(key)}"

    def part(self, task_id: str, of: str, number: int) -> str:
        """Where a part of a large payload or result lies."""
        return f"{self._root}.part.{token(task_id)}.{of}.{number}"

    def pack(self, pack: str) -> str:
        """Where it is said whether a request that did not fit into one batch was stored."""
        return f"{self._root}.pack.{token(pack)}"

    def floor(self, queue: str) -> str:
        """Where the number of a message is kept before which nothing about an open task of the queue lies any more."""
        return f"{self._root}.floor.{token(queue)}"

    def lease(self, name: str) -> str:
        return f"{self._root}.lease.{token(name)}"

    def witness(self, client: str) -> str:
        """Where one client writes what means nothing, on the condition that what it has read is still so."""
        return f"{self._root}.witness.{token(client)}"
