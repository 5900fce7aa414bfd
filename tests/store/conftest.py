"""A store of tasks of each kind, for the suite that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.task_stores import ADAPTERS, Setting


@pytest.fixture(params=ADAPTERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    async with ADAPTERS[request.param](tmp_path) as setting:
        yield setting
