"""The dashboard with a run of five hundred replicas on it, as `bench/dashboard.py` measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.dashboard import one_page, speaking
from bench.dashboard_page import chromium
from bench.dashboard_script import LargeRun
from bench.real_hub import real_hub
from tests.page.browsers import need_browser

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.bars


@pytest.mark.shows_secrets("the driver of the browser is told tokens")
@pytest.mark.parametrize("agents", [1, 50, 100])
async def test_five_hundred_replicas_and_two_thousand_messages_a_second_are_shown_smoothly(
    tmp_path: Path, agents: int
) -> None:
    need_browser()
    async with real_hub(tmp_path) as hub, speaking(hub, LargeRun(agents=agents)) as run, chromium() as browser:
        found = await one_page(browser, hub, run, seconds=20, warm=3)

    assert found["mean"] >= 30, found
    assert found["worst"] >= 30, found
    assert found["page_mb"] <= 150, found
    assert found["updates"] >= 60, found
    assert found["replicas_shown"] == 500, found
