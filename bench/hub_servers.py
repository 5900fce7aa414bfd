"""The servers that bear the hub's load in turns: this package's hub, a naive one, and NATS, each alone in a process."""

from __future__ import annotations

import secrets
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.brokers import plain_nats
from bench.lines import child
from bench.real_hub import real_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

OURS, NAIVE, NATS = "ours", "naive", "nats"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    kind: str
    pid: int
    reach: dict[str, Any]
    """What a generator is told to reach it."""


@asynccontextmanager
async def our_hub() -> AsyncIterator[Server]:
    """As `orchestrator hub serve` starts it: with tokens, presence, validation and every limit."""
    with tempfile.TemporaryDirectory(prefix="hub") as folder:
        async with real_hub(Path(folder)) as hub:
            yield Server(OURS, hub.process.pid, {"kind": OURS, "url": hub.url, "key": [hub.key.id, hub.key.secret]})


@asynccontextmanager
async def naive_hub() -> AsyncIterator[Server]:
    secret = secrets.token_hex(32)
    async with child(sys.executable, "bench.naive_hub", {"secret": secret}) as hub:
        ready = await hub.told()
        url = f"ws://127.0.0.1:{ready['port']}"
        yield Server(NAIVE, hub.pid, {"kind": NAIVE, "url": url, "key": ["sk_id_naive", secret]})


@asynccontextmanager
async def nats() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="nats") as folder:
        async with plain_nats(Path(folder)) as (pid, port):
            yield Server(NATS, pid, {"kind": NATS, "port": port})


SERVERS: dict[str, Callable[[], AbstractAsyncContextManager[Server]]] = {OURS: our_hub, NAIVE: naive_hub, NATS: nats}


def cpu_seconds(pid: int) -> float | None:
    """Return the processor time that the threads of a process have taken, to the microsecond; `None` = nobody knows.

    That of a thread that has ended is not in it.
    """
    try:
        taken = [int(path.read_bytes().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return None
    return sum(taken) / 1e9 if taken else None


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
