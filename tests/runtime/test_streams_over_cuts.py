"""A long stream over real sockets whose connections are cut again and again, on both sides of the hub."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import structlog

from orchestrator import ReconnectPolicy, StreamTask, User, agent, task
from orchestrator.agents.describe import describe, read_agent
from orchestrator.client.connection import Client
from orchestrator.hub import key_file
from orchestrator.protocol.tokens import Claims, mint
from orchestrator.runtime.replica import Replica
from orchestrator.runtime.user import connect
from orchestrator.testing import ChaosProxy, CloseOnFrame
from orchestrator.topology.load import parse_topology
from orchestrator.topology.plan import make_plan
from tests.interop.hub_process import HubProcess, hub_process

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan

HANDLER = "tests.runtime.test_streams_over_cuts:Teller"
TOPOLOGY = f"""
version: 1
agents:
  teller: {{handler: {HANDLER}}}
"""
SOON = ReconnectPolicy(initial=0.02, cap=0.05, max_attempts=None, per_minute=None)
SIZES = (
    pytest.param(1, 6_000, 4, id="4 cuts"),
    *(pytest.param(seed, 30_000, 20, id=f"20 cuts, seed {seed}", marks=pytest.mark.bars) for seed in range(1, 9)),
)
"""The seed, how many tokens the stream has, and how often each side is cut."""


class Tell(StreamTask[int]):
    upto: int


@agent
class Teller:
    @task
    async def tell(self, asked: Tell) -> AsyncIterator[int]:
        for number in range(asked.upto):
            await asyncio.sleep(0)  # so that each goes in a message of its own
            yield number


def planned() -> Plan:
    topology = parse_topology(TOPOLOGY.encode(), {}, source="teller.yaml", path=Path("teller.yaml"))
    return make_plan(topology, {HANDLER: describe(HANDLER, Teller)})


def minted(hub: HubProcess, claims: Claims) -> str:
    return mint(key_file.load(hub.keys).secret_keys[0].key(), claims)


@asynccontextmanager
async def teller(hub: HubProcess, url: str) -> AsyncIterator[None]:
    """Run the agent in this event loop, connected to `url`."""
    replica = planned().replicas[0]
    token = minted(hub, replica.claims(exp=int(time.time()) + 600, instance="1"))
    loop = asyncio.get_running_loop()
    client = Client(url, token=token, reconnect=SOON)
    running = Replica(
        replica,
        read_agent(HANDLER, Teller),
        client,
        wall_offset=time.time() - loop.time(),
        new_id=lambda: secrets.token_hex(8),
        log=structlog.get_logger(),
    )
    await client.connect()
    following = asyncio.create_task(running.run())
    try:
        await running.start()
        yield
    finally:
        await running.close()
        await client.close()
        await following


@asynccontextmanager
async def reader(hub: HubProcess, url: str) -> AsyncIterator[User]:
    token = minted(hub, planned().user("cli").claims("reader", int(time.time()) + 600))
    async with connect(url, token=token, reconnect=SOON) as user:
        yield user


Kind = tuple[Literal["upstream", "downstream"], str, int]
"""The way that frames go, their type, and how many of them there are at least."""


def cuts(chance: random.Random, count: int, *kinds: Kind) -> list[CloseOnFrame]:
    """Return rules that end a connection `count` times for each kind, each at another frame."""
    return [
        CloseOnFrame(
            type=frame_type,
            direction=direction,
            nth=nth,
            how=chance.choice(("reset", "fin")),
            deliver=chance.random() < 0.5,
        )
        for direction, frame_type, frames in kinds
        for nth in chance.sample(range(1, frames + 1), count)
    ]


def cut_off(proxy: ChaosProxy) -> int:
    return sum(event.what == "cut off" for event in proxy.events)


@pytest.mark.parametrize(("seed", "tokens", "times"), SIZES)
async def test_a_stream_that_is_cut_on_both_sides_arrives_exactly_once_and_in_order(
    tmp_path: Path, seed: int, tokens: int, times: int
) -> None:
    chance = random.Random(seed)  # what piles up while a connection is down leaves in few messages: cuts come early
    at_teller = cuts(chance, times // 2, ("upstream", "send", tokens // 100), ("downstream", "ack", tokens // 100))
    at_reader = cuts(chance, times // 2, ("downstream", "direct", tokens // 100), ("upstream", "send", tokens // 100))
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_process(tmp_path / "keys.yaml"))
        one = await stack.enter_async_context(ChaosProxy(hub.url, seed=seed, log_size=1_000_000))
        other = await stack.enter_async_context(ChaosProxy(hub.url, seed=seed, log_size=1_000_000))
        await stack.enter_async_context(teller(hub, one.url))
        user = await stack.enter_async_context(reader(hub, other.url))
        read: list[int] = []
        async with asyncio.timeout(20 + 5 * times):
            async for number in user.stream("teller", Tell(upto=tokens)):
                if not read:  # a task whose offer is lost is another matter
                    one.add(*at_teller)
                    other.add(*at_reader)
                read.append(number)
        hub.assert_healthy()
        assert read == list(range(tokens))
        assert (cut_off(one), cut_off(other)) == (times, times)
