"""What a run may expect of whatever starts its children, be they processes or tasks of its own loop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from orchestrator.protocol.tokens import SecretKey
from orchestrator.runtime.control import Drain, HubSpec, Ready, Tally
from orchestrator.runtime.inline import InlineNursery
from orchestrator.runtime.nursery import Nursery, Program
from tests.runtime.processes import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.runtime.process import Stream
    from orchestrator.runtime.starting import Child, Starter

PROGRAM = Program("tests.runtime.children.either")
KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40)


class Heard(list[tuple["Stream", bytes]]):
    """Keeps every line, and tells when the first has come."""

    def __init__(self) -> None:
        super().__init__()
        self.first = asyncio.Event()

    def __call__(self, stream: Stream, line: bytes) -> None:
        self.append((stream, line))
        self.first.set()

    def lines(self, stream: Stream) -> list[bytes]:
        return [line for said_on, line in self if said_on == stream]


class Started:
    """A starter, and what its children say."""

    def __init__(self, starter: Starter) -> None:
        self.starter, self.heard = starter, Heard()

    async def start(self, do: str, descriptors: Sequence[int] = ()) -> Child:
        return await self.starter.start(PROGRAM, self.heard, {**ENVIRONMENT, "DO": do}, descriptors)

    async def ended(self, do: str) -> int:
        child = await self.start(do)
        code = await child.wait()
        await child.close()
        return code


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Started]:
    nobody = Heard()
    starter = (
        Nursery(ENVIRONMENT, nobody)
        if kind == "processes"
        else InlineNursery(ENVIRONMENT, nobody, lambda *_: None, level="info")
    )
    try:
        async with asyncio.timeout(20):
            yield Started(starter)
    finally:
        await starter.close()
    assert nobody == []


@pytest.fixture(params=["processes", "inline"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_both_streams_are_heard_line_by_line_also_from_threads_and_without_a_last_newline(kind: str) -> None:
    async with opened(kind) as started:
        assert await started.ended("speak") == 0
        assert sorted(started.heard.lines("stdout")) == [b"no end", b"one", b"three"]
        assert started.heard.lines("stderr") == [b"two"]


async def test_a_child_ends_with_what_it_returns(kind: str) -> None:
    async with opened(kind) as started:
        assert await started.ended("three") == 3


async def test_a_crash_is_exit_1_with_its_traceback(kind: str) -> None:
    async with opened(kind) as started:
        assert await started.ended("crash") == 1
        lines = started.heard.lines("stderr")
        assert lines[0] == b"Traceback (most recent call last):"
        assert lines[-1] == b"ValueError: broken"


async def test_who_leaves_in_the_middle_ends_itself_alone(kind: str) -> None:
    async with opened(kind) as started:
        other = await started.start("drain")
        await started.heard.first.wait()
        assert await started.ended("leave") == 7
        other.control.send(Drain(2.0))
        assert await other.wait() == 0
        await other.close()


async def test_they_speak_over_the_control_socket_to_the_last_message(kind: str) -> None:
    async with opened(kind) as started:
        child = await started.start("drain")
        child.control.send(Drain(5.0))
        assert await child.wait() == 0
        assert [message async for message in child.control] == [Tally({"drained": 5})]
        await child.close()


async def test_one_that_is_killed_ends_by_sigkill_and_once_more_does_no_harm(kind: str) -> None:
    async with opened(kind) as started:
        child = await started.start("deaf")
        await started.heard.first.wait()
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        child.kill()
        await child.close()


async def test_a_socket_is_lent_again_and_again(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with opened(kind) as started:
            for _ in range(2):
                child = await started.start("accept", [listening.fileno()])
                child.control.send(HubSpec(child.lent, (KEY,)))
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                assert await reader.read() == b"welcome"
                writer.close()
                assert await child.wait() == 0
                await child.close()


async def listening_hub(started: Started, listening: socket.socket) -> Child:
    program = Program("orchestrator.runtime.hub")
    hub = await started.starter.start(program, started.heard, ENVIRONMENT, [listening.fileno()])
    hub.control.send(HubSpec(hub.lent, (KEY,)))
    assert isinstance(await anext(aiter(hub.control)), Ready)
    return hub


async def healthy(listening: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask a hub how it is, and stay connected."""
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await reader.readline()
    return reader, writer


async def test_a_killed_hub_lets_go_of_everybody_and_the_next_one_listens(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with opened(kind) as started:
            hub = await listening_hub(started, listening)
            reader, writer = await healthy(listening)
            hub.kill()
            assert await hub.wait() == -signal.SIGKILL
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            await hub.close()
            hub = await listening_hub(started, listening)
            _, writer = await healthy(listening)
            writer.close()
            hub.control.send(Drain(1.0))
            assert await hub.wait() == 0
            await hub.close()


async def test_who_is_left_at_the_close_is_ended(kind: str) -> None:
    async with opened(kind) as started:
        child = await started.start("drain")
        await started.heard.first.wait()
    assert await child.wait() in (-signal.SIGKILL, -signal.SIGTERM)
    await child.close()


async def test_a_descriptor_that_is_none_is_an_os_error(kind: str) -> None:
    async with opened(kind) as started:
        with pytest.raises(OSError):
            await started.start("accept", [987_654])


async def test_a_process_is_itself_again_when_no_child_shares_it_any_more() -> None:
    def seen() -> tuple[object, ...]:
        import logging

        loop = asyncio.get_running_loop()
        root = logging.getLogger()
        return (
            sys.stdout,
            sys.stderr,
            sys.breakpointhook,
            dict(os.environ),
            loop.get_task_factory(),
            root.handlers[:],
            root.level,
        )

    before = seen()
    async with opened("inline") as started:
        await started.ended("speak")
    assert seen() == before
