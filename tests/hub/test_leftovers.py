"""What a connection leaves behind when it ends: nothing, and at once, without the garbage collector's help."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from orchestrator.hub.accepting import Accepting
from orchestrator.hub.connections import Connection
from orchestrator.hub.door import Door, Waiting
from orchestrator.hub.outbox import Outbox
from orchestrator.hub.socket_peer import SocketPeer
from orchestrator.hub.unfinished import Reader
from tests.hub.sockets import CLOSE, frame, raw_peer, server

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from orchestrator.hub.server import Server


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def come_and_go(hub: Server, name: str, *, politely: bool) -> None:
    async with raw_peer(hub.url, name) as peer:
        peer.say({"type": "subscribe", "channel": "x", "requestId": "r"})
        while (await peer.message())["type"] != "presence":
            pass
        peer.say({"type": "publish", "channel": "x", "data": 1, "requestId": "r"})
        assert (await peer.message())["type"] == "ack"
        if politely:
            peer.send(frame(CLOSE, b"\x03\xe8"))
            assert await peer.close_code() == 1000
    while hub._peers:
        hub._all_gone.clear()
        await hub._all_gone.wait()


def left() -> list[str]:
    return [type(one).__name__ for one in gc.get_objects() if type(one) in (Connection, Outbox, SocketPeer, Reader)]


@pytest.mark.one_hub("what other hubs hold is known a moment later")
@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("politely", [True, False])
def test_what_belonged_to_a_connection_goes_with_it_and_not_when_garbage_is_looked_for(politely: bool) -> None:
    async def scene() -> None:
        async with server() as hub:
            before = left()
            for number in range(5):
                await come_and_go(hub, f"p{number}", politely=politely)
            for _ in range(5):  # turns, in which the loop lets go of the transport
                await asyncio.sleep(0)
            assert left() == before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_socket_that_was_just_taken_ends_with_the_hub(new_loop: Callable[[], AbstractEventLoop]) -> None:
    """What would have led it to the door is cancelled before it began, and could have closed nothing."""

    async def scene() -> None:
        doors: list[Door] = []
        waiting = Waiting(0, patience=60.0)

        def door(source: str) -> Door:
            doors.append(Door(source, waiting, lambda _: None, lambda *_: None, lambda _: asyncio.Protocol()))
            return doors[-1]

        listening = socket.create_server(("127.0.0.1", 0))
        accepting = Accepting(listening, None, waiting, lambda _: None, door)
        with socket.create_connection(listening.getsockname()) as visitor:
            visitor.settimeout(5)
            while not doors:  # noqa: ASYNC110  # turn by turn: the next one would be too late
                await asyncio.sleep(0)
            await accepting.close()
            waiting.shut_all()
            await asyncio.sleep(0)
            assert visitor.recv(1) == b""

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())
