"""How an agent's process ends when its connection is over, or never comes to be: what it says, and its exit code."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.client.connection import Client
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode, closing
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.control import Ending, Ready, Spec, TokenGranted, TokenWanted
from orchestrator.runtime.process import ChildProcess
from orchestrator.testing import ChaosProxy, CloseOnFrame, Down
from tests.joined_servers import new_server
from tests.runtime.plans import planned
from tests.runtime.processes import ENVIRONMENT, ROOT, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.hub.server import Server

pytestmark = pytest.mark.journey

KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40, rate="unlimited")
STRANGER = SecretKey("sk_id_test", "sk_secret_" + "s" * 40, rate="unlimited")
TOPOLOGY = """\
version: 1
agents:
  leaver:
    handler: tests.journeys.leaver:Leaver
    reconnect: {max_attempts: 2, max_delay: 10ms}
"""


class Process:
    """An agent's process, of which the test is the parent."""

    def __init__(self, child: ChildProcess, said: list[bytes], key: SecretKey) -> None:
        self._child, self._said, self._key = child, said, key
        self.replica = planned(TOPOLOGY).replicas[0]
        self.ready = asyncio.Event()
        self.last_words: Ending | None = None
        self.wants_token = asyncio.Event()

    def token(self, instance: str) -> str:
        return mint(self._key, self.replica.claims(exp=int(time.time()) + 600, instance=instance))

    async def serve(self, url: str) -> None:
        self._child.control.send(Spec(self.replica, url, str(ROOT), "first", "debug"))
        async for message in self._child.control:
            match message:
                case TokenWanted(request=request):
                    self._child.control.send(TokenGranted(request, self.token("first")))
                case Ready():
                    self.ready.set()
                case Ending():
                    self.last_words = message
                case _:
                    pass

    async def ended(self) -> int:
        return await self._child.wait()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._said]

    def events(self) -> list[str]:
        return [record["event"] for record in self.records]


@asynccontextmanager
async def process(url: str, key: SecretKey = KEY) -> AsyncIterator[Process]:
    said: list[bytes] = []
    child = await spawn("orchestrator.runtime.host", lambda _, line: said.append(line), ENVIRONMENT)
    leaver = Process(child, said, key)
    serving = asyncio.create_task(leaver.serve(url))
    try:
        async with asyncio.timeout(20):
            yield leaver
            await serving
    finally:
        child.kill()
        await child.wait()
        await child.close()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def hub() -> AsyncIterator[Server]:
    server = new_server(KeyRing([KEY]), Settings(drain_window=0.0, drain_grace=1.0))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    yield server
    await server.drain()


def assert_told_for_good(leaver: Process, code: CloseCode) -> None:
    """One record says it, with what it means and what to do; the parent hears it too."""
    (error,) = [record for record in leaver.records if record["level"] == "error"]
    fate = closing(code)
    assert (error["event"], error["code"]) == ("disconnected for good", code)
    assert (error["meaning"], error["advice"]) == (fate.meaning, fate.advice)
    assert error["advice"]
    assert leaver.last_words is not None
    assert leaver.last_words.close_code == code


async def test_a_process_that_another_one_replaces_tells_its_handlers_drains_and_exits_4(hub: Server) -> None:
    async with process(hub.url) as leaver:
        await leaver.ready.wait()

        async def other() -> str:
            return leaver.token("second")

        async with Client(hub.url, token_provider=other):
            assert await leaver.ended() == 4
    assert_told_for_good(leaver, CloseCode.ADMIN_DISCONNECT)
    heard = [record["will_reconnect"] for record in leaver.records if record["event"] == "heard"]
    assert heard == [False]
    assert [event for event in leaver.events() if event in ("heard", "torn down")] == ["heard", "torn down"]


@pytest.mark.parametrize(
    "code", [CloseCode.INVALID_TOKEN, CloseCode.CHANNEL_NOT_AUTHORIZED, CloseCode.ACCOUNT_SUSPENDED]
)
async def test_a_process_that_is_closed_for_good_exits_4(hub: Server, code: CloseCode) -> None:
    async with ChaosProxy(hub.url) as proxy, process(proxy.url) as leaver:
        await leaver.ready.wait()
        proxy.add(CloseOnFrame(direction="downstream", type="welcome", how=int(code)))
        proxy.cut()  # it comes back by itself, and is then closed for good
        assert await leaver.ended() == 4
    assert_told_for_good(leaver, code)
    heard = [record["will_reconnect"] for record in leaver.records if record["event"] == "heard"]
    assert heard == [True, False]


async def test_a_process_whose_token_is_refused_at_once_says_so_and_exits_4(hub: Server) -> None:
    async with process(hub.url, STRANGER) as leaver:
        assert await leaver.ended() == 4
    assert_told_for_good(leaver, CloseCode.INVALID_TOKEN)
    assert not leaver.ready.is_set()


async def test_a_process_that_reaches_no_hub_in_its_last_attempt_exits_5() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        async with process(f"ws://127.0.0.1:{holder.getsockname()[1]}") as leaver:
            assert await leaver.ended() == 5
    (error,) = [record for record in leaver.records if record["level"] == "error"]
    assert error["event"] == "disconnected for good" and error["advice"]
    attempts = [record for record in leaver.records if record["event"] == "attempt to connect failed"]
    assert len(attempts) == 1, "the second and last one is what the error tells of"
    assert leaver.last_words is not None
    assert leaver.last_words.close_code is None


async def test_a_process_that_loses_the_hub_and_does_not_reach_it_again_exits_5(hub: Server) -> None:
    async with ChaosProxy(hub.url) as proxy, process(proxy.url) as leaver:
        await leaver.ready.wait()
        proxy.add(Down())
        assert await leaver.ended() == 5
    assert [record["will_reconnect"] for record in leaver.records if record["event"] == "heard"] == [True, False]
    assert "torn down" in leaver.events()
