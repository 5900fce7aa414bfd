"""The stock Python SDK, unmodified, against a real hub process."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.interop.hub_process import PAGE_KEY, HubProcess, hub_process
from tests.interop.python_sdk import SdkUnavailable, sdk_peer, sdk_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def _sdk() -> None:
    try:
        sdk_python()
    except SdkUnavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with asyncio.timeout(40), hub_process(tmp_path / "keys.yaml") as running:
        yield running


async def test_1_both_credentials_connect_under_every_name_of_this_machine(hub: HubProcess) -> None:
    port = hub.url.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1"):
        async with sdk_peer(f"ws://{host}:{port}", token=hub.token("a")) as peer:
            connected = await peer.next("Connected")
            assert (connected["peer_id"], connected["max_message_size"]) == ("a", 65_536)
    async with sdk_peer(hub.url, api_key=PAGE_KEY) as peer:
        connected = await peer.next("Connected")
        assert (len(connected["peer_id"]), connected["expires_at"]) == (36, None)


async def test_a_refused_token_reaches_the_sdk_with_its_code(hub: HubProcess) -> None:
    async with sdk_peer(hub.url, token=hub.token("a") + "x") as peer:
        assert (await peer.next("failed"))["code"] == 4001


async def test_messages_directs_and_presence_reach_each_other(hub: HubProcess) -> None:
    async with (
        sdk_peer(hub.url, token=hub.token("a", peer_metadata={"name": "A"})) as a,
        sdk_peer(hub.url, token=hub.token("b")) as b,
    ):
        await a.do("subscribe", channel="team/42", metadata=True)
        assert (await a.next("Presence"))["joined"] == []
        await b.do("subscribe", channel="team/42", metadata=True)
        seen = (await b.next("Presence"))["joined"]
        assert [(entry["peer_id"], entry["metadata"]) for entry in seen] == [("a", {"name": "A"})]
        assert [entry["peer_id"] for entry in (await a.next("Presence"))["joined"]] == ["b"]

        payload = {"text": "größer 💡", "n": 2**53 + 1, "none": None}
        await a.do("publish", channel="team/42", data=payload)
        message = await b.next("Message")
        assert (message["channel"], message["sender_peer_id"], message["data"]) == ("team/42", "a", payload)
        assert message["sender_metadata"] == {"name": "A"}

        await a.do("send", to="b", data="hello")
        direct = await b.next("Direct")
        assert (direct["sender_peer_id"], direct["data"]) == ("a", "hello")
        assert direct["sender_metadata"] == {"name": "A"}

        await b.do("unsubscribe", channel="team/42")
        assert [entry["peer_id"] for entry in (await a.next("Presence"))["left"]] == ["b"]


async def test_36_the_largest_payload_passes_and_refusals_keep_the_connection(hub: HubProcess) -> None:
    async with (
        sdk_peer(hub.url, token=hub.token("a", channels=("x",))) as a,
        sdk_peer(hub.url, token=hub.token("b")) as b,
    ):
        await b.do("subscribe", channel="x")
        await a.do("publish", channel="x", data="y" * 65_534)
        assert len((await b.next("Message"))["data"]) == 65_534
        await a.ask("subscribe", channel="other")
        assert (await a.next("refused"))["code"] == "channel_not_authorized"
        await a.ask("send", to="nobody", data=1)
        assert (await a.next("refused"))["code"] == "peer_not_found"
        await a.do("send", to="b", data=1)


async def test_68_the_sdk_comes_back_after_a_restart_of_the_hub_with_its_subscriptions(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    async with asyncio.timeout(40):
        async with hub_process(keys) as first:
            token, address = first.token("a"), first.url.removeprefix("ws://")
            async with sdk_peer(first.url, token=token) as a:
                await a.next("Connected")
                await a.do("subscribe", channel="x")
                assert await first.stop() == 0
                assert (await a.next("GoingAway"))["retry_after_ms"] == 1000
                assert (await a.next("Disconnected"))["code"] == 1001
                async with hub_process(keys, address) as second, sdk_peer(second.url, token=second.token("b")) as b:
                    assert (await a.next("Connected"))["is_reconnect"] is True
                    await b.do("subscribe", channel="x")
                    await b.do("publish", channel="x", data="again")
                    assert (await a.next("Message"))["data"] == "again"
