"""One topology run in two parts, as on two machines, and what others see of it meanwhile."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.journeys.operating import command
from tests.journeys.running import running, who

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journeys.running import Running

pytestmark = pytest.mark.journey

HANDLERS = """\
from collections.abc import AsyncIterator
from orchestrator import StreamTask, Task, Workers, agent, task


class Shout(Task[str]):
    word: str


class Say(StreamTask[str]):
    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        async for loud in self.workers.map([Shout(word=word) for word in ask.prompt.split()], ordered=True):
            yield loud + " "


@agent
class Helper:
    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        return job.word.upper()
"""
TOPOLOGY = """\
version: 1
hub: {key: "${PART_KEY}", listen: "127.0.0.1:${PORT}"}
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(HANDLERS)
    (tmp_path / "farm.yaml").write_text(TOPOLOGY)
    return tmp_path


@pytest.fixture
def environ() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {"PART_KEY": f"sk_id_part:sk_secret_{secrets.token_hex(32)}", "PORT": str(port)}


async def shown(folder: Path, run: Running) -> dict[str, tuple[str, str]]:
    """Where each replica is, and how it is, as `ps` has it of this run."""
    code, said = await command("ps", "farm.yaml", "--json", folder=folder)
    assert code == 0
    views = [json.loads(line) for line in said.splitlines()]
    [view] = [view for view in views if view["pid"] == run.pid]
    return {row["peer"]: (row["where"], row["state"]) for row in view["replicas"]}


def answered(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_two_parts_are_one_topology(folder: Path, environ: dict[str, str]) -> None:
    url = f"ws://127.0.0.1:{environ['PORT']}"
    words = ("--ask", "boss", "hello from elsewhere")
    async with running("farm.yaml", "--except", "helper", *words, directory=folder, environ=environ) as first:
        hub = await first.until(lambda record: record["event"] == "ready" and who(record) == "hub")
        assert hub["url"] == url
        awaited = await shown(folder, first)
        assert awaited["helper.1"] == ("elsewhere", "awaited")
        here = await first.until(lambda record: "ready here in" in record["event"])
        assert "1 replica ready here" in here["event"]
        assert "expected elsewhere: helper.1, helper.2" in here["event"]
        assert await asyncio.to_thread(answered, f"{url.replace('ws', 'http')}/readyz") == (200, "ready\n")
        assert (await asyncio.to_thread(answered, f"{url.replace('ws', 'http')}/healthz"))[0] == 200

        async with running("farm.yaml", "--only", "helper", "--hub", url, directory=folder, environ=environ) as second:
            assert await first.ended() == 0
            assert first.answer.split() == ["HELLO", "FROM", "ELSEWHERE"]
            [ready] = [record for record in first.records if "ready in" in record["event"]]
            assert ready["event"].startswith("3 replicas ready in")
            second.process.send_signal(signal.SIGINT)
            await second.ended()
    assert {who(record) for record in second.with_event("ready")} == {"helper.1", "helper.2"}


@pytest.mark.bars
async def test_a_part_shows_the_planned_whole(folder: Path, environ: dict[str, str]) -> None:
    url = f"ws://127.0.0.1:{environ['PORT']}"
    async with running("farm.yaml", "--only", "boss", directory=folder, environ=environ) as first:
        await first.until(lambda record: record["event"] == "ready" and who(record) == "hub")
        async with running("farm.yaml", "--only", "helper", "--hub", url, directory=folder, environ=environ):
            await first.ready()
            rows = await shown(folder, first)
            assert rows == {
                "(hub)": ("here", "ready"),
                "boss": ("here", "ready"),
                "helper.1": ("elsewhere", "ready"),
                "helper.2": ("elsewhere", "ready"),
            }
            status, said = await asyncio.to_thread(answered, f"{url.replace('ws', 'http')}/readyz")
            assert (status, said) == (200, "ready\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "helpr"], "--only: there is no agent 'helpr' (did you mean 'helper'?)"),
        (["--except", "boss,helper"], "nothing is left to run here"),
        (["--only", ","], "',' holds an empty name"),
        (["--hub", "http://x"], "expected a URL that begins with ws:// or wss://"),
    ],
)
async def test_a_part_that_there_is_not_starts_nothing(
    folder: Path, environ: dict[str, str], words: list[str], sentence: str
) -> None:
    async with running("farm.yaml", *words, directory=folder, environ=environ) as run:
        assert await run.ended() == 2
    assert sentence in run.said()
    assert run.pids() == {}


@pytest.mark.bars
async def test_a_start_that_is_refused_names_the_run_that_has_the_agents(folder: Path, environ: dict[str, str]) -> None:
    async with running("farm.yaml", directory=folder, environ=environ) as first:
        await first.ready()
        other: dict[str, Any] = {**environ, "PORT": "0"}
        async with running("farm.yaml", directory=folder, environ=other) as second:
            assert await second.ended() == 1
    assert f"runs already: process {first.pid}" in second.said()
