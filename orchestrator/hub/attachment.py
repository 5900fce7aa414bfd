"""A hub's place on a backplane: what the engine says reaches the hub, and is written out like anything else."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from orchestrator.hub.backplane import BackplaneProblem
from orchestrator.hub.joining import open_backplane

if TYPE_CHECKING:
    from orchestrator.hub.cluster import Cluster
    from orchestrator.hub.driver import Driver
    from orchestrator.hub.settings import Settings

_AROUND: Final = 16_384
"""Bytes that may go around a frame: the sender's metadata, names, and how all of it is written."""


class Attachment:
    """The listener of a backplane."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._cluster: Cluster | None = None
        self._stack = AsyncExitStack()

    @classmethod
    async def made(cls, driver: Driver, settings: Settings) -> Attachment:
        """Join the hub to the others, before anybody is connected. Raises `BackplaneProblem`."""
        attachment = cls(driver)
        node = f"{settings.node_name}-{secrets.token_hex(6)}"
        assert settings.backplane is not None, "otherwise the hub stands alone"
        backplane = await attachment._stack.enter_async_context(open_backplane(settings.backplane, node, attachment))
        least = settings.max_frame + _AROUND
        if backplane.largest < least:
            await attachment._stack.aclose()
            raise BackplaneProblem(
                f"the backplane takes messages of {backplane.largest} bytes at most, and hubs need {least}: let it take more"
            )
        attachment._cluster = driver.hub.join(node, backplane, driver.clock())
        driver.settle()
        return attachment

    async def close(self) -> None:
        """Say goodbye to the other hubs, and disconnect."""
        if self._cluster is not None:
            self._driver.hub.turn.now = self._driver.clock()
            self._cluster.end()
        await self._stack.aclose()

    # -- what the engine says

    def heard(self, message: bytes) -> None:
        if self._cluster is not None:
            self._driver.hub.turn.now = self._driver.clock()
            self._cluster.heard(message)
            self._settle()

    def nobody(self, ticket: int) -> None:
        if self._cluster is not None:
            self._driver.hub.turn.now = self._driver.clock()
            self._cluster.nobody(ticket)
            self._settle()

    def passed(self, ticket: int) -> None:
        if self._cluster is not None:
            self._driver.hub.turn.now = self._driver.clock()
            self._cluster.passed(ticket)
            self._settle()

    def turned(self, up: bool, why: str) -> None:
        if self._cluster is not None:
            self._driver.hub.turn.now = self._driver.clock()
            self._cluster.turned(up, why)
            self._settle()

    def _settle(self) -> None:
        self._driver.hub.drop_slow()
        if not self._driver.flushing:
            self._driver.settle()
