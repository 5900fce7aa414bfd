"""What a handler's run comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from orchestrator.patterns.intake import OVERDUE
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.payloads import Failure

if TYPE_CHECKING:
    from msgspec import Raw

MAX_RESULT: Final = 8 * 1_048_576
"""Bytes of a result that a store keeps."""
STOPPED: Final = Failure("TaskCancelled", "the agent stopped before the task had ended", retryable=True)

Fate: TypeAlias = Literal["done", "failed", "cancelled", "lost"]


@dataclass(slots=True)
class Ending:
    """What a handler comes to; as long as nothing is noted, it was stopped."""

    error: Failure | None = STOPPED
    reply: Raw | None = None
    frames: tuple[str, ...] = ()
    """Where in the handler it failed, outermost first."""
    retry: bool = True
    """Whether it might go better another time."""
    chunks: list[bytes] | None = None
    """Of a stream that is to be stored, all that was produced; `None` = that would be too much, or it is no stream."""
    count: int = 0
    size: int = 0

    def produced(self, chunk: Raw, *, kept: bool) -> None:
        """Note a chunk; `kept` = the whole stream is to be stored."""
        self.count += 1
        if not kept:
            return
        self.size += memoryview(chunk).nbytes + 1
        if self.count == 1:
            self.chunks = []
        if self.chunks is not None:
            self.chunks.append(bytes(chunk))
        if self.size > MAX_RESULT - 2:
            self.chunks = None

    def result(self) -> bytes:
        """Return what the store is to keep: a reply, or all chunks as an array, or how many those were."""
        if self.reply is not None:
            return bytes(self.reply)
        if self.count and self.chunks is None:
            return encode_json({"chunks": self.count, "bytes": self.size})
        return b"[" + b",".join(self.chunks or ()) + b"]"

    def fate(self, stopped: str = "", lost: str = "") -> tuple[Fate, str]:
        """Return what becomes of the task, for whoever counts, and what its failure is in words.

        `stopped` is why its handler was stopped, and `lost` why the task is somebody else's, where they were.
        """
        if lost:
            return "lost", lost
        if self.error is None:
            return "done", ""
        if self.error is STOPPED and stopped != OVERDUE:
            return "cancelled", stopped or self.error.message
        if self.error is STOPPED:
            return "failed", f"TaskTimeout: {stopped}"
        return "failed", f"{self.error.type}: {self.error.message}"
