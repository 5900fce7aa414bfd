"""One browser for all tests of the page, and pages that hold against their test whatever goes wrong in them."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or ""
OPTIONS: Final = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]
_NETWORK: Final = (
    "net::ERR_",
    "WebSocket connection to",
    "Failed to load resource: the server responded with a status of 40",
)
"""What a browser itself says of connections that are cut and of refusals, which no page can keep it from."""


def missing() -> str:
    """Return what is not installed for these tests; nothing where all is."""
    try:
        import playwright.async_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed"
    return "" if CHROMIUM else "Chromium is not installed"


def need_browser() -> None:
    """Skip the test where there is no browser, but fail it in CI."""
    lacking = missing()
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"{lacking}, and CI tests everything")
    if lacking:
        pytest.skip(lacking)


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """What a page did that no page of ours does."""

    host: str
    faults: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if (
            message.type in ("error", "warning")
            and not message.text.startswith(_NETWORK)
            and "net::ERR_" not in message.text
        ):
            self.faults.append(f"console {message.type}: {message.text[:500]}")

    def error(self, error: Any) -> None:
        self.faults.append(f"page error: {error}"[:500])

    def request(self, request: Request) -> None:
        self.address(request.url)

    def address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != self.host:
            self.faults.append(f"a request to {parts.scheme}://{parts.netloc}")


class Pages:
    """Opens pages, each in a context of its own, and tells what went wrong in any of them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._watched: list[Watched] = []

    async def open(self, url: str, *, width: int = 1440, height: int = 900, **options: Any) -> Page:
        """Open an address of the hub. `options` are those of a browser context, such as ``color_scheme="dark"``."""
        page = await self.blank(urlsplit(url).netloc, width=width, height=height, **options)
        await page.goto(url)
        return page

    async def blank(self, host: str, *, width: int = 1440, height: int = 900, **options: Any) -> Page:
        """Return a page that is to speak to this host alone, before it does."""
        context = await self._browser.new_context(viewport={"width": width, "height": height}, **options)
        self._contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(8_000)
        watched = Watched(host)
        self._watched.append(watched)
        page.on("console", watched.console)
        page.on("pageerror", watched.error)
        page.on("request", watched.request)
        page.on("websocket", lambda socket: watched.address(socket.url))
        return page

    async def close(self) -> list[str]:
        """Close all, and return what went wrong."""
        for context in self._contexts:
            await context.close()
        return [fault for watched in self._watched for fault in watched.faults]
