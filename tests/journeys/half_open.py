"""Clients and their hub in a network of their own, of which every packet is lost for a while: who notices when.

The main of a process that has that network: its only interface, the loopback one, is still down.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import ClientSession

from bench.hub_facts import descriptors, visited
from bench.real_hub import real_hub
from orchestrator.client.connection import Client
from orchestrator.client.effects import Timeouts
from orchestrator.client.events import Connected, Disconnected, PresenceReceived

USUAL: Final = Timeouts()
QUICK: Final = Timeouts(inactivity=3.0)
EACH: Final = 10
SETTLED: Final = 30.0
"""Seconds that everybody may take to come back once packets get through again."""


async def loopback(state: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", "link", "set", "lo", state)
    if await process.wait() != 0:
        raise RuntimeError(f"the loopback interface could not be set {state}")


class Peer:
    def __init__(self, url: str, token: str, timeouts: Timeouts) -> None:
        async def provide() -> str:
            return token

        self.client = Client(url, token_provider=provide, timeouts=timeouts)
        self.lost_at: list[float] = []
        self.connected = 0
        self.roster: set[str] = set()
        self.news = asyncio.Event()

    async def begin(self) -> None:
        await self.client.connect()
        self.watching = asyncio.create_task(self._watch())
        await self.client.subscribe("room")

    async def _watch(self) -> None:
        async for event in self.client.events():
            if isinstance(event, Connected):
                self.connected += 1
            elif isinstance(event, Disconnected):
                self.lost_at.append(time.monotonic())
            elif isinstance(event, PresenceReceived):
                joined = {present.peer_id for present in event.joined}
                left = {present.peer_id for present in event.left}
                self.roster = joined if event.snapshot else (self.roster | joined) - left
            self.news.set()

    async def lost(self) -> float:
        while not self.lost_at:
            await self._next()
        return self.lost_at[0]

    async def sees(self, others: set[str]) -> None:
        while self.connected < 2 or self.roster != others:
            await self._next()

    async def _next(self) -> None:
        self.news.clear()
        await self.news.wait()

    async def end(self) -> None:
        await self.client.close()
        await self.watching


async def main(folder: Path) -> dict[str, Any]:
    await loopback("up")
    async with real_hub(folder) as hub:
        pid = hub.process.pid
        await visited(hub.port)
        base = descriptors(pid)
        timeouts = {
            f"{kind} {number}": how for kind, how in (("usual", USUAL), ("quick", QUICK)) for number in range(EACH)
        }
        peers = {name: Peer(hub.url, hub.token(name), how) for name, how in timeouts.items()}
        await asyncio.gather(*(peer.begin() for peer in peers.values()))
        held = descriptors(pid) - base

        await loopback("down")
        cut = time.monotonic()

        async def hub_noticed() -> float:
            while descriptors(pid) > base:  # noqa: ASYNC110  # another process says nothing of them
                await asyncio.sleep(0.05)
            return time.monotonic() - cut

        noticing = asyncio.create_task(hub_noticed())
        noticed = {name: await peer.lost() - cut for name, peer in peers.items()}
        hub_after = await noticing

        await loopback("up")
        async with asyncio.timeout(SETTLED):
            await asyncio.gather(*(peer.sees(peers.keys() - {name}) for name, peer in peers.items()))
        headers = {"Authorization": f"Bearer {hub.key.id}:{hub.key.secret}"}
        async with ClientSession(f"http://127.0.0.1:{hub.port}", headers=headers) as rest:
            async with rest.get("/v1/channels/room/peers") as answer:
                listed = sorted(entry["peerId"] for entry in (await answer.json())["peers"])
            async with rest.get("/v1/usage") as answer:
                connections = (await answer.json())["concurrentNow"]
        await asyncio.gather(*(peer.end() for peer in peers.values()))
    return {
        "held": held,
        "hub": hub_after,
        "usual": [at for name, at in noticed.items() if timeouts[name] is USUAL],
        "quick": [at for name, at in noticed.items() if timeouts[name] is QUICK],
        "listed": listed == sorted(peers),
        "connections": connections,
    }


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as name:
        json.dump(asyncio.run(main(Path(name))), sys.stdout)
