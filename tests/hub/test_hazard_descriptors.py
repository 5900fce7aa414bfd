"""Hazard 9: a hub that may have few sockets open serves those whom it has, and takes others as soon as it can."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from orchestrator.hub.open_files import RESERVED
from tests.hub.sockets import Raw, raw, raw_peer
from tests.journeys.strict_hub import StrictHub, strict_hub

if TYPE_CHECKING:
    from pathlib import Path

MOST = 64
LIMITED = ("prlimit", f"--nofile={MOST}:{MOST}")
LOOPS = ["uvloop", pytest.param("asyncio", marks=pytest.mark.bars)]


async def fill(stack: AsyncExitStack, hub: StrictHub) -> list[Raw]:
    """Connect peers until the hub has as many files open as it wants, or one less."""
    peers: list[Raw] = []
    while hub.descriptors() < MOST - RESERVED:
        peers.append(await stack.enter_async_context(raw_peer(hub.url, f"peer.{len(peers)}")))
    return peers


def warnings(hub: StrictHub) -> list[str]:
    return [line for line in hub.said() if not line.startswith("INFO ")]


async def until_it_says_so(hub: StrictHub) -> None:
    for _ in range(500):
        if warnings(hub):
            return
        await asyncio.sleep(0.01)  # there is no event for a line in somebody else's file
    raise AssertionError("the hub has not said that it takes nobody")


@pytest.mark.parametrize("loop", LOOPS)
async def test_hazard_9_without_descriptors_the_connected_are_served_and_others_as_soon_as_there_are_some(
    tmp_path: Path, loop: str
) -> None:
    async with (
        strict_hub(tmp_path, LIMITED, connects_per_minute=0, loop=loop) as hub,
        AsyncExitStack() as connected,
        AsyncExitStack() as late,
    ):
        peers = await fill(connected, hub)
        coming = [asyncio.create_task(late.enter_async_context(raw_peer(hub.url, f"late.{n}"))) for n in range(20)]
        await until_it_says_so(hub)
        cpu, began = hub.cpu(), time.monotonic()
        for _ in range(10):
            for peer in peers:
                peer.say({"type": "ping"})
                assert (await peer.message())["type"] == "pong"
            await asyncio.sleep(0.1)  # over some time, so that there is something to be measured
        assert hub.cpu() - cpu < 0.2 * (time.monotonic() - began)
        assert sum(task.done() for task in coming) <= 1
        assert hub.descriptors() < MOST, "some are left for other things"
        began = time.monotonic()
        await connected.aclose()
        async with asyncio.timeout(10):
            await asyncio.gather(*coming)
        assert time.monotonic() - began < 1.0
        (said,) = warnings(hub)
        assert "as many files are open as the system allows: raise the limit (`ulimit -n`)" in said


@pytest.mark.parametrize("loop", LOOPS)
async def test_hazard_9_whoever_waits_without_a_credential_makes_room_for_others(tmp_path: Path, loop: str) -> None:
    settings = {"connects_per_minute": 0, "handshake_timeout": 60.0, "loop": loop}
    async with strict_hub(tmp_path, LIMITED, **settings) as hub, AsyncExitStack() as silent:
        for _ in range(2 * MOST):
            await silent.enter_async_context(raw(hub.url))
        await until_it_says_so(hub)
        for number in range(MOST // 2):
            async with asyncio.timeout(1):
                await silent.enter_async_context(raw_peer(hub.url, f"peer.{number}"))
        assert len(warnings(hub)) == 1


@pytest.mark.parametrize("loop", LOOPS)
async def test_hazard_9_whoever_only_asked_over_http_makes_room_for_others(tmp_path: Path, loop: str) -> None:
    async with strict_hub(tmp_path, LIMITED, connects_per_minute=0, loop=loop) as hub, AsyncExitStack() as kept:
        for _ in range(MOST):
            visitor = await kept.enter_async_context(raw(hub.url))
            visitor.send(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        await until_it_says_so(hub)
        for number in range(MOST // 2):
            async with asyncio.timeout(1):
                await kept.enter_async_context(raw_peer(hub.url, f"peer.{number}"))


async def test_hazard_9_a_hub_takes_as_many_descriptors_as_it_may_have(tmp_path: Path) -> None:
    async with strict_hub(tmp_path, ("prlimit", "--nofile=64:400")) as hub:
        assert resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE) == (400, 400)
