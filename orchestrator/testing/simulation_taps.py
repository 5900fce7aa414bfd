"""Where a simulation listens: at the desks of callers and at the handlers of workers, without changing what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError
from orchestrator.patterns.jobs import Finished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from msgspec import Raw

    from orchestrator.agents.describe import Handler
    from orchestrator.patterns.jobs import Effect, Order
    from orchestrator.runtime.dispatching import Desk
    from orchestrator.runtime.invocation import Invoker
    from orchestrator.runtime.user import User
    from orchestrator.testing.simulation_record import Record


def tap_desk(desk: Desk, record: Record, caller: str) -> None:
    """Record every task that goes over a desk, and how it ends."""
    submit, stream, apply, cancel = desk.submit, desk.stream, desk.apply, desk.dispatcher.cancel

    def called(order: Order) -> Any:
        idempotent = desk.dispatcher.workforce.is_idempotent(order.task)
        return record.called(order, caller, idempotent=idempotent)

    def submitted(order: Order, *rest: Any) -> Any:
        called(order)
        return submit(order, *rest)

    async def streamed(order: Order) -> AsyncGenerator[Raw, None]:
        call = called(order)
        source = stream(order)
        try:
            async for chunk in source:
                call.read.append(bytes(chunk))
                yield chunk
            call.read_out = True
        except OrchestratorError:
            call.read_out = True
            raise
        finally:
            await source.aclose()

    def applied(effects: Iterable[Effect]) -> None:
        effects = list(effects)
        for effect in effects:
            if isinstance(effect, Finished):
                record.finished(caller, effect)
        apply(effects)

    def cancelled(task_id: str, now: float) -> Any:
        record.left(caller, task_id)
        return cancel(task_id, now)

    vars(desk.dispatcher).update(cancel=cancelled)
    vars(desk).update(submit=submitted, stream=streamed, apply=applied)


def tap_user(user: User, record: Record) -> None:
    find, known = user._desk, set[str]()

    def found(agent: str) -> Desk:
        desk = find(agent)
        if agent not in known:
            known.add(agent)
            tap_desk(desk, record, user.peer_id)
        return desk

    vars(user).update(_desk=found)


def tap_handlers(invoker: Invoker, record: Record, peer: str, life: int) -> None:
    """Record every run of a task's handler."""
    call, chunks = invoker.call, invoker.chunks

    def begun(handler: Handler, arguments: tuple[Any, ...]) -> Any:
        context, harmless = arguments[-1], handler.record.idempotent
        return record.began(context.task_id, context.sender, context.attempt, peer, life, harmless=harmless)

    async def called(handler: Handler, method: Callable[..., Any], *arguments: Any) -> Any:
        if not arguments[-1].task_id:  # of an event, a timer or the like
            return await call(handler, method, *arguments)
        run = begun(handler, arguments)
        try:
            reply = await call(handler, method, *arguments)
            run.said.append(bytes(invoker.encode(handler, reply)))
            run.complete = True
        finally:
            run.ended = record.clock()
        return reply

    async def yielded(handler: Handler, method: Callable[..., Any], *arguments: Any) -> AsyncIterator[Any]:
        run = begun(handler, arguments)
        source: Any = chunks(handler, method, *arguments)
        try:
            async for chunk in source:
                run.said.append(bytes(invoker.encode(handler, chunk)))
                yield chunk
            run.complete = True
        finally:
            run.ended = record.clock()
            await source.aclose()

    vars(invoker).update(call=called, chunks=yielded)
