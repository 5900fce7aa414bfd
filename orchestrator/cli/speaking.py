"""Standard output for commands that have a connection to look after: a reader that is slow, or has left, holds nothing up."""

from __future__ import annotations

import io
import os
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import Future


class Speaking:
    """Writes to standard output from a thread of its own, one text after the other."""

    def __init__(self) -> None:
        self.terminal: Final = sys.stdout.isatty()
        self._waiting: SimpleQueue[tuple[str, Future[None]]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        try:
            sys.stdout.flush()
            self._descriptor = sys.stdout.fileno()
        except (io.UnsupportedOperation, AttributeError):  # it was replaced by something in memory
            self._descriptor = -1

    async def text(self, text: str) -> None:
        """Write what others have said: on a terminal with its control characters spelled out.

        Raises `OSError`; for a reader that has left that is `BrokenPipeError`.
        """

        from orchestrator.runtime.console import visible

        await self.write(visible(text) if self.terminal else text)

    async def write(self, text: str) -> None:
        import asyncio
        from concurrent.futures import Future

        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="standard output", daemon=True)
            self._thread.start()
        written: Future[None] = Future()
        self._waiting.put((text, written))
        await asyncio.wrap_future(written)

    def _write(self) -> None:
        while True:
            text, written = self._waiting.get()
            if not written.set_running_or_notify_cancel():
                continue  # whoever wanted it written has given up
            try:
                self._put(text)
            except (OSError, ValueError) as error:
                written.set_exception(error)
            else:
                written.set_result(None)

    def _put(self, text: str) -> None:
        if self._descriptor < 0:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:  # not through the stream, whose lock the interpreter wants at its end
            rest = rest[os.write(self._descriptor, rest) :]
