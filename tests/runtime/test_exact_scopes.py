"""Derived scopes are exactly enough: with all of them nothing is refused, and without any one of them something is."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from agents.code_desk import Narrate, ReviewFile
from agents.factors import Factor
from agents.newsroom import Research, Shout, Write
from agents.source_report import summarise
from orchestrator import User
from tests.runtime.scoped import HELD, Grant, Scene, grants_of, outcome, plan_of, scene

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 3.0
"""Seconds in which a journey without a pattern has not come to its end if something is missing."""

Journey = Callable[[Scene], Awaitable[bool]]


GUESTS: Final = {"guest.1", "guest.2", "guest.3"}
LARGE: Final = 9_999_999_999_971
"""A prime that takes a moment to be found one."""


async def dispatch(run: Scene) -> bool:
    """Ask in words and by task, and leave an answer half way."""
    answered = "60 = 2 * 2 * 3 * 5" in await run.ask("boss", "4 7 15 60")
    async with run.user() as user:
        found = await user.run("helper", Factor(number=15))
        words = user.stream("boss", f"8 {LARGE}")
        assert await anext(words) == "8 = 2 * 2 * 2\n"
        await words.aclose()  # type: ignore[attr-defined]
        await run.quiet()
        return answered and found.primes == [3, 5]


async def stream(run: Scene) -> bool:
    return len(await run.ask("teller", "a tale")) > 100


async def team(run: Scene) -> bool:
    """Have everybody see all members, then have something built."""
    everybody = set(run.replicas)
    for peer, replica in run.replicas.items():
        await run.until(lambda peer=peer, replica=replica: {*replica.workload.target.site.members, peer} == everybody)  # type: ignore[misc]
    answer = await run.ask("foreman", "bricks mortar windows roof")
    return len(set(re.findall(r"built (\w+)", answer))) == 4


async def presence(run: Scene) -> bool:
    hall = run.replicas["doorkeeper"].workload.target.hall
    await run.until(lambda: hall.peers.keys() == GUESTS)
    return set(re.findall(r"(guest\.\d) is here", await run.ask("doorkeeper", "guest"))) == GUESTS


async def everything(run: Scene) -> bool:
    """Ask everybody, as the reader too, see who is there, and leave each step of a piece half way."""
    editor = run.replicas["editor"].workload.target
    await run.until(lambda: editor.desk.members.keys() == {"checker.1", "checker.2"})
    for peer in ("checker.1", "checker.2"):
        desk = run.replicas[peer].workload.target.desk
        await run.until(lambda desk=desk, peer=peer: {*desk.members, peer} == {"editor", "checker.1", "checker.2"})  # type: ignore[misc]
    hall = run.replicas["concierge"].workload.target.lobby
    await run.until(lambda: len(hall.peers) == 6)
    done = "Confirmed by" in await run.ask("editor", "rivers")
    async with run.user("reader") as reader, reader.presence("agents-lobby") as roster:
        done = done and len(roster) == 6
        done = (
            done
            and "Confirmed by" in await reader.ask("editor", "seas")
            and "editor" in await reader.ask("concierge", "e")
        )
    async with run.user() as cli:
        fact = await cli.run("researcher", Research(topic="ponds"))
        words = [word async for word in cli.stream("writer", Write(headline="!", facts=(fact,)))]
        done = done and bool(words) and "editor" in await cli.ask("concierge", "editor")
        done = done and await cli.run("headline", Shout(text="loud")) == "LOUD!"
        await _left(run, cli, "editor", "lakes, seas", "research", "researcher.1", "researcher.2")
        await _left(run, cli, "editor", "lakes, seas", "write", "writer")
        await _left(run, cli, "editor", HELD)
    return done


async def tour(run: Scene) -> bool:
    """Have source reviewed, ask everybody who takes anything, and leave each step of a review half way."""
    checkers = {"checker.1", "checker.2"}
    desk = run.replicas["lead"].workload.target.desk
    await run.until(lambda: desk.members.keys() == checkers)
    for peer in checkers:
        of_checker = run.replicas[peer].workload.target.desk
        await run.until(lambda desk=of_checker, peer=peer: {*desk.members, peer} == {"lead", *checkers})  # type: ignore[misc]
    lobby = run.replicas["concierge"].workload.target.lobby
    await run.until(lambda: len(lobby.peers) == 7)
    source = str(ROOT / "agents" / "code_desk.py")
    done = "Looking again at the 1 file" in await run.ask("lead", source)
    async with run.user() as cli:
        report = await cli.run("reviewer", ReviewFile(path=source, name="code_desk.py"))
        words = [word async for word in cli.stream("narrator", Narrate(summary=summarise("it", [report])))]
        done = done and bool(words) and report.functions > 10
        await _left(run, cli, "lead", source, "review", "reviewer.1", "reviewer.2", "reviewer.3")
        await _left(run, cli, "lead", source, "narrate", "narrator")
    return done


async def _left(run: Scene, cli: User, asked: str, prompt: str, method: str = "", *held: str) -> None:
    """Leave an agent while one of the replicas `held`, or else the program, has something of it in its hands."""
    begun, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    async def hold(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def hold_words(*_: object) -> AsyncIterator[str]:
        await hold()
        yield ""

    def hold_thread(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        released.wait(20.0)

    targets = [run.replicas[peer].workload.target for peer in held]
    for target in targets:
        handler = getattr(target, method)
        streams, waits = inspect.isasyncgenfunction(handler), inspect.iscoroutinefunction(handler)
        setattr(target, method, hold_words if streams else hold if waits else hold_thread)
    asking = asyncio.create_task(cli.ask(asked, prompt))
    await (begun.wait() if held else run.until(lambda: prompt in run.asked))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    if asked in run.replicas:
        await run.quiet(asked)  # or those that it asked might be done before it tells them to stop
    released.set()
    for target in targets:
        delattr(target, method)
    await run.quiet()


JOURNEYS: Final[dict[str, Journey]] = {
    "examples": tour,
    "everything": everything,
    "dispatch": dispatch,
    "stream": stream,
    "team": team,
    "presence": presence,
}
FILES: Final = {"examples": ROOT / "examples.yaml"}
PLANS: Final = {name: plan_of(FILES.get(name, ROOT / "topologies" / f"{name}.yaml")) for name in JOURNEYS}
BY_HAND: Final = ("audit/drafts",)
CASES: Final = [(name, grant) for name in JOURNEYS for grant in grants_of(PLANS[name], BY_HAND)]
SAMPLED: Final = 4
"""Of so many cases one is tried where it may not take long."""
SILENT: Final = [grant for _, grant in CASES if grant.kind == "presence" and grant.pattern.endswith("/state")]
"""Without these nothing is refused: somebody stays unseen until the patience is over. One of them stands for the others
where it may not take long."""


@pytest.mark.parametrize("name", JOURNEYS)
async def test_with_all_derived_scopes_nothing_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(PLANS[name], None, monkeypatch) as run:
        assert await outcome(run, JOURNEYS[name], 20.0) is None


MEETING = pytest.mark.one_hub("two checkers need each other only when they meet in the same instant")


@pytest.mark.parametrize(
    ("name", "grant"),
    [
        pytest.param(
            name,
            grant,
            id=f"{name}: {grant}",
            marks=[
                *([pytest.mark.bars] if grant in SILENT[1:] or number % SAMPLED else []),
                *([MEETING] if str(grant) == "checker send checker.*" else []),
            ],
        )
        for number, (name, grant) in enumerate(CASES)
    ],
)
async def test_without_any_one_pattern_something_is_refused_or_missing(
    name: str, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(PLANS[name], grant, monkeypatch) as run:
        assert await outcome(run, JOURNEYS[name], PATIENCE) is not None
