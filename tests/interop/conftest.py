"""One hub process for the tests of a module, and the programs whose peers come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.interop.hub_process import HubProcess, hub_process
from tests.interop.programs import Programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(joined_by: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with hub_process(tmp_path_factory.mktemp("hub") / "keys.yaml") as running:
        yield running
        running.assert_healthy()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programs() -> AsyncIterator[Programs]:
    lent = Programs()
    yield lent
    await lent.finish()
