"""The code desk within one process: its totals are those of a plain count, and every file is reviewed once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.code_desk import (
    IN_FLIGHT,
    Checker,
    Concierge,
    Lead,
    Narrate,
    Narrator,
    Review,
    Reviewer,
    ReviewFile,
    SecondLook,
    Unreadable,
    WorstFiles,
)
from agents.source_files import SourceFile, find_sources
from agents.source_report import WORST
from orchestrator import Declined, Joined, Left, Peer, Presence
from orchestrator.errors import NoWorkerAvailable, WorkerLost
from orchestrator.patterns.roster import Change
from tests.agents.in_process import HandWork, Room, Told, ask
from tests.agents.independent import tally


class Desk:
    """A lead with a reviewer and a narrator, and checkers beside it."""

    def __init__(self, group: asyncio.TaskGroup, checkers: int = 2) -> None:
        self.room = Room(group)
        self.workers = HandWork(Reviewer(), Narrator())
        self.lead = Lead(workers=self.workers, desk=self.room.seat("lead"))
        self.room.agents["lead"] = self.lead
        for number in range(1, checkers + 1):
            peer = f"checker.{number}"
            self.room.agents[peer] = Checker(desk=self.room.seat(peer))

    async def review(self, prompt: str, task_id: str = "r1") -> list[str]:
        return [words async for words in ask(self.lead, Review(prompt=prompt), Told("cli/1", task_id=task_id))]

    @property
    def reviewed(self) -> list[str]:
        return [task.name for task in self.workers.done if isinstance(task, ReviewFile)]

    @property
    def narrated(self) -> list[Narrate]:
        return [task for task in self.workers.done if isinstance(task, Narrate)]


@contextlib.asynccontextmanager
async def desk(checkers: int = 2) -> AsyncIterator[Desk]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        yield Desk(group, checkers)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Eight files, of which `f7.py` is the most complex."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for number in range(8):
        (folder / f"f{number}.py").write_text("def f(a):\n" + "    if a: return\n" * number + "    return\n")
    return folder


async def test_the_totals_equal_a_plain_count_and_every_file_is_reviewed_once() -> None:
    async with desk() as team:
        words = await team.review("asyncio")
    paths = [Path(file.path) for file in find_sources("asyncio").files]
    counts = [tally(path.read_bytes()) for path in paths]
    assert Counter(team.reviewed) == Counter(f"asyncio/{path.name}" for path in paths)
    (narrate,) = team.narrated
    totals = narrate.summary.totals
    assert (totals.files, totals.reviewed, totals.troubles) == (len(paths), len(paths), 0)
    assert totals.lines == sum(count.lines for count in counts)
    assert totals.functions == sum(count.functions for count in counts)
    assert totals.classes == sum(count.classes for count in counts)
    assert totals.bare_excepts == sum(count.bare_excepts for count in counts)
    assert totals.documentable == sum(count.documentable for count in counts)
    assert totals.undocumented == sum(count.undocumented for count in counts)
    worst = sorted(
        (-max(c for *_, c in n.complexities), f"asyncio/{p.name}")
        for p, n in zip(paths, counts, strict=True)
        if n.complexities
    )
    assert [(-file.worst.complexity, file.file) for file in narrate.summary.worst] == worst[:WORST]
    assert narrate.summary.longest[0].lines == max(count.longest for count in counts)
    report = "".join(words)
    assert f"{len(paths)} files reviewed, {totals.lines:,} lines" in report
    assert len(words) > 200


async def test_each_of_the_worst_files_is_looked_at_again_by_one_checker(package: Path) -> None:
    async with desk() as team:
        report = "".join(await team.review(str(package)))
    worst = [f"shop/f{number}.py" for number in (7, 6, 5, 4, 3, 2)]
    assert {item for item, _ in team.room.won} == {f"r1/{name}" for name in worst}
    assert {peer for _, peer in team.room.won} == {"checker.1", "checker.2"}
    looks = [(peer, event.look.file) for peer, event in team.room.said if isinstance(event, SecondLook)]
    assert sorted(name for _, name in looks) == sorted(worst)
    assert all(f"{name} (by {peer})" in report for peer, name in looks)
    assert sum(line["event"] == "claim won" for line in team.room.lines) == len(worst)


async def test_reviews_at_the_same_time_and_of_the_same_files_stay_apart(package: Path) -> None:
    async with desk() as team:
        reports = await asyncio.gather(*(team.review(str(package), f"r{number}") for number in range(3)))
    assert Counter(team.reviewed) == {f"shop/f{number}.py": 3 for number in range(8)}
    looks = Counter((event.review, event.look.file) for _, event in team.room.said if isinstance(event, SecondLook))
    assert (len(looks), looks.total()) == (3 * WORST, 3 * WORST)
    assert all("8 files reviewed" in "".join(report) for report in reports)
    assert team.lead.open == {}


async def test_a_file_whose_reviewer_was_lost_is_named(package: Path) -> None:
    async with desk() as team:
        lost = ReviewFile(path=str(package / "f7.py"), name="shop/f7.py")
        team.workers.losses[lost] = WorkerLost("ReviewFile", "reviewer.2", 1)
        report = "".join(await team.review(str(package)))
    assert "7 files reviewed" in report
    assert "Not reviewed: 1 file\n  shop/f7.py: reviewer.2 went away while it held ReviewFile" in report


async def test_without_any_reviewer_the_report_says_so_for_every_file(package: Path) -> None:
    async with desk() as team:
        for number in range(8):
            name = f"f{number}.py"
            lost = ReviewFile(path=str(package / name), name=f"shop/{name}")
            team.workers.losses[lost] = NoWorkerAvailable("ReviewFile", ["reviewer"])
        report = "".join(await team.review(str(package)))
    assert "0 files reviewed" in report
    assert report.count("no worker is online for ReviewFile") == 8


async def test_without_any_checker_the_report_names_what_nobody_looked_at(package: Path, tmp_path: Path) -> None:
    async with desk(checkers=0) as team:
        team.lead.patience = 0
        report = "".join(await team.review(str(package)))
    assert report.count("nobody looked again in time") == WORST


async def test_what_is_missing_is_asked_for_again(package: Path) -> None:
    """A checker that is gone with a claim in its hands holds up one file, and not for good."""
    async with desk() as team:
        team.room.holders["r1/shop/f7.py"] = "checker.9"
        team.lead.patience = 0.05
        review = asyncio.create_task(team.review(str(package)))
        await team.room.until(lambda said: sum(isinstance(event, SecondLook) for _, event in said) == WORST - 1)
        del team.room.holders["r1/shop/f7.py"]
        report = "".join(await review)
    rounds = [event.files for _, event in team.room.said if isinstance(event, WorstFiles)]
    assert [file.name for file in rounds[-1]] == ["shop/f7.py"]
    assert "shop/f7.py (by checker." in report


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("asynci", "there is no package, directory or Python file 'asynci' (did you mean 'asyncio'?)"),
        ("_thread", "module '_thread' has no Python source"),
        ("", "name a package, a directory or a Python file to review"),
    ],
)
async def test_what_cannot_be_reviewed_is_said_before_anything_is_handed_out(prompt: str, sentence: str) -> None:
    async with desk() as team:
        with pytest.raises(Declined) as refused:
            await team.review(prompt)
        assert sentence in str(refused.value)
        assert team.workers.done == []


async def test_few_files_are_under_way_at_once(package: Path) -> None:
    for number in range(40):
        (package / f"g{number}.py").touch()
    async with desk() as team:
        await team.review(str(package))
    assert team.workers.most_at_once <= IN_FLIGHT


async def test_the_caller_hears_of_the_progress(package: Path) -> None:
    async with desk() as team:
        context = Told("cli/1", task_id="r1")
        async for _ in ask(team.lead, Review(prompt=str(package)), context):
            pass
    fractions = [fraction for fraction, _ in context.steps if fraction is not None]
    assert fractions == sorted(fractions)
    assert context.steps[-1] == (1.0, "8 of 8 files reviewed")


@pytest.mark.parametrize("path", ["/nowhere/at/all.py", "/dev/zero", "/"])
def test_a_file_that_cannot_be_read_is_a_failure_that_another_attempt_may_mend(path: str) -> None:
    with pytest.raises(Unreadable, match=r"m\.py cannot be read: it is gone, or no ordinary file"):
        Reviewer().review(ReviewFile(path=path, name="m.py"), Told("lead"))


def test_a_review_is_logged_with_its_file() -> None:
    context = Told("lead")
    Reviewer().review(ReviewFile(path=__file__, name="this.py"), context)
    assert context.lines[0]["event"] == "reviewed"
    assert context.lines[0]["file"] == "this.py"


async def test_a_file_that_changed_is_told_by_the_checker(tmp_path: Path) -> None:
    broken = tmp_path / "m.py"
    broken.write_text("def f(:")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        room = Room(group)
        checker = room.agents["checker"] = Checker(desk=room.seat("checker"))
        files = (SourceFile(str(broken), "m.py"), SourceFile(str(tmp_path / "gone.py"), "gone.py"))
        await checker.look_again(WorstFiles(review="r", files=files), Told("lead"))
    looks = [event.look for _, event in room.said if isinstance(event, SecondLook)]
    assert [look.file for look in looks] == ["m.py", "gone.py"]
    assert all(look.problem and "it changed since it was reviewed" in look.problem for look in looks)


async def test_a_checker_forgets_old_reviews() -> None:
    async with asyncio.TaskGroup() as group:
        room = Room(group)
        checker = Checker(desk=room.seat("checker"))
        for number in range(1_000):
            await checker.look_again(WorstFiles(review=str(number), files=(SourceFile("m.py", "m.py"),)), Told("lead"))
    assert len(checker.done) == 100


class Hall(Presence):
    name = "lobby"

    def __init__(self, *peers: str) -> None:
        self._peers = {peer: Peer(peer) for peer in peers}

    @property
    def peers(self) -> dict[str, Peer]:
        return self._peers

    def __aiter__(self) -> AsyncIterator[Change]:
        raise NotImplementedError

    async def wait_for(self, agent: str, *, count: int = 1, timeout: float | None = None) -> list[Peer]:
        raise NotImplementedError


async def test_the_concierge_greets_joins_and_leaves() -> None:
    concierge, context = Concierge(lobby=Hall("lead", "reviewer.1")), Told("")
    await concierge.greet(Joined(Peer("reviewer.1")), context)
    await concierge.greet(Left(Peer("reviewer.1"), "lost"), context)
    assert context.lines == [
        {"level": "info", "event": "welcome", "who": "reviewer.1", "online": 2},
        {"level": "info", "event": "goodbye", "who": "reviewer.1", "reason": "lost", "online": 2},
    ]
