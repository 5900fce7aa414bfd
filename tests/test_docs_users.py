"""Every example of docs/users.md does what the document says, against a hub and the peers that it speaks to."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import User
from tests.client.test_with_hub import Hubs, provider, running
from tests.runtime.users import user

DOCUMENT = Path(__file__).parents[1] / "docs" / "users.md"
FENCES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
EXAMPLES = {re.findall(r"^async def (\w+)", fence, re.MULTILINE)[-1]: fence for fence in FENCES}

Example = Callable[..., Coroutine[Any, Any, Any]]
Examples = Callable[[str], Example]


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


@pytest.fixture
def example(tmp_path: Path) -> Examples:
    """The function that an example defines, by its name."""

    def read(name: str) -> Example:
        file = tmp_path / "example.py"
        file.write_text(EXAMPLES[name], encoding="utf-8")
        found: Example = runpy.run_path(str(file))[name]
        return found

    return read


async def answer(boss: User) -> None:
    async for asked in boss.directs():
        if asked.data["type"] == "ask":
            chunk = {"type": "completion-chunk", "streamId": asked.data["taskId"]}
            await boss.send(asked.sender, {**chunk, "seq": 0, "content": "Nothing.", "done": False})
            await boss.send(asked.sender, {**chunk, "seq": 1, "content": "", "done": True})
            return


async def started(hubs: Hubs, example: Example) -> asyncio.Task[Any]:
    return asyncio.create_task(example(hubs.url, await provider("me")()))


async def test_ask(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "desk") as desk:
        answering = asyncio.create_task(answer(desk))
        assert await (await started(hubs, example("ask"))) == "Nothing."
        await answering


async def test_first_alarm(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "s1", rate="unlimited") as sensor, sensor.subscribe("alarms") as alarms:
        shown = await started(hubs, example("first_alarm"))
        await reached(sensor, "readings/attic", {"sensor": "s1", "celsius": 20})
        await sensor.publish("readings/attic", {"sensor": "s1", "celsius": 31})
        assert (await anext(alarms)).data == {"where": "readings/attic", "said": "s1"}
        assert (await shown).celsius == 31


async def reached(sender: User, channel: str, data: object) -> None:
    """Publish until somebody gets it: a subscription to a pattern is seen in no roster."""
    while not await sender.publish(channel, data):
        pass


async def test_echo(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "w") as other, other.directs() as replies, other.subscribe("services") as services:
        shown = await started(hubs, example("echo"))
        echo = (await anext(services)).sender
        await other.send(echo, "hello")
        assert (await anext(replies)).data == {"you said": "hello"}
        await other.send(echo, "stop")
        await shown


@pytest.mark.one_hub("a visit that is over before other hubs were told is not told")
async def test_doorkeeper(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "a", peer_metadata={"name": "Ada"}) as ada, ada.subscribe("lobby") as heard:
        shown = await started(hubs, example("doorkeeper"))
        assert (await anext(heard)).data == "Good day!"
        async with user(hubs, "c") as c, c.subscribe("lobby"):
            pass
        async with user(hubs, "boss") as boss, boss.subscribe("lobby"):
            assert await shown == ["1 here: ['Ada']", "c came", "c went (left)", "boss came"]


async def test_journal(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "w") as watcher, watcher.subscribe("journals") as begun:
        shown = asyncio.create_task(example("journal")(hubs.url, provider("me")))
        await anext(begun)
        await hubs.stop()
        await hubs.start()
        said = await shown
    assert said == ["gone with 1001, coming back: True", "back as me", "may have missed something on news"]


async def test_patient(hubs: Hubs, example: Examples) -> None:
    async with user(hubs, "w") as other, other.subscribe("ready") as ready:
        shown = await started(hubs, example("patient"))
        await anext(ready)
        for number in range(5):
            await other.publish("ticks", number)
        await other.publish("done", True)
        assert await shown == [0, 1, "missed 3"]


def test_every_example_is_run_by_a_test() -> None:
    assert [name for name in EXAMPLES if f"test_{name}" not in globals()] == []
    assert len(EXAMPLES) == len(FENCES) > 5


def test_every_name_that_the_document_imports_is_public() -> None:
    names = re.findall(r"from orchestrator import (.*)", DOCUMENT.read_text(encoding="utf-8"))
    assert {name.strip() for line in names for name in line.split(",")} <= set(orchestrator.__all__)
