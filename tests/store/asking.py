"""Clients that ask a store for leases, renew them, give them back or let them lapse, and write down what they are told."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable

from orchestrator.errors import StoreUnavailable
from orchestrator.store.port import Lease, Leases
from tests.store.linearizable import Request

KINDS = ["acquire"] * 5 + ["renew"] * 3 + ["release"] * 2 + ["get"] * 2
TTLS = [0.3, 1.0, 5.0]


class Recorder:
    """What all clients of a test were told, in the seconds of a clock that all processes of a machine have."""

    def __init__(self) -> None:
        self.history: list[Request] = []
        self.unanswered = 0

    async def ask(self, leases: Leases, kind: str, name: str, holder: str, ttl: float) -> None:
        before = time.monotonic()
        try:
            lease = await _asked(leases, kind, name, holder, ttl)
        except StoreUnavailable:
            self.unanswered += 1
            self.history.append(Request(kind, name, holder, ttl, before, math.inf))
        else:
            told = None if lease is None else (lease.holder, lease.fence)
            self.history.append(Request(kind, name, holder, ttl, before, time.monotonic(), told))

    @property
    def answered(self) -> int:
        return len(self.history) - self.unanswered


async def _asked(leases: Leases, kind: str, name: str, holder: str, ttl: float) -> Lease | None:
    if kind == "acquire":
        return await leases.acquire(name, holder, ttl)
    if kind == "renew":
        return await leases.renew(name, holder, ttl)
    if kind == "get":
        return await leases.get(name)
    await leases.release(name, holder)
    return None


async def ask_on(
    recorder: Recorder, leases: Leases, client: str, rng: random.Random, go_on: Callable[[], bool], names: int = 50
) -> None:
    """Ask one thing after another. After one that had no answer the client is somebody else, as it would be started again."""
    turn = 0
    while go_on():
        unanswered = recorder.unanswered
        kind = rng.choice(KINDS)
        holder = "" if kind == "get" else f"{client}/{turn}"
        await recorder.ask(leases, kind, f"item {rng.randrange(names)}", holder, rng.choice(TTLS))
        if recorder.unanswered > unanswered:
            turn += 1
            await asyncio.sleep(rng.uniform(0.05, 0.2))  # as somebody who begins again would
