"""What is told of a message in the hands of its handler: a span while that runs, and one for what it streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.runtime.ending import STOPPED
from orchestrator.runtime.tracing import NO_SPAN, begin

if TYPE_CHECKING:
    from orchestrator.protocol.payloads import TaskOffer
    from orchestrator.runtime.ending import Ending
    from orchestrator.runtime.tracing import Span


class HandleSpans:
    """Those of one task. Whatever it is part of is what its message says."""

    def __init__(self, offer: TaskOffer, me: str, sender: str, *, kept: bool) -> None:
        """`me` is the peer id of this worker. `kept`: the task is in a store, and nobody need wait for it."""
        self.span: Span = begin(f"handle {offer.task}", "consumer" if kept else "server", offer.traceparent)
        self._offer, self._stream = offer, NO_SPAN
        if self.span.recorded:
            delivery = "at-least-once" if kept else "at-most-once"
            self.span.describe(task=offer.task, task_id=offer.task_id, attempt=max(offer.attempt, 1), delivery=delivery)
            self.span.describe(peer=me, sender=sender)

    def first_chunk(self) -> None:
        """The handler has begun to yield."""
        if self.span.recorded:
            self._stream = begin(f"stream {self._offer.task}", "internal", self.span.traceparent)
            self._stream.describe(task=self._offer.task, task_id=self._offer.task_id)
            self._stream.add("first chunk")

    def end(self, end: Ending, stopped: str, lost: str) -> None:
        """The handler is over; `stopped` and `lost` are as `Ending.fate` has them."""
        if not self.span.recorded:
            return
        fate, _ = end.fate(stopped, lost)
        error = None
        if fate == "failed" and end.error is not None:
            error = "TaskTimeout" if end.error is STOPPED else end.error.type
        if self._stream.recorded:
            self._stream.add("last chunk")
            self._stream.describe(chunks=end.count, outcome=fate)
            self._stream.end(error)
        self.span.describe(outcome=fate)
        if stopped:
            self.span.add("stopped", reason=stopped)
        self.span.end(error)
