"""§21.66 by the clock: who says nothing for more than five minutes is still there, and still hears."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.interop.environments import CLIENTS
from tests.interop.programs import running

if TYPE_CHECKING:
    from tests.interop.hub_process import HubProcess

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.bars]

IDLE = 310.0


async def test_66_clients_that_say_nothing_for_five_minutes_are_still_connected(hub: HubProcess) -> None:
    async with AsyncExitStack() as stack:
        peers = {}
        for client in CLIENTS:
            program = await stack.enter_async_context(running(client, safety=IDLE + 60))
            peers[client] = await program.open(client, hub.url, token=hub.token(client))
            await peers[client].subscribe("room")
        await asyncio.sleep(IDLE)
        program = await stack.enter_async_context(running("ours"))
        speaker = await program.open("speaker", hub.url, token=hub.token("speaker"))
        await speaker.publish("room", "still here?")
        for client, peer in peers.items():
            assert (await peer.next("message"))["data"] == "still here?", client
            assert not [event for event in peer.told if event["event"] == "disconnected"], client
