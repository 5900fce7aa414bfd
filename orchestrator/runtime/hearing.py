"""What one child prints, on its way into the log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from orchestrator.runtime.records import Assembler

if TYPE_CHECKING:
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.process import Stream
    from orchestrator.runtime.records import Source

QUIET: Final = 0.05
"""Seconds without a further line after which a traceback has ended."""


class Hearing:
    """Puts the lines of a child's two streams into the log, as records in its name."""

    def __init__(self, source: Source, output: Output) -> None:
        self.source, self._output = source, output
        self._assemblers = {"stdout": Assembler("stdout"), "stderr": Assembler("stderr")}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __call__(self, stream: Stream, line: bytes) -> None:
        assembler = self._assemblers[stream]
        for record in assembler.feed(line, time.time()):
            self._output.put(self.source, record)
        if timer := self._timers.pop(stream, None):
            timer.cancel()
        if assembler.pending:
            self._timers[stream] = asyncio.get_running_loop().call_later(QUIET, self._flush, stream)

    def close(self) -> None:
        """Pass on what was held back; nothing more will be heard."""
        for timer in self._timers.values():
            timer.cancel()
        for stream in self._assemblers:
            self._flush(stream)

    def _flush(self, stream: str) -> None:
        for record in self._assemblers[stream].flush():
            self._output.put(self.source, record)
