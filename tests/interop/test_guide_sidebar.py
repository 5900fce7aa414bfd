"""A sidebar on the stock JavaScript `MeteredPeer`, among the agents of a real run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from orchestrator import Left
from tests.interop.test_guide_programs import GUIDE, SAFETY, node, started, token_file, topology, working
from tests.journeys.running import who

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.interop.test_guide_programs import Crew

pytestmark = pytest.mark.journey

LOBBY = "agents-lobby"
NEWSROOM = """\
version: 1
hub: {key: '${KEY}', listen: '127.0.0.1:0'}
agents:
  reviewer:
    handler: agents.doorkeeper:Guest
    name: Code Reviewer
    capabilities: [typescript, react]
    replicas: 2
    restart: {delay: 100ms}
  mortal: {handler: agents.doorkeeper:Guest, name: The Mortal, restart: {condition: never}}
  doorkeeper: {handler: agents.doorkeeper:Doorkeeper}
presence:
  hall: {channel: agents-lobby, members: [reviewer, mortal], watchers: [doorkeeper, sidebar, reader]}
users:
  sidebar: {}
  reader: {}
"""
REVIEWER = "Code Reviewer: typescript, react"
EVERYBODY = {"reviewer.1": REVIEWER, "reviewer.2": REVIEWER, "mortal": "The Mortal: "}


@dataclass
class Sidebar:
    """What the program has shown."""

    process: asyncio.subprocess.Process
    shown: list[dict[str, str]] = field(default_factory=list)

    async def until(self, wanted: dict[str, str]) -> None:
        """Read on until exactly this is shown."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SAFETY):
            while not self.shown or self.shown[-1] != wanted:
                line = await self.process.stdout.readline()
                assert line, "the sidebar has ended"
                if line != b"here\n":
                    self.shown.append(json.loads(line))


@asynccontextmanager
async def sidebar(crew: Crew) -> AsyncIterator[Sidebar]:
    environ = crew.outside("sidebar", await token_file(crew.file, "sidebar", "--sub", "browser"))
    process = await started(node(), str(GUIDE / "sidebar.mjs"), LOBBY, environ=environ)
    try:
        yield Sidebar(process)
    finally:
        if process.returncode is None:
            process.terminate()
        _, errors = await process.communicate()
        assert errors == b""


async def test_a_sidebar_shows_our_agents_as_they_come_and_go(tmp_path: Path) -> None:
    node()
    async with working(topology(tmp_path, NEWSROOM)) as crew:
        await crew.run.ready()
        async with sidebar(crew) as shown, crew.connected("reader") as user, user.presence(LOBBY) as roster:
            await shown.until(EVERYBODY)
            assert {peer.id: f"{peer.name}: {', '.join(peer.capabilities)}" for peer in roster} == EVERYBODY
            before = crew.run.pids()

            os.kill(before["mortal"], signal.SIGKILL)
            rest = {peer: text for peer, text in EVERYBODY.items() if peer != "mortal"}
            await shown.until(rest)
            async with asyncio.timeout(SAFETY):
                change = await anext(roster)
            assert (change.peer.id, isinstance(change, Left) and change.reason) == ("mortal", "lost")

            seen, shown.shown = len(crew.run.records), []
            os.kill(before["reviewer.1"], signal.SIGKILL)
            await shown.until({"reviewer.2": REVIEWER})
            await crew.run.until(lambda record: who(record) == "reviewer.1" and record["event"] == "ready", after=seen)
            await shown.until(rest)
            assert [peer.id for peer in await roster.wait_for("reviewer", count=2, timeout=SAFETY)] == [
                "reviewer.1",
                "reviewer.2",
            ]
            assert shown.shown == [{"reviewer.2": REVIEWER}, rest], "each change once, and watchers never"
