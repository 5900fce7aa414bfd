"""The dashboard as a browser has it open, and what the browser and the system tell of that."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
MEASURE_PICTURES: Final = """
(seconds) => new Promise((done) => {
  const times = [];
  const picture = (now) => {
    times.push(now);
    if (now - times[0] < seconds * 1000) requestAnimationFrame(picture);
    else {
      const gaps = times.slice(1).map((time, place) => time - times[place]);
      const buckets = new Array(Math.floor(seconds)).fill(0);
      for (const time of times.slice(1)) buckets[Math.min(buckets.length - 1, Math.floor((time - times[0]) / 1000))] += 1;
      const round = (value) => Math.round(value * 10) / 10;
      gaps.sort((a, b) => a - b);
      done({
        mean: round((1000 * gaps.length) / (now - times[0])), worst: Math.min(...buckets),
        gap_p50_ms: round(gaps[Math.floor(gaps.length * 0.5)]), gap_p99_ms: round(gaps[Math.floor(gaps.length * 0.99)]),
        gap_most_ms: round(gaps.at(-1)),
      });
    }
  };
  requestAnimationFrame(picture);
})
"""
"""Counts the pictures of each second."""

REPLICAS_SHOWN: Final = """
() => {
  const words = [...document.querySelectorAll(".graph-list button")].map((button) => button.textContent);
  return words.flatMap((text) => [...text.split(": ").at(-1).matchAll(/(\\d+) (?:ready|starting|waiting|offline|failed)/g)])
    .reduce((sum, [, count]) => sum + Number(count), 0);
}
"""
"""Counts what the graph's list says of states that updates have told."""


def options() -> dict[str, Any]:
    """Return how to launch the system's Chromium. Raises `LookupError` where there is none."""
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        raise LookupError("there is no Chromium here")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"executable_path": path, "args": ["--no-sandbox"] if root else []}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options())
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def signed_in(
    browser: Browser, hub: str, token: str, width: int = 1440, height: int = 900
) -> AsyncIterator[Page]:
    """Have the dashboard of a hub open, in a profile of its own, until the block ends; `token` is pasted into it."""
    context = await browser.new_context(viewport={"width": width, "height": height})
    try:
        page = await context.new_page()
        await page.goto(hub.replace("ws://", "http://") + "/")
        await page.locator("#token").fill(token)
        await page.locator("#sign-in-form button[type=submit]").click()
        await page.locator(".graph-list button").first.wait_for(state="attached")
        yield page
    finally:
        await context.close()


async def heap(page: Page) -> float:
    """Return the bytes that the page's script holds."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    await session.detach()
    return next(float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize")


async def renderer_memory(browser: Browser) -> dict[int, int]:
    """Return the bytes that are each renderer's own (what it shares with others left out), by its pid."""
    session = await browser.new_browser_cdp_session()
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    await session.detach()
    return {each["id"]: _own(each["id"]) for each in processes if each["type"] == "renderer"}


def _own(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    kept = ("RssAnon:", "VmSwap:")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kept))
