"""What is told of tasks that are given out: one span for each, from its order to its end, with what its attempts came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from orchestrator.errors import TaskCancelled, TaskFailed
from orchestrator.patterns.effects import Note, Publish, Send
from orchestrator.patterns.jobs import ASKED, Chunked, Finished
from orchestrator.protocol.payloads import Ask, TaskOffer, TaskRefused
from orchestrator.runtime.tracing import begin, configured

if TYPE_CHECKING:
    from orchestrator.errors import OrchestratorError
    from orchestrator.patterns.jobs import Effect, Order
    from orchestrator.patterns.workforce import Workforce
    from orchestrator.protocol.payloads import AnyPayload
    from orchestrator.runtime.tracing import Span

MAX_TYPE: Final = 200
"""Characters of the type of what a worker raised, as it says itself."""


@dataclass(slots=True)
class _Open:
    span: Span
    chunks: int = 0


class DispatchSpans:
    """The spans of one desk that are open; none, as long as nobody traces."""

    def __init__(self, workforce: Workforce, verb: str) -> None:
        """`verb` is what the caller does with a task: it begins the names of the spans."""
        self._workforce, self._verb = workforce, verb
        self.open: dict[str, _Open] = {}

    def begun(self, order: Order) -> Order:
        """Return the order as it travels, with its span for the parent of whatever is done for it."""
        if not configured():
            return order
        agents = ",".join(self._workforce.agents_for(order.task))
        name = f"ask {agents}" if order.task == ASKED else f"{self._verb} {order.task}"
        span = begin(name, "client", order.traceparent)
        if span.recorded:
            span.describe(agent=agents, task=order.task, task_id=order.id, delivery="at-most-once")
            self.open[order.id] = _Open(span)
        return order if span.traceparent == order.traceparent else replace(order, traceparent=span.traceparent)

    def follow(self, effect: Effect) -> None:
        """Note what the engine does."""
        match effect:
            case Chunked() if effect.id in self.open:
                opened = self.open[effect.id]
                if not opened.chunks:
                    opened.span.add("first chunk")
                opened.chunks += 1
            case Finished() if effect.id in self.open:
                self._ended(self.open.pop(effect.id), effect.error)
            case Publish(payload=TaskOffer() | Ask() as offer) | Send(payload=TaskOffer() | Ask() as offer):
                self._offered(
                    offer, effect.channel.removeprefix("tasks/") if isinstance(effect, Publish) else effect.to
                )
            case Note() if effect.fields.get("task_id") in self.open and "reason" in effect.fields:
                fields = effect.fields
                self.open[fields["task_id"]].span.add(
                    "given back", peer=str(fields["peer"]), reason=str(fields["reason"])
                )
            case _:
                pass

    def heard(self, sender: str, payload: AnyPayload) -> None:
        """Note what a worker says."""
        if isinstance(payload, TaskRefused) and payload.task_id in self.open:
            reason = payload.reason if payload.reason in ("full", "draining", "unknown task") else "other"
            self.open[payload.task_id].span.add("refused", peer=sender, attempt=payload.attempt, reason=reason)

    def _offered(self, offer: TaskOffer | Ask, peer: str) -> None:
        opened = self.open.get(offer.task_id or "")
        if opened is not None:
            opened.span.describe(peer=peer, attempt=offer.attempt)
            opened.span.add("offered", peer=peer, attempt=offer.attempt)

    def _ended(self, opened: _Open, error: OrchestratorError | None) -> None:
        span = opened.span
        if opened.chunks:
            span.add("last chunk")
            span.describe(chunks=opened.chunks)
        if isinstance(error, TaskCancelled):  # as its caller has wished
            span.describe(outcome="cancelled")
            span.end()
        elif error is not None:
            span.describe(outcome="failed")
            span.end(error.error_type[:MAX_TYPE] if isinstance(error, TaskFailed) else type(error).__name__)
        else:
            span.describe(outcome="done")
            span.end()
