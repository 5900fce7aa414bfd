"""The tour, as a newcomer runs it: real processes, a real hub, the source of the running interpreter."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.agents.independent import tally
from tests.journeys.running import Running, descendants, running, who

pytestmark = pytest.mark.journey

ASYNCIO = Path(asyncio.__file__).parent
SECRETS = re.compile(rb"sk_secret_|eyJ[A-Za-z0-9_-]{10,}\.")
"""The beginnings of every secret key and of every token."""


def shown_by(pid: int) -> dict[str, bytes]:
    """What every user of the machine, or every process of this user, can read of a process."""
    return {name: Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")}


def files_of(run: Running) -> Counter[str]:
    return Counter(record["file"] for record in run.with_event("reviewed"))


async def test_the_tour_shows_all_four_patterns_and_its_totals_are_right() -> None:
    async with running("examples.yaml", "--ask", "lead", "asyncio") as run:
        assert await run.ended(60) == 0, run.said()
    sources = sorted(ASYNCIO.rglob("*.py"))
    tallies = [tally(file.read_bytes()) for file in sources]

    ready = run.with_event("ready")
    assert Counter(who(record) for record in ready) == Counter(
        ["hub", "lead", "reviewer.1", "reviewer.2", "reviewer.3", "narrator", "checker.1", "checker.2", "concierge"]
    )
    reviewers = {who(record) for record in run.with_event("reviewed")}
    assert reviewers == {"reviewer.1", "reviewer.2", "reviewer.3"}
    assert files_of(run) == Counter({f"asyncio/{file.relative_to(ASYNCIO)}": 1 for file in sources})

    claims = Counter(record["file"] for record in run.with_event("claim won"))
    assert len(claims) >= 6
    assert set(claims.values()) == {1}

    assert f"{len(sources)} files reviewed, {sum(one.lines for one in tallies):,} lines" in run.answer
    functions, classes = sum(one.functions for one in tallies), sum(one.classes for one in tallies)
    assert f"{functions:,} functions and {classes:,} classes" in run.answer
    assert f"{sum(one.bare_excepts for one in tallies)} bare excepts" in run.answer
    documented = sum(one.documentable - one.undocumented for one in tallies)
    assert f"{documented} of {sum(one.documentable for one in tallies)} public definitions have one" in run.answer
    assert f"{max(one.longest for one in tallies)} lines  asyncio/" in run.answer

    answered = next(record["event"] for record in run.records if record["event"].startswith("lead answered in"))
    assert int(re.findall(r"([\d,]+) chunks", answered)[0].replace(",", "")) > 100
    assert {record["event"] for record in run.records if who(record) == "concierge"} >= {"welcome"}
    assert run.records[-1]["event"].startswith("ran 8 replicas for ")
    assert run.records[-1]["event"].endswith("all ended cleanly")


@dataclass
class Seen:
    """What could be seen of a tour that was asked nothing, and of its end."""

    ready: dict[str, int]
    """The pid of each replica, and of the hub."""
    descendants: list[int]
    shown: dict[int, dict[str, bytes]]
    """Of each process, the first one too, while all of them ran."""
    run: Running
    code: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> Seen:
    async with running("examples.yaml") as run:
        await run.ready()
        below = descendants(run.pid)
        shown = {pid: shown_by(pid) for pid in (run.pid, *below)}
        run.process.terminate()
        return Seen(run.pids(), below, shown, run, await run.ended(15))


def test_no_process_of_the_tour_shows_a_secret(seen: Seen) -> None:
    """Hazards 45 and 64: neither the command line nor the environment of any process holds a key or a token."""
    assert len(seen.shown) == 11  # the run, its guardian, the hub and eight replicas
    for pid, files in seen.shown.items():
        for name, text in files.items():
            assert text
            assert not SECRETS.search(text), (pid, name)
    assert not SECRETS.search(seen.run.said().encode())


def test_each_replica_is_a_process_of_its_own(seen: Seen) -> None:
    assert len(set(seen.ready.values())) == len(seen.ready) == 9
    assert {*seen.ready.values()} < {*seen.descendants}
    assert len(seen.descendants) == len(seen.ready) + 1  # the guardian


def test_one_wish_to_end_is_granted_in_peace(seen: Seen) -> None:
    assert seen.code == 0
    assert seen.run.records[-1]["event"].endswith("all ended cleanly")


async def test_an_unknown_agent_is_a_mistake_of_usage_and_starts_nothing() -> None:
    async with running("examples.yaml", "--ask", "led", "asyncio") as run:
        assert await run.ended() == 2
        assert "there is no agent 'led'" in run.said()
        assert "did you mean 'lead'?" in run.said()
        assert not run.with_event("ready")


@pytest.mark.bars
async def test_a_question_that_cannot_be_answered_fails_with_a_sentence() -> None:
    async with running("examples.yaml", "--ask", "lead", "no_such_package_anywhere") as run:
        assert await run.ended() == 1
        assert "no_such_package_anywhere" in run.said()
        assert "Traceback" not in run.answer
