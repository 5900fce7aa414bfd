"""The tour in a browser: who is there, an answer as it is written and through a cut, a failed task that is retried."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from orchestrator.testing import ChaosProxy
from tests.journeys.running import ROOT, Running, running
from tests.page.browsers import Pages, launched, need_browser

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [
    pytest.mark.journey,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.shows_secrets("the driver of the browser is told tokens, and tells of addresses"),
]
REPLICAS = ("lead", "reviewer.1", "reviewer.2", "reviewer.3", "narrator", "checker.1", "checker.2", "concierge")
PACKAGE = "json"
CHECKER = re.compile(r"by checker\.\d")
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    need_browser()
    async with running("examples.yaml", "--profile", "kept") as run:
        await run.until(lambda record: record["event"].startswith("dashboard "))
        yield run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(run: Running) -> AsyncIterator[Pages]:
    async with launched() as browser:
        pages = Pages(browser)
        yield pages
        faults = await pages.close()
        assert not faults, "\n".join(faults)


def address(run: Running) -> str:
    (said,) = [record["event"] for record in run.records if record["event"].startswith("dashboard ")]
    return str(said.partition(" ")[2])


def topology_of(run: Running) -> str:
    return next(word for word in Path(f"/proc/{run.pid}/cmdline").read_text().split("\0") if word.endswith(".yaml"))


def pictures(otherwise: Path) -> Path:
    """Return where pictures are kept."""
    folder = Path(os.environ.get("SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def opened(pages: Pages, url: str) -> Page:
    """Open the dashboard, which signs in by itself on the machine that it runs on."""
    shown = await pages.open(url)
    await shown.wait_for_selector('#connection[data-state="connected"]')
    for peer in REPLICAS:
        await shown.wait_for_selector(f'[data-peer="{peer}"][data-state="ready"]')
    return shown


async def answered(shown: Page) -> str:
    """Return the answer to the question that was asked last, once it is complete."""
    await shown.wait_for_selector(".exchange[data-state=done]")
    return str(await shown.locator(".answer").last.text_content())


def alike(answer: str) -> list[str]:
    """Return the lines of a report, whoever of the checkers took another look."""
    return [CHECKER.sub("by checker", line) for line in answer.splitlines()]


async def test_each_replica_is_seen_and_seen_to_leave_when_it_is_killed(run: Running, pages: Pages) -> None:
    shown = await opened(pages, address(run))
    assert await shown.locator("[data-peer]").count() == len(REPLICAS)
    pid = run.pids()["reviewer.2"]
    left = shown.wait_for_selector('[data-peer="reviewer.2"]:not([data-state="ready"])')
    waiting = asyncio.ensure_future(left)
    os.kill(pid, signal.SIGKILL)
    await waiting
    back = await shown.wait_for_selector('[data-peer="reviewer.2"][data-state="ready"]')
    assert back is not None
    assert "1 restart" in str(await back.get_attribute("title"))


async def test_an_answer_grows_as_it_is_written_and_a_cut_leaves_no_gap_in_it(run: Running, pages: Pages) -> None:
    hub = urlsplit(address(run))
    whole = await opened(pages, address(run))
    await whole.fill(".prompt", PACKAGE)
    await whole.press(".prompt", "Enter")
    expected = await answered(whole)
    assert int(await whole.locator(".answer").last.get_attribute("data-updates") or 0) >= 20
    assert "files reviewed" in expected

    async with ChaosProxy(f"ws://127.0.0.1:{hub.port}") as proxy:
        cut = await opened(pages, f"http://127.0.0.1:{urlsplit(proxy.url).port}/")
        await cut.fill(".prompt", PACKAGE)
        await cut.press(".prompt", "Enter")
        await cut.wait_for_function("() => document.querySelector('.answer')?.textContent.length > 40")
        proxy.refuse()
        proxy.cut()
        await cut.wait_for_selector('#connection[data-state="reconnecting"]')
        proxy.accept()
        assert alike(await answered(cut)) == alike(expected)


async def test_a_failed_task_is_opened_and_retried(run: Running, pages: Pages, tmp_path: Path) -> None:
    late = tmp_path / "late.py"
    job = f'{{"path": "{late}", "name": "late.py"}}'
    shown = await opened(pages, address(run))
    words = ("-m", "orchestrator", "dispatch", topology_of(run), "reviewer", "ReviewFile", job)
    dispatching = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
    assert await dispatching.wait() == 0
    await shown.click("#tasks .chip[data-group=dead]")
    await shown.click("#tasks .rows .row:has-text('late.py')")
    await shown.wait_for_selector(".attempts .attempt:nth-child(2)")
    told = str(await shown.text_content(".attempts"))
    assert "Unreadable: late.py cannot be read" in told
    assert "agents/code_desk.py" in told
    late.write_text("def late():\n    return 1\n")
    await shown.click(".detail .retry")
    await shown.wait_for_selector(".detail .state-done")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_how_it_looks(run: Running, pages: Pages, tmp_path: Path, size: str, scheme: str) -> None:
    """Pictures for people; held here is that nothing sticks out on either side."""
    width, height = SIZES[size]
    shown = await pages.open(address(run), width=width, height=height, color_scheme=scheme)
    await shown.wait_for_selector('#connection[data-state="connected"]')
    await shown.wait_for_function("() => document.querySelectorAll('[data-peer][data-state=ready]').length >= 8")
    assert await shown.evaluate("document.documentElement.scrollWidth") <= width
    await shown.screenshot(path=pictures(tmp_path) / f"dashboard-{size}-{scheme}.png")
