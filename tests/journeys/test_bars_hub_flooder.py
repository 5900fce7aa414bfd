"""Hazard 11: somebody who floods, beside five hundred who talk: it is cut, and costs next to nothing from then on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from bench.bare_peers import BarePeer, masked, upgrade
from bench.real_hub import real_hub
from orchestrator.hub.serve import run_fast
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.tokens import Claims, mint

if TYPE_CHECKING:
    from pathlib import Path

    from bench.real_hub import RealHub

NORMAL: Final = 500
WINDOW: Final = 6.0
"""Seconds of the flood, and of the quiet that it is compared with."""
PERIOD: Final = 3.0
"""Seconds between two messages of one who does not flood."""
AGAIN: Final = 1.0
"""Seconds until a flooder comes again: more often a hub answers 429."""
SHARE: Final = 0.05
"""Of a core."""
FLOOD: Final = masked(encode_json({"type": "ping"})) * 10_000


def limited(hub: RealHub, name: str) -> str:
    """Return a token with the usual limit on messages."""
    return mint(hub.key, Claims(sub=name, exp=int(time.time()) + 600))


class Talk:
    """Those who do not flood: each sends to its neighbour, and counts its answers."""

    def __init__(self, hub: RealHub) -> None:
        self._hub = hub
        self.heard: Counter[bytes] = Counter()
        self.sent = 0

    async def begin(self) -> None:
        self.peers = [
            await BarePeer.connected(self._hub.port, limited(self._hub, f"normal {number}"), self._hear)
            for number in range(NORMAL)
        ]
        self._talking = asyncio.create_task(self._talk())

    def _hear(self, text: bytes) -> None:
        self.heard[text[9:14]] += 1

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for number, peer in enumerate(self.peers):
                peer.say(type="send", to=f"normal {(number + 1) % NORMAL}", data="hello", requestId="r")
                self.sent += 1
                due += PERIOD / NORMAL
                await asyncio.sleep(due - loop.time())

    async def end(self) -> None:
        self._talking.cancel()
        await asyncio.gather(self._talking, return_exceptions=True)
        async with asyncio.timeout(10):
            while self.heard[b'ack",'] + self.heard[b"error"] < self.sent:  # noqa: ASYNC110  # counted in many places
                await asyncio.sleep(0.01)


async def flood(hub: RealHub) -> None:
    """Come again and again, and each time send without end, and without reading."""
    loop = asyncio.get_running_loop()

    async def once() -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, ("127.0.0.1", hub.port))
                await loop.sock_sendall(sock, upgrade(limited(hub, "flooder")))
                while True:
                    await loop.sock_sendall(sock, FLOOD)
            except ConnectionError:
                return

    async with asyncio.TaskGroup() as attempts:
        while True:
            attempts.create_task(once())
            await asyncio.sleep(AGAIN)


async def cpu_share(hub: RealHub) -> float:
    before, began = hub.cpu_seconds() or 0.0, time.monotonic()
    await asyncio.sleep(WINDOW)
    return ((hub.cpu_seconds() or 0.0) - before) / (time.monotonic() - began)


async def beside_a_flooder(folder: Path) -> None:
    async with real_hub(folder) as hub:
        talk = Talk(hub)
        await talk.begin()
        polite = await BarePeer.connected(hub.port, limited(hub, "polite"))
        polite.write(FLOOD)
        assert await polite.gone == CloseCode.OVER_MESSAGE_RATE
        alone = await cpu_share(hub)
        flooding = asyncio.create_task(flood(hub))
        beside = await cpu_share(hub)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await talk.end()
        assert talk.heard[b'ack",'] == talk.heard[b"direc"] == talk.sent > NORMAL
        assert not any(peer.gone.done() for peer in talk.peers)
        assert beside - alone <= SHARE, (alone, beside)
        print(f"of a core: {alone:.3f} alone, {beside:.3f} beside the flooder")


@pytest.mark.bars
def test_hazard_11_a_flooder_is_cut_and_costs_five_hundred_others_next_to_nothing(tmp_path: Path) -> None:
    run_fast(beside_a_flooder(tmp_path))
