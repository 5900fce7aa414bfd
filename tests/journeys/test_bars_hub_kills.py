"""Hazard 51: a hub is killed again and again under a crowd of clients that talk, come and go, and is started anew.

Each time everybody is back with all of its subscriptions, everybody's rosters are the truth, and nothing that was acked
is missing between two messages of one connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import ClientSession
from yarl import URL

from bench.verdict import percentile
from orchestrator.hub import key_file
from orchestrator.protocol.globs import compiled, has_star
from orchestrator.protocol.tokens import Claims, mint
from tests.interop.hub_process import HubProcess, hub_process
from tests.journeys.crowd import LONGEST
from tests.runtime.processes import ENVIRONMENT, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MEMBERS: Final = 24
PROCESSES: Final = 2
ROOMS: Final = [f"room/{number}" for number in range(6)]
HALLS: Final = [f"hall/{number}" for number in range(4)]
"""Channels that members come to and leave, like the patterns that follow."""
COMINGS: Final = [*HALLS, "hall/*", "h**"]
PROBED: Final = [*ROOMS, *HALLS, "hall/else", *(f"desk/{number}/probe" for number in range(4))]
SEEN_WITHIN: Final = 5.0
"""Seconds after a kill."""
BACK_WITHIN: Final = 3.0
"""Seconds after a restart."""


def members(seed: int, keys: Path) -> list[dict[str, Any]]:
    key = key_file.load(keys).secret_keys[0].key()
    names = [f"m{number:02}" for number in range(MEMBERS)]
    exp = int(time.time()) + 3600
    return [
        {
            "name": name,
            "token": mint(key, Claims(sub=name, exp=exp, rate="unlimited")),
            "seed": seed + number,
            "repeats": number % 4 < 2,
            "fixed": [
                ROOMS[number % 6],
                ROOMS[(number + 1) % 6],
                f"desk/{number % 4}/*",
                *(["room/*"] if number % 5 == 0 else []),
                *(["**"] if number % 8 == 3 else []),
            ],
            "halls": COMINGS,
            "peers": [names[(number + step) % MEMBERS] for step in (1, 5, 12)],
            "channels": [ROOMS[number % 6], f"desk/{(number + 1) % 4}/{number}"],
        }
        for number, name in enumerate(names)
    ]


def reaches(text: str, name: str) -> bool:
    return compiled(text).matches(name) if has_star(text) else text == name


@dataclass
class Figures:
    kills: int = 0
    seen_after: list[float] = field(default_factory=list)
    """Seconds from a kill until everybody saw every roster as it is."""
    back_after: list[float] = field(default_factory=list)
    """Seconds from a restart until a member had all of its subscriptions."""

    def __str__(self) -> str:
        told: dict[str, float] = {"kills": self.kills}
        for name, values in (("rosters", self.seen_after), ("subscriptions", self.back_after)):
            told |= {f"{name}_p{share}_s": round(percentile(values, share / 100), 2) for share in (50, 90, 99, 100)}
        return json.dumps(told)


class Crowds:
    """The processes of the clients, each asked the same at the same time."""

    def __init__(self, processes: list[asyncio.subprocess.Process], order: list[list[dict[str, Any]]]) -> None:
        self._processes = processes
        self.everybody = [about for part in order for about in part]

    async def ask(self, what: str, *arguments: Any) -> list[dict[str, Any]]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps([what, *arguments]).encode() + b"\n")
        answers = [process.stdout.readline() for process in self._processes if process.stdout is not None]
        return [json.loads(answer) for answer in await asyncio.gather(*answers)]

    async def merged(self, what: str, *arguments: Any) -> dict[str, Any]:
        return {name: value for part in await self.ask(what, *arguments) for name, value in part.items()}


@asynccontextmanager
async def crowds(url: str, everybody: list[dict[str, Any]], first_delay: float) -> AsyncIterator[Crowds]:
    order = [everybody[number::PROCESSES] for number in range(PROCESSES)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.journeys.crowd"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=ENVIRONMENT,
            limit=LONGEST,
        )
        for _ in order
    ]
    try:
        for process, part in zip(processes, order, strict=True):
            assert process.stdin is not None
            first = {"url": url, "members": part, "first_delay": first_delay}
            process.stdin.write(json.dumps(first).encode() + b"\n")
        yield Crowds(processes, order)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


class Journey:
    """One hub after the other on the same socket, and what is true of the crowd after each."""

    def __init__(self, stack: AsyncExitStack, keys: Path, listening: socket.socket) -> None:
        self._stack, self._keys, self._listening = stack, keys, listening
        self._rest = ClientSession()
        self._secret = key_file.load(keys).secret_keys[0]
        self._probe = 0
        self.figures = Figures()

    async def start(self) -> None:
        number = self._listening.fileno()
        hub = hub_process(self._keys, f"fd:{number}", inherits=[number])
        self.hub: HubProcess = await self._stack.enter_async_context(hub)
        self.ready_at = time.monotonic()

    async def kill(self) -> None:
        self.hub.assert_healthy()
        self.killed_at = time.monotonic()
        self.hub.process.kill()
        self.figures.kills += 1
        await self.start()

    async def check(self, crowd: Crowds) -> None:
        wanted = await crowd.merged("settle")
        await self._check_rosters(crowd, wanted)
        await self._check_subscriptions(crowd, wanted)

    async def _check_rosters(self, crowd: Crowds, wanted: dict[str, list[str]]) -> None:
        truth = {channel: {name for name, texts in wanted.items() if channel in texts} for channel in (*ROOMS, *HALLS)}
        expected = {
            name: {text: sorted(truth.get(text, set()) - {name}) for text in texts} for name, texts in wanted.items()
        }
        for answer in await crowd.ask("see", expected, self.killed_at):
            self.figures.seen_after.append(answer["at"] - self.killed_at)
            self.figures.back_after += [at - self.ready_at for at in answer["whole_at"]]
        for channel, peers in truth.items():
            listed = await self._ask("GET", channel, "peers")
            assert {entry["peerId"] for entry in listed["peers"]} == peers

    async def _check_subscriptions(self, crowd: Crowds, wanted: dict[str, list[str]]) -> None:
        """Send a message on a channel of each kind: as many get it as should, and those who should."""
        expected: dict[str, list[str]] = {}
        for channel in PROBED:
            self._probe += 1
            probe = f"probe {self._probe}"
            hearers = [name for name, texts in wanted.items() if any(reaches(text, channel) for text in texts)]
            published = await self._ask("POST", channel, "publish", {"data": probe})
            assert published["delivered"] == len(hearers), (channel, hearers)
            for name in hearers:
                expected.setdefault(name, []).append(probe)
        assert await crowd.merged("hear", expected) == {}

    async def check_talk(self, crowd: Crowds) -> None:
        """After one number more on each flow, everybody has heard the last one of each, and no gap on the way."""
        told = await crowd.ask("finish")
        said = {name: flows for part in told for name, flows in part["said"].items()}
        expected: dict[str, dict[str, int]] = {name: {} for name in said}
        for sender, flows in said.items():
            for flow, number in flows.items():
                if flow[0] == "@":
                    expected[flow[1:]][sender] = number
                    continue
                for member in crowd.everybody:
                    if member["name"] != sender and any(reaches(text, flow) for text in member["fixed"]):
                        expected[member["name"]][f"{sender} {flow}"] = number
        await crowd.ask("have_heard", expected)
        assert [gap for part in told for gap in part["gaps"]] == []
        for part in told:
            assert set(part["problems"]["repeating"]) <= {"PeerNotFound"}, part["problems"]
            assert set(part["problems"]["failing"]) <= {"PeerNotFound", "ConnectionLost", "NotConnected"}
        assert sum(number for flows in said.values() for number in flows.values()) > 10 * MEMBERS * self.figures.kills

    async def _ask(self, method: str, channel: str, what: str, body: Any = None) -> Any:
        url = URL(f"{self.hub.http}/v1/channels/{channel}/{what}", encoded=True)
        headers = {"Authorization": f"Bearer {self._secret.id}:{self._secret.secret}"}
        async with self._rest.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def close(self) -> None:
        await self._rest.close()


async def kill_under_load(folder: Path, seed: int, kills: int, together: int, first_delay: float) -> Figures:
    """Kill a hub so many times, at most `together` of them between two looks at everything."""
    rng = random.Random(seed)
    keys = folder / "keys.yaml"
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        with key_file.changed(keys) as content:
            content.secret_keys.append(key_file.SecretEntry("sk_id_kills", "sk_secret_" + "k" * 32, rate="unlimited"))
        journey = Journey(stack, keys, listening)
        stack.push_async_callback(journey.close)
        await journey.start()
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        crowd = await stack.enter_async_context(crowds(url, members(seed, keys), first_delay))
        await crowd.ask("begin")
        while journey.figures.kills < kills:
            await crowd.ask("go")
            for _ in range(min(rng.randint(1, together), kills - journey.figures.kills)):
                await asyncio.sleep(rng.uniform(0.0, 0.3 if together == 1 else 1.0))  # a kill comes at any moment
                await journey.kill()
            async with asyncio.timeout(60):
                await journey.check(crowd)
        await crowd.ask("go")
        async with asyncio.timeout(60):
            await crowd.ask("settle")
            await journey.check_talk(crowd)
        await crowd.ask("end")
        journey.hub.assert_healthy()
    return journey.figures


@pytest.mark.journey
async def test_hazard_51_after_five_kills_under_load_everybody_is_back_and_every_roster_is_the_truth(
    tmp_path: Path,
) -> None:
    figures = await kill_under_load(tmp_path, seed=51, kills=5, together=1, first_delay=0.3)
    assert figures.kills == 5
    assert max(figures.seen_after) <= SEEN_WITHIN, figures
    assert max(figures.back_after) <= BACK_WITHIN, figures


@pytest.mark.bars
async def test_hazard_51_after_a_hundred_kills_under_load_everybody_is_back_and_every_roster_is_the_truth(
    tmp_path: Path,
) -> None:
    figures = await kill_under_load(tmp_path, seed=100, kills=100, together=3, first_delay=1.0)
    print(figures)
    assert figures.kills == 100
    assert max(figures.seen_after) <= SEEN_WITHIN, figures
    assert max(figures.back_after) <= BACK_WITHIN, figures
