"""A replay as a dashboard meets it: signed in, found among the runs, watched, and moved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived
from orchestrator.hub.record_file import create
from orchestrator.hub.record_lines import encode_line
from orchestrator.hub.record_reading import Recording
from orchestrator.protocol.dashboard import RUNS
from orchestrator.protocol.frames import encode_json
from orchestrator.runtime.replay_player import Player
from orchestrator.runtime.replay_server import show
from tests.runtime.test_replaying import OUTLINE, hub, story


class Page:
    """What the page does, without a browser."""

    def __init__(self, client: Client, link: str) -> None:
        self.client, self.link = client, link
        self._events = client.events()

    async def next(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            async for event in self._events:
                if isinstance(event, DirectReceived):
                    said = json.loads(bytes(event.data))
                    if said["type"] == kind:
                        return dict(said)
        raise AssertionError("the hub is gone")

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        request = {"type": "run-request", "id": "1", "do": do, "arguments": arguments}
        await self.client.send("(run)/replay", request)
        return await self.next("run-answer")

    async def until(self, position: float) -> dict[str, Any]:
        while True:
            update = await self.next("run-update")
            if update["position"] >= position:
                return update


@pytest_asyncio.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    path = tmp_path / "run.jsonl"
    create(path, encode_json(OUTLINE))
    began = Recording(path).heading.began
    with path.open("ab") as file:
        for line in [hub(wall=began + 1), *story()[1:]]:
            file.write(encode_line(line) + b"\n")
    link: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    showing = asyncio.create_task(show(Player(Recording(path), speed=1.0), port=0, ready=link.set_result))
    try:
        async with asyncio.timeout(10):
            where, _, code = (await link).partition("/#code=")
        async with ClientSession() as session, session.post(f"{where}/session", json={"code": code}) as answer:
            assert answer.status == 200
            granted = await answer.json()

        async def token() -> str:
            return str(granted["token"])

        async with Client(where.replace("http", "ws", 1), token_provider=token) as client:
            yield Page(client, await link)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def test_a_dashboard_finds_the_recording_in_the_place_of_a_run(page: Page) -> None:
    await page.client.subscribe(RUNS)
    async for event in page._events:
        if "(run)/replay" in repr(event):
            break
    await page.client.send("(run)/replay", {"type": "watch"})
    outline = await page.next("run-outline")
    assert outline["replay"]["seconds"] == pytest.approx(10.5, abs=0.01)
    assert [agent["name"] for agent in outline["agents"]] == ["lead", "reviewer"]
    whole = await page.next("run-update")
    assert whole["whole"]
    assert whole["position"] < 1.0


async def test_it_is_played_at_any_speed_and_from_any_moment(page: Page) -> None:
    await page.client.send("(run)/replay", {"type": "watch"})
    await page.next("run-update")
    assert (await page.ask("play", speed=1000))["result"]["speed"] == 1000
    ended = await page.until(10.5)
    assert ended["position"] == pytest.approx(10.5, abs=0.01)
    answer = await page.ask("play", position=5.6, paused=True)
    assert answer["result"] == {"speed": 1000, "paused": True, "position": 5.6}
    whole = await page.next("run-update")
    assert (whole["whole"], whole["position"]) == (True, 5.6)
    assert [task["state"] for task in whole["tasks"]] == ["running"]
    await page.ask("play", paused=False)
    assert (await page.until(10.5))["tasks"][-1]["state"] == "failed"


@pytest.mark.parametrize("do", ["retry", "cancel", "restart", "scale", "tasks"])
async def test_what_has_happened_is_not_changed(page: Page, do: str) -> None:
    answer = await page.ask(do, ids=["t1"])
    assert "what has happened cannot be changed" in answer["error"]


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"speed": 0}, "play: speed is a number from 0.1 to 1000"),
        ({"speed": 1e9}, "play: speed is a number from 0.1 to 1000"),
        ({"sped": 1}, "play: Object contains unknown field `sped`; it takes speed, paused and position"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_answered_with_a_sentence(
    page: Page, wish: dict[str, Any], sentence: str
) -> None:
    assert (await page.ask("play", **wish))["error"] == sentence


async def test_a_link_is_good_once(page: Page) -> None:
    where, _, code = page.link.partition("/#code=")
    async with ClientSession() as session, session.post(f"{where}/session", json={"code": code}) as answer:
        assert answer.status == 401
