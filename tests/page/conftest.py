"""A browser for the session, pages and a hub with a run behind it for each test; all in one event loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.page.browsers import Pages, launched, need_browser
from tests.page.desk import Desk, desk_of_four

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and "page" in getattr(item, "fixturenames", ()):
            item.add_marker(
                pytest.mark.shows_secrets("the driver of the browser is told tokens, and tells of addresses")
            )
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    need_browser()
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Pages]:
    """A factory of pages; a test fails for console errors, page errors and requests to other hosts in any of them."""
    pages = Pages(browser)
    yield pages
    faults = await pages.close()
    assert not faults, "\n".join(faults)


@pytest_asyncio.fixture(loop_scope="session")
async def desk() -> AsyncIterator[Desk]:
    async with desk_of_four() as desk:
        yield desk
