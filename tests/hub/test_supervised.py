"""A hub as the child of another process: `python -m orchestrator.runtime.hub FD`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect

from orchestrator.hub.listening import listen, parse_address
from orchestrator.runtime.control import Drain
from tests.hub.supervised import start, token, url
from tests.runtime.processes import ENVIRONMENT, gone

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from orchestrator.runtime.process import ChildProcess


@asynccontextmanager
async def hub() -> AsyncIterator[tuple[ChildProcess, socket.socket]]:
    async with asyncio.timeout(20):
        with listen(parse_address("127.0.0.1:0")) as listening:
            child = await start(listening)
            try:
                yield child, listening
            finally:
                child.kill()
                await child.wait()
                await child.close()


async def frames(client: ClientConnection) -> list[Any]:
    return [frame async for frame in client]


async def test_it_drains_when_it_is_told_to_and_exits_0() -> None:
    async with hub() as (child, listening), connect(url(listening)) as client:
        child.control.send(Drain(4.0))
        assert '"going_away"' in str(await frames(client))
        assert client.close_code == 1001
        assert await child.wait() == 0


async def test_it_drains_on_a_signal_and_exits_0() -> None:
    async with hub() as (child, listening), connect(url(listening)) as client:
        os.kill(child.pid, signal.SIGTERM)
        assert '"going_away"' in str(await frames(client))
        assert await child.wait() == 0


async def test_a_signal_does_not_cut_short_a_drain_that_was_asked_for_otherwise() -> None:
    async with hub() as (child, listening), connect(url(listening)) as client:
        child.control.send(Drain(4.0))
        assert '"going_away"' in str(await client.recv()) + str(await client.recv())
        os.kill(child.pid, signal.SIGTERM)
        await client.wait_closed()
        assert client.close_code == 1001
        assert await child.wait() == 0


async def test_a_hub_that_was_killed_is_succeeded_on_the_same_socket_while_connections_wait() -> None:
    async with hub() as (child, listening):
        child.kill()
        await child.wait()
        waiting = asyncio.ensure_future(connect(url(listening)).__aenter__())
        successor = await start(listening)
        client = await waiting
        assert '"welcome"' in str(await client.recv())
        await client.close()
        successor.kill()
        await successor.wait()
        await successor.close()


async def test_it_is_gone_soon_after_its_parent_with_a_word_to_its_connections() -> None:
    program = (
        "import asyncio, os\n"
        "from orchestrator.hub.listening import listen, parse_address\n"
        "from tests.hub.supervised import start\n"
        "async def main():\n"
        "    listening = listen(parse_address('127.0.0.1:0'))\n"
        "    child = await start(listening)\n"
        "    print(child.pid, listening.getsockname()[1], flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    async with asyncio.timeout(20):
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        pid, port = (await parent.stdout.readline()).decode().split()
        async with connect(f"ws://127.0.0.1:{port}/v1?token={token('a')}") as client:
            parent.kill()
            await parent.wait()
            clock = asyncio.get_running_loop().time
            orphaned = clock()
            assert '"going_away"' in str(await frames(client))
            await gone(int(pid))
            assert clock() - orphaned < 2.0
