"""A block whose right to run may end: then it is cancelled, and leaves with the reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Guard:
    """``with guard:`` around a block that `lose` ends.

    The block's task is cancelled once, and the cancellation leaves the block as the error that `lose` was given. As with
    `asyncio.timeout`, a cancellation from elsewhere goes first, guards nest, and what the block raises instead of its
    cancellation passes. A block that ends as if nothing had happened raises the error as well.
    """

    def __init__(self) -> None:
        self.lost: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        """Within the block."""
        self._before = 0
        """Cancellations of the task that came before the block."""
        self._cancelled = self._left = False

    def lose(self, error: Exception) -> None:
        """End the block, which may not have begun yet; nothing once it has left, or for the second time."""
        if self.lost is not None or self._left:
            return
        self.lost = error
        if self._task is not None and self._task is asyncio.current_task():
            # It would be cancelled at its next wait, wherever that is, and not here where it runs.
            asyncio.get_running_loop().call_soon(self._cancel)
        else:
            self._cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a claim is made within a task")
        self._task, self._before = task, task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task, self._left = self._task, None, True
        if self.lost is None or task is None:
            return
        if self._cancelled and task.uncancel() > self._before:
            return  # somebody else cancelled it too
        # An async generator is closed, instead of cancelled, where it waits for whoever reads it.
        if kind is None or issubclass(kind, asyncio.CancelledError | GeneratorExit):
            raise self.lost from error

    def _cancel(self) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()
