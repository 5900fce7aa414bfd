"""Connections that end, and callers who give up, in the turn of the event loop in which nobody expects it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.client.connection import Client
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionLost, HubUnreachable, NotConnected, TokenUnavailable
from tests.client.rig import Rig
from tests.client.scripted import SAFETY, ScriptedHub
from tests.client.test_renewal_steps import WELCOME, asked, lose_first

NOBODY = "ws://127.0.0.1:9"


async def token() -> str:
    return "t"


async def test_a_payload_in_parts_fails_when_the_connection_ends_as_it_is_written() -> None:
    async with ScriptedHub() as hub:
        client = Client(hub.url, token_provider=token, reconnect=ReconnectPolicy(initial=0.01))
        connecting = asyncio.create_task(client.connect())
        caller = await hub.welcomed(maxMessageSize=1_000)
        await connecting
        link = client._session.link
        assert link is not None
        publishing = asyncio.create_task(client.publish("c", "x" * 5_000, in_parts=True))
        asyncio.get_running_loop().call_soon(client._driver._lost, link.epoch, 1006, "gone")
        async with asyncio.timeout(SAFETY):
            with pytest.raises(ConnectionLost):
                await publishing
        caller.cut()
        await client.close()
        assert client._driver.idle


async def test_callers_who_waited_in_vain_for_a_connection_leave_nothing_behind() -> None:
    client = Client(NOBODY, token_provider=token, daemon=True, reconnect=ReconnectPolicy(initial=30.0))
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    for _ in range(20):
        with pytest.raises(NotConnected, match=r"within 0\.001 s"):
            await client.publish("c", 1, when_disconnected="wait", deadline=0.001)
    assert len(client._driver._hopeful) == 1
    connecting.cancel()
    await asyncio.wait([connecting])


async def test_a_hub_that_nobody_runs_is_said_to_refuse_connections() -> None:
    with pytest.raises(HubUnreachable, match=r"failed: Connection refused$"):
        await Client(NOBODY, token_provider=token).connect()


@pytest.mark.parametrize("wish", ["waite", None, True])
async def test_a_misspelt_wish_is_refused(wish: Any) -> None:
    client = Client(NOBODY, token_provider=token)
    with pytest.raises(ValueError, match="when_disconnected is 'fail' or 'wait'"):
        await client.publish("c", 1, when_disconnected=wish)
    with pytest.raises(ValueError, match="when_disconnected is 'fail' or 'wait'"):
        await client.send("b", 1, when_disconnected=wish)


@pytest.mark.parametrize("name", [5, None, b"c", ["c"]])
async def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    client = Client(NOBODY, token_provider=token)
    with pytest.raises(ValueError, match="a channel name has"):
        await client.publish(name, 1)
    with pytest.raises(ValueError, match="a channel name has"):
        await client.subscribe(name)
    with pytest.raises(ValueError, match="a peer id has"):
        await client.send(name, 1)


@pytest.mark.parametrize("option", ["api_key", "token"])
def test_a_secret_key_is_no_credential_of_a_client_and_goes_nowhere(option: str) -> None:
    options: dict[str, Any] = {option: "sk_id_a:sk_secret_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}
    with pytest.raises(ValueError, match="secret key") as refused:
        Client(NOBODY, **options)
    assert "bbbb" not in str(refused.value)


async def test_a_provider_of_a_secret_key_fails_the_attempt() -> None:
    async def provider() -> str:
        return "sk_id_a:sk_secret_bbbb"

    async with ScriptedHub() as hub:
        with pytest.raises(TokenUnavailable, match="secret key") as refused:
            await Client(hub.url, token_provider=provider).connect()
        assert (hub.accepted, "bbbb" in str(refused.value)) == (0, False)


async def test_a_provider_that_is_no_async_function_is_told_so() -> None:
    provider: Any = lambda: "t"  # noqa: E731
    with pytest.raises(TokenUnavailable, match="no async function"):
        await Client(NOBODY, token_provider=provider).connect()


def test_what_a_hub_asked_of_a_connection_that_was_continued_does_not_delay_the_next_one() -> None:
    rig: Rig = asked()
    rig.hear_on(1, "going_away", retryAfterMs=60_000)
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    lose_first(rig, 1000)
    rig.lose()
    assert rig.next_attempt() <= 1.0
