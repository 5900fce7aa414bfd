"""Hazards 2, 6, 7: whoever floods a hub, or is slow at it on purpose, slows nobody else; the floods have own processes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.sockets import CLOSE, PING, TEXT, Raw, frame, raw_peer, token, upgrade
from tests.journeys.running import ROOT
from tests.journeys.strict_hub import StrictHub, strict_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.bars

ROUNDS = 3
SECONDS = 4.0
"""Of a round."""
PER_SECOND = 50
"""Legitimate connects, and pings of one who is connected."""
BAR = 0.2
"""Seconds that 99 of 100 of them stay below."""


@asynccontextmanager
async def flood(hub: StrictHub, how: str, rate: int, most: int) -> AsyncIterator[dict[str, Any]]:
    """Have another process flood the hub from 127.0.0.2; afterwards, the dictionary says what became of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journeys.flooding", how, str(hub.port), "127.0.0.2", str(rate), "60", str(most)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    became: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield became
        out, _ = await process.communicate(b"enough")
        became.update(json.loads(out))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * len(times))]


async def connect(hub: StrictHub, number: int, credential: str, pause: float = 0.0) -> float:
    """Return how long it takes to be welcomed, without a pause that is made before the request."""
    began = time.perf_counter()
    address = f"127.0.1.{1 + number % 200}"  # one that is not limited itself
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port, local_addr=(address, 0))
    try:
        await asyncio.sleep(pause)
        writer.write(upgrade(f"/v1?token={credential}"))
        connection = Raw(reader, writer)
        assert (await connection.head())[0] == 101
        assert (await connection.message())["type"] == "welcome"
        return time.perf_counter() - began - pause
    finally:
        writer.transport.abort()


async def ping(connection: Raw) -> float:
    began = time.perf_counter()
    connection.say({"type": "ping"})
    assert (await connection.message())["type"] == "pong"
    return time.perf_counter() - began


async def round_of(hub: StrictHub, connected: Raw, first: int) -> tuple[float, float]:
    """Return the 99th percentiles of connects, every other of which is far away, and of pings."""
    credential = token("late")
    connecting: list[asyncio.Task[float]] = []
    pings: list[float] = []
    for number in range(int(SECONDS * PER_SECOND)):
        connecting.append(asyncio.create_task(connect(hub, first + number, credential, 0.1 * (number % 2))))
        pings.append(await ping(connected))
        await asyncio.sleep(1 / PER_SECOND)
    return p99(await asyncio.gather(*connecting)), p99(pings)


async def three_rounds(hub: StrictHub) -> tuple[float, float]:
    """Return the medians of some rounds' percentiles."""
    async with asyncio.timeout(120), raw_peer(hub.url, "connected") as connected:
        rounds = [await round_of(hub, connected, number * 200) for number in range(ROUNDS)]
    connects, pings = (median(figures) for figures in zip(*rounds, strict=True))
    return connects, pings


SETTINGS: dict[str, Any] = {"connects_per_minute": 600, "limit_loopback": True}


async def test_hazard_6_two_thousand_connects_a_second_from_one_address_keep_nobody_waiting(tmp_path: Path) -> None:
    async with strict_hub(tmp_path, **SETTINGS) as hub:
        async with flood(hub, "connects", 2_000, 2_000) as became:
            began = time.monotonic()
            connects, pings = await three_rounds(hub)
            took = time.monotonic() - began
    print(f"p99: connects {connects * 1e3:.1f} ms, pings {pings * 1e3:.1f} ms; {became}")
    assert became["answers"]["429"] > 0.5 * 2_000 * took, "the flood was none"
    assert became["answers"]["101"] == SETTINGS["connects_per_minute"]
    assert connects < BAR
    assert pings < BAR


@pytest.mark.parametrize("how", ["slow", "silent"])
async def test_hazard_7_five_thousand_slow_sockets_keep_nobody_waiting(tmp_path: Path, how: str) -> None:
    async with strict_hub(tmp_path, **SETTINGS) as hub:
        before = hub.descriptors()
        async with flood(hub, how, 2_000, 5_000) as became:
            connects, pings = await three_rounds(hub)
            assert hub.descriptors() - before < 1_100
    print(f"p99: connects {connects * 1e3:.1f} ms, pings {pings * 1e3:.1f} ms; {became}")
    assert became["opened"] > 5_000
    assert became["most_open"] >= 1_000
    assert connects < BAR
    assert pings < BAR


async def test_hazard_2_two_thousand_who_send_a_byte_a_second_keep_nobody_waiting(tmp_path: Path) -> None:
    many, seconds, timeout = 2_000, 6, 8.0
    text = frame(TEXT, b"x" * 60_000)
    settings: dict[str, Any] = {"connects_per_minute": 0, "frame_timeout": timeout}
    async with strict_hub(tmp_path, **settings) as hub, AsyncExitStack() as stack:
        credential = token("slow")
        slow: list[Raw] = []
        for _ in range(many):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            stack.callback(writer.transport.abort)
            connection = Raw(reader, writer)
            connection.send(upgrade(f"/v1?token={credential}"))
            assert (await connection.head())[0] == 101
            assert (await connection.message())["type"] == "welcome"
            slow.append(connection)
        healthy = await stack.enter_async_context(raw_peer(hub.url, "healthy"))
        memory, cpu, began = hub.resident(), hub.cpu(), time.monotonic()
        for connection in slow:
            connection.send(text[:8])
        pings: list[float] = []
        for second in range(seconds):
            for tenth in range(10):
                for connection in slow[tenth::10]:
                    connection.send(text[8 + second : 9 + second])
                pings.append(await ping(healthy))
                await asyncio.sleep(max(0.0, began + second + (tenth + 1) / 10 - time.monotonic()))
        share = (hub.cpu() - cpu) / (time.monotonic() - began)
        each = (hub.resident() - memory) / many
        print(f"p99 of pings {p99(pings) * 1e3:.1f} ms, CPU {share:.1%}, {each / 1024:.1f} KiB for each")
        assert each < 65_536
        assert share < 0.5
        assert p99(pings) < BAR
        async with asyncio.timeout(timeout + 5):
            codes = [await connection.close_code() for connection in slow]
        assert set(codes) == {1008}
        healthy.send(frame(PING, b"!"))
        assert (await healthy.read())[0] != CLOSE
