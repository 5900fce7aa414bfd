"""The tasks that an agent is given: from the offer, through its handler, to an outcome that its caller has heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, Final, TypeVar, cast

import structlog
from msgspec import Raw
from pydantic import BaseModel, ValidationError

from orchestrator.agents.context import Once
from orchestrator.agents.describe import AgentCode, Handler
from orchestrator.errors import HandlerError, OrchestratorError
from orchestrator.patterns.effects import Answer, Note, Send
from orchestrator.patterns.intake import (
    DRAIN_PATIENCE,
    Abort,
    Effect,
    HandBack,
    Intake,
    LookUp,
    Outcome,
    Resend,
    Run,
    Unread,
)
from orchestrator.patterns.kept import stream_name
from orchestrator.patterns.stream import REPLAY_SECONDS
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.payloads import (
    UNKNOWN_TASK,
    AnyPayload,
    Ask,
    CompletionChunk,
    Failure,
    StreamAck,
    StreamResume,
    TaskAccepted,
    TaskCancel,
    TaskError,
    TaskOffer,
    TaskRefused,
    TaskResult,
    Wake,
)
from orchestrator.runtime.courier import Courier, Owned
from orchestrator.runtime.dispatching import LEVELS
from orchestrator.runtime.ending import MAX_RESULT, STOPPED, Ending
from orchestrator.runtime.figures import Recorder
from orchestrator.runtime.handler_context import MessageContext, Surroundings
from orchestrator.runtime.invocation import Invoker, fault, frames_of, said_by, writable
from orchestrator.runtime.leasing import Held, Leasing
from orchestrator.runtime.outflow import Outflow
from orchestrator.runtime.tracing import Trace, current_trace, trace_id_of
from orchestrator.runtime.wishes import check_text
from orchestrator.store.tasks import FINAL, State
from orchestrator.store.tasks import Failure as KeptFailure

KEPT_STREAMS: Final = 256
"""Streams that have ended and whose chunks are kept for readers that come back; the oldest are forgotten first."""
KEPT_BYTES: Final = 64 * 1024 * 1024
"""The same for the bytes of all their chunks."""


class Workload:
    """Everything that one agent is asked to do."""

    def __init__(
        self,
        code: AgentCode,
        surroundings: Surroundings,
        courier: Courier,
        *,
        capacity: int,
        wall_offset: float,
        new_id: Callable[[], str],
        log: Any,
        changed: Callable[[], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._reasons: dict[str, str] = {}
        """Why each task that is being stopped is."""
        self.leasing: Leasing | None = None
        """What it has in a store; `None` = its tasks are kept nowhere."""
        self._kept: dict[str, Held] = {}
        """Tasks of a store whose handlers run, or are about to."""
        self._code, self._surroundings, self._courier = code, surroundings, courier
        self._wall_offset, self._new_id, self._log, self._changed = wall_offset, new_id, log, changed
        self.intake = Intake(self._streams, capacity, wall_offset=wall_offset, idempotent=self._idempotent)
        self.invoker = Invoker(max(capacity, 4))
        self.target: Any = code.target
        """The object whose methods are the handlers: an instance once `setup` has run, or the module itself."""
        self.prepared = asyncio.Event()
        """Set once the agent is ready for its first message: what is sent to it before waits."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._flows: dict[str, Outflow] = {}
        self._unsaid: dict[str, Send] = {}
        """That a task was taken, while its handler runs for the first time: an outcome at the end of that says it, too."""
        self._sweep_at: float | None = None
        """When the oldest of the streams that have ended may be forgotten, or a little before."""
        self._asked: set[str] = set()
        """Ids of questions in words: they are answered by chunks, whatever the task behind them returns."""
        self._owned = Owned()
        self._idle = asyncio.Event()
        self.completed = 0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- what the connection says

    def receive(self, sender: str, payload: AnyPayload) -> bool:
        """Take a payload that is meant for a worker; returns false for one that is not."""
        if isinstance(payload, TaskOffer):
            if self._recorder is not None:
                self._recorder.asked(sender)
            self._offered(payload, sender)
        elif isinstance(payload, Ask):
            if self._recorder is not None:
                self._recorder.asked(sender)
            self._question(payload, sender)
        elif isinstance(payload, TaskCancel):
            self._apply(self.intake.cancelled(payload.task_id, sender))
        elif isinstance(payload, StreamAck | StreamResume):
            self._reader_says(payload, sender)
        elif isinstance(payload, Wake):
            if self.leasing is not None:
                self.leasing.told()
        else:
            return False
        return True

    def connected(self) -> None:
        if self.leasing is not None:
            self.leasing.told()  # whoever said so meanwhile was not heard
        self._apply(self.intake.connected(self.now))
        for flow in self._flows.values():
            flow.connected()

    def next_tick(self) -> float | None:
        """Return when `tick` has something to do; `None` when it has not."""
        due = self.intake.next_tick()
        return due if self._sweep_at is None or (due is not None and due < self._sweep_at) else self._sweep_at

    def tick(self, now: float) -> None:
        self._apply(self.intake.tick(now))
        if self._sweep_at is not None and now >= self._sweep_at:
            for stream_id in [stream_id for stream_id, flow in self._flows.items() if flow.writer.expired(now)]:
                self._flows.pop(stream_id).close()
            ended = [flow.writer.ended_at for flow in self._flows.values() if flow.writer.ended_at is not None]
            self._sweep_at = min(ended) + REPLAY_SECONDS if ended else None

    # -- the end

    def unheard(self) -> None:
        """The connection is over for good: whatever comes of what still runs, nobody will hear of it."""
        self._apply(self.intake.unheard())
        for flow in self._flows.values():
            flow.abandon()

    async def drained(self) -> None:
        """Take nothing new, and wait until all that was taken has ended and been heard of."""
        self.intake.drain()
        if self.leasing is not None:
            await self.leasing.stop()
        self._apply(self.intake.hand_back())
        while not self.intake.idle:
            self._idle.clear()
            await self._idle.wait()
        for flow in self._flows.values():
            flow.patience = DRAIN_PATIENCE
        await asyncio.gather(*(flow.drained() for flow in self._flows.values()))

    async def close(self) -> None:
        """Hand back what was not begun, cancel what still runs, wait for it, and forget all streams."""
        if self.leasing is not None:
            self.leasing.hurry()
            await self.leasing.stop()
        self._apply(self.intake.stop())
        await self._owned.close()
        if self.leasing is not None:
            await self.leasing.close()
        for flow in self._flows.values():
            flow.close()
        self.invoker.close()

    # -- offers and questions

    def _streams(self, task: str) -> bool | None:
        handler = self._code.tasks.get(task)
        return None if handler is None else handler.streams

    def _idempotent(self, task: str) -> bool:
        return self._code.tasks[task].record.idempotent

    def _offered(self, offer: TaskOffer, sender: str) -> None:
        if not offer.task:  # an older program: it names no type and sends a prompt
            offer = _renamed(offer, self._code.task_for_prompt() or "", offer.prompt)
        elif not bytes(offer.payload) and offer.prompt is not None:
            offer = _renamed(offer, offer.task, offer.prompt)
        self._apply(self.intake.offered(offer, sender, self.now))

    def _question(self, ask: Ask, sender: str) -> None:
        task_id = ask.task_id or self._new_id()
        task = self._code.task_for_prompt()
        if task is None:
            message = (
                "this agent takes no questions: none of its tasks, or more than one, needs a prompt and nothing else"
            )
            self._last_chunk(task_id, sender, Failure(UNKNOWN_TASK, message))
            return
        payload = Raw(encode_json({"prompt": ask.prompt}))
        offer = TaskOffer(task_id, sender, task, payload, ask.prompt, ask.attempt)
        known = task_id in self.intake
        effects = self.intake.offered(offer, sender, self.now)
        if not known and task_id in self.intake:
            self._asked.add(task_id)
        self._apply(_as_chunk(effect) for effect in effects)

    def _reader_says(self, payload: StreamAck | StreamResume, sender: str) -> None:
        flow = self._flows.get(payload.stream_id.partition("/")[0])
        if flow is None or flow.writer.stream_id != payload.stream_id:
            self._apply(self.intake.asked_about(payload.stream_id, sender, self.now))
        elif flow.reader != sender:
            self._log.warning("a stream was asked for by somebody else", task_id=payload.stream_id, peer=sender)
        elif isinstance(payload, StreamResume):
            flow.resume(payload.start)
        else:
            flow.acked(payload.seq, many=payload.many)

    # -- what the engine says

    def _apply(self, effects: Iterable[Effect]) -> None:
        accepted: Send | None = None
        for effect in effects:
            if accepted is not None:
                if isinstance(effect, Run) and self._may_end_at_once(effect):
                    self._unsaid[effect.offer.task_id] = accepted
                else:
                    self._send(accepted)
                accepted = None
            if isinstance(effect, Run):
                self._begin(effect)
            elif isinstance(effect, Send) and isinstance(effect.payload, TaskAccepted):
                accepted = effect
            elif isinstance(effect, Abort):
                self._log.info("cancelled", task_id=effect.task_id, reason=effect.reason)
                if effect.task_id in self._kept:
                    self._kept[effect.task_id].stopped = effect.reason
                self._reasons[effect.task_id] = effect.reason
                self._running[effect.task_id].cancel()
                if effect.task_id in self._flows:
                    self._flows.pop(effect.task_id).abandon()
            elif isinstance(effect, Resend):
                if effect.task_id in self._flows:
                    self._flows[effect.task_id].resume(0)
                elif effect.task_id not in self.intake:
                    failure = Failure("StreamBroken", "its chunks are no longer kept by the agent that produced them")
                    self._last_chunk(effect.task_id, effect.sender, failure)
            elif isinstance(effect, LookUp | Unread | HandBack):
                self._of_store(effect)
            elif isinstance(effect, Note):
                self._log.log(LEVELS[effect.level], effect.event, **effect.fields)
            else:
                self._send(effect)
        if accepted is not None:
            self._send(accepted)
        if len(self._asked) > len(self.intake):  # some were cancelled while they waited
            self._asked = {task_id for task_id in self._asked if task_id in self.intake}
        if self.intake.idle:
            self._idle.set()
        if self.leasing is not None:
            self.leasing.changed()
        if self._recorder is not None:
            self._recorder.loaded(len(self.intake))
        self._changed()

    def _begin(self, run: Run) -> None:
        task_id = run.offer.task_id
        if self._recorder is not None:
            offer, now = run.offer, self.now
            attempt, kept = max(offer.attempt, 1), task_id in self._kept
            self._recorder.began(task_id, offer.task, run.sender, attempt, kept, now, now + self._wall_offset)
        work = self._owned.start(self._run(run), f"task {task_id}")
        self._running[task_id] = work
        work.add_done_callback(partial(self._unless_begun, run))
        if task_id in self._unsaid:  # behind the handler's first step
            asyncio.get_running_loop().call_soon(self._say_accepted, task_id)

    def _may_end_at_once(self, run: Run) -> bool:
        """Whether its caller, one of this package, takes an outcome for a word that the task was taken as well."""
        if self._idempotent(run.offer.task):  # which is for the caller to know if this process ends in the middle of it
            return False
        return run.offer.attempt > 0 and not run.streams and run.offer.task_id not in self._asked

    def _say_accepted(self, task_id: str) -> None:
        accepted = self._unsaid.pop(task_id, None)
        if accepted is not None:
            self._send(accepted)

    def _send(self, effect: Send) -> None:
        if isinstance(effect.payload, TaskRefused) and effect.payload.task_id in self._asked:  # handed back at the end
            effect = _as_chunk(effect)
        self._courier.deliver(effect, self._answered)

    def _answered(self, ref: tuple[str, ...], answer: Answer) -> None:
        self._apply(self.intake.answered(ref, answer, self.now))

    # -- one task

    async def _run(self, run: Run) -> None:
        flow, end = self._flow_for(run), Ending()
        held = self._kept.get(run.offer.task_id)
        try:
            await self._handle(run, flow, end, held)
        finally:
            if held is not None:
                await self._store(held, flow, end)
            else:
                self._ended(run.offer, flow, end)

    async def _handle(self, run: Run, flow: Outflow | None, end: Ending, held: Held | None) -> None:
        """Run a handler, and note in `end` what it comes to."""
        offer, handler = run.offer, self._code.tasks[run.offer.task]
        trace_id = trace_id_of(offer.traceparent)
        named = {"task_id": offer.task_id, **({} if trace_id is None else {"trace_id": trace_id})}
        structlog.contextvars.bind_contextvars(**named)  # whatever is logged meanwhile, by `logging` too
        log = self._log.bind(**named, task=offer.task)
        context = self._context(run, log, held)
        deadline = None if offer.deadline is None else offer.deadline - self._wall_offset
        current_trace.set(Trace(deadline, offer.traceparent))
        try:
            await self.prepared.wait()
            message = _read(handler, offer)
            method = getattr(self.target, handler.name)
            if handler.streams and flow is not None:
                async with aclosing(cast("Any", self.invoker.chunks(handler, method, message, context))) as chunks:
                    async for chunk in chunks:
                        content = self.invoker.encode(handler, chunk)
                        end.produced(content, kept=held is not None)
                        await flow.put(content)
            else:
                end.reply = self.invoker.encode(handler, await self.invoker.call(handler, method, message, context))
                if flow is not None:
                    await flow.put(end.reply)
            end.error = None
        except InvalidMessage as mistake:
            end.error, end.retry = Failure("InvalidMessage", str(mistake)), False
        except OrchestratorError as known:  # it says itself what happened: nobody needs to be shown where
            end.error = Failure(type(known).__name__, said_by(known))
            end.retry = getattr(known, "retryable", True) is not False
            log.warning("not done", error=f"{end.error.type}: {end.error.message}")
        except asyncio.CancelledError as raised:
            here = asyncio.current_task()
            if here is None or here.cancelling():
                raise
            told = fault(raised)
            end.error = Failure(told.failure.type, "something that the handler waited for was cancelled")
            log.error("handler failed", handler=handler.where, error=end.error.message, exception=told.frames)
        except GeneratorExit:
            raise  # the event loop is gone
        except BaseException as raised:  # noqa: BLE001 - its outcome, told to its caller
            told = fault(raised)
            end.error, end.frames = told.failure, frames_of(raised)
            end.retry = getattr(raised, "retryable", True) is not False
            log.error(
                "handler failed",
                handler=handler.where,
                error=f"{end.error.type}: {end.error.message}",
                exception=told.frames,
            )

    def _unless_begun(self, run: Run, work: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its code, its end neither."""
        offer = run.offer
        if self._running.get(offer.task_id) is not work:
            return
        held = self._kept.get(offer.task_id)
        if held is None:
            self._ended(offer, self._flow_for(run), Ending())
        else:
            self._owned.start(self._store(held, None, Ending()), f"end of {offer.task_id}")

    def _ended(self, offer: TaskOffer, flow: Outflow | None, end: Ending) -> None:
        reply, error = end.reply, end.error
        self._running.pop(offer.task_id, None)
        self._asked.discard(offer.task_id)
        outcome: Outcome = None
        load = None if self._unsaid.pop(offer.task_id, None) is None else self.intake.load_without(offer.task_id)
        if flow is not None:
            self._end_flow(flow, error)
        elif error is not None:
            outcome = TaskError(offer.task_id, error, offer.attempt, load)
        elif reply is not None:
            outcome = TaskResult(offer.task_id, reply, offer.attempt, load)
        self.completed += error is None
        self._record(offer.task_id, end)
        self._apply(self.intake.finished(offer.task_id, outcome))

    def _record(self, task_id: str, end: Ending, lost: str = "") -> None:
        stopped = self._reasons.pop(task_id, "")
        if self._recorder is not None:
            now = self.now
            fate, error = end.fate(stopped, lost)
            self._recorder.ended(task_id, fate, now, now + self._wall_offset, error)

    def _flow_for(self, run: Run) -> Outflow | None:
        """Return the stream that a task is answered by, if it is answered by one."""
        task_id = run.offer.task_id
        if not run.streams and task_id not in self._asked:
            return None

        def seen(there: bool) -> None:
            if there:
                self.intake.caller_there(task_id)
            else:
                self.intake.caller_gone(task_id, self.now)
                if held is not None and flow.given_up:  # whoever asks after all gets it from the store
                    self._flows.pop(task_id, None)

        held = self._kept.get(task_id)
        self._forget_streams()
        text = self._code.tasks[run.offer.task].answer is str
        ours = run.offer.attempt > 0  # who counts attempts is of this package
        name = task_id if held is None else stream_name(task_id, held.leased.attempt)
        flow = Outflow(name, run.sender, self._courier, seen, merges=text, ours=ours)
        self._flows[task_id] = flow
        return flow

    def _end_flow(self, flow: Outflow, error: Failure | None) -> None:
        flow.end(error)
        if self._sweep_at is None:
            self._sweep_at = self.now + REPLAY_SECONDS

    def _forget_streams(self) -> None:
        """Let go of the oldest streams that have ended, as far as there are too many of them, or too much in them."""
        ended = [stream_id for stream_id, flow in self._flows.items() if flow.writer.ended]
        kept = sum(self._flows[stream_id].writer.kept_bytes for stream_id in ended)
        for number, stream_id in enumerate(ended):
            if len(ended) - number <= KEPT_STREAMS and kept <= KEPT_BYTES:
                return
            flow = self._flows.pop(stream_id)
            kept -= flow.writer.kept_bytes
            flow.close()

    # -- tasks of a store

    def begin(self, held: Held) -> None:
        """Take a task that is this worker's in the store."""
        leased, task_id = held.leased, held.id
        before = self._running.get(task_id)
        if before is not None:  # it was lost and claimed again before its handler had ended
            before.add_done_callback(lambda _: asyncio.get_running_loop().call_soon(self.begin, held))
            return
        if held.lost or self.intake.draining:
            self._hand_back(held)
            return
        self._kept[task_id] = held
        if leased.type not in self._code.tasks:
            failure = Failure(UNKNOWN_TASK, f"this agent has no handler for {leased.type}")
            self._owned.start(self._store(held, None, Ending(failure)), f"end of {task_id}")
            return
        deadline = None if leased.timeout is None else self.now + self._wall_offset + leased.timeout
        payload = Raw(leased.payload)
        offer = TaskOffer(
            task_id, leased.origin, leased.type, payload, None, leased.attempt, deadline, leased.traceparent
        )
        self._apply(self.intake.claimed(offer, leased.origin, self.now))

    def lost(self, held: Held) -> None:
        """Stop a task that is not this worker's any more."""
        if self._kept.get(held.id) is held:
            self._apply(self.intake.lost(held.id, held.lost))

    def _of_store(self, effect: LookUp | Unread | HandBack) -> None:
        held = self._kept.get(effect.task_id)
        if held is None or self.leasing is None:
            return
        if isinstance(effect, LookUp):
            self.leasing.look_up(effect.task_id)
        elif isinstance(effect, HandBack):
            self._hand_back(held)
        elif effect.task_id in self._flows:
            self._flows[effect.task_id].detach()

    def _hand_back(self, held: Held) -> None:
        self._kept.pop(held.id, None)
        if self.leasing is not None:
            self.leasing.hand_back(held.id)

    async def _store(self, held: Held, flow: Outflow | None, end: Ending) -> None:
        """Have the store keep how a task ended, then tell whoever gave it out, as far as that is the end of it."""
        outcome: Outcome = None
        try:
            final = await self._stored(held, end)
            if final is not None and flow is None and end.error is not None:
                outcome = TaskError(held.id, end.error, held.leased.attempt)
            elif final is not None and flow is None and end.reply is not None:
                outcome = TaskResult(held.id, end.reply, held.leased.attempt)
            elif (
                final is not None and flow is not None and flow.detached
            ):  # whoever waits gets all of it from the store
                outcome = TaskResult(held.id, Raw(b"null"), held.leased.attempt)
            elif flow is not None and (final or flow.writer.begun):
                self._end_flow(flow, end.error)
            elif flow is not None:
                flow.abandon()
        finally:
            self._running.pop(held.id, None)
            self._kept.pop(held.id, None)
            self.completed += end.error is None
            self._record(held.id, end, held.lost)
            if flow is not None and (flow.detached or not flow.writer.ended):
                self._flows.pop(held.id, None)
                flow.close()
            self._apply(self.intake.finished(held.id, outcome))

    async def _stored(self, held: Held, end: Ending) -> State | None:
        """Return the final state of a task; `None` = it has none yet, or it is not for this worker to say."""
        if self.leasing is None:
            return None
        if held.lost:
            self.leasing.forget(held)
            return None
        if end.error is None:
            result = end.result()
            if len(result) <= MAX_RESULT:
                return State.DONE if await self.leasing.complete(held, result) else None
            end.error = Failure(
                "PayloadTooLarge", f"its reply has {len(result):,} bytes, and a store takes {MAX_RESULT:,}"
            )
            end.retry = False
        elif end.error is STOPPED and held.stopped:
            end.error = Failure("TaskTimeout", f"it did not end within {held.leased.timeout:g} s")
        failure = KeptFailure(end.error.type, end.error.message, end.frames)
        stopped = end.error is STOPPED  # by the end of this agent, which is no fault of the task's
        state = await self.leasing.fail(held, failure, retry=end.retry, counts=not stopped)
        return state if state in FINAL else None

    def _context(self, run: Run, log: Any, held: Held | None) -> MessageContext:
        loop, offer = asyncio.get_running_loop(), run.offer

        def progressed(fraction: float | None, message: str | None) -> None:
            message = None if message is None else writable(message)
            loop.call_soon_threadsafe(lambda: self._apply(self.intake.progressed(offer.task_id, fraction, message)))

        return MessageContext(
            self._surroundings,
            log,
            task_id=offer.task_id,
            attempt=max(offer.attempt, 1),
            deadline=offer.deadline,
            sender=run.sender,
            traceparent=offer.traceparent,
            progressed=progressed,
            once=None if held is None else partial(self._once, held),
        )

    async def _once(self, held: Held, key: str) -> Once:
        if self.leasing is None:
            raise HandlerError("this agent reaches no store")
        if not isinstance(key, str):
            raise TypeError(f"once takes a text, not {key!r}")
        check_text(key)
        effect = await self.leasing.once(held, key)
        return Once(effect.first, held.leased.hold.fence, effect.task_id)

    def _last_chunk(self, stream_id: str, reader: str, error: Failure) -> None:
        self._courier.deliver(Send(reader, CompletionChunk(stream_id, 0, done=True, error=error)))


E = TypeVar("E", bound=Effect)


def _as_chunk(effect: E) -> E | Send:
    """Say in the one way that every asker understands, a last chunk, that a question in words is not taken."""
    if not isinstance(effect, Send) or not isinstance(effect.payload, TaskRefused):
        return effect
    refused = effect.payload
    failure = Failure("TaskRefused", refused.reason, retryable=True)
    return Send(effect.to, CompletionChunk(refused.task_id, 0, done=True, error=failure))


class InvalidMessage(Exception):
    """A task's payload does not fit its type."""


def _read(handler: Handler, offer: TaskOffer) -> BaseModel:
    message = cast("type[BaseModel]", handler.messages[0])
    try:
        return message.model_validate_json(bytes(offer.payload) or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the payload"
        raise InvalidMessage(f"{offer.task}: {where}: {first['msg']}") from None


def _renamed(offer: TaskOffer, task: str, prompt: str | None) -> TaskOffer:
    payload = Raw(encode_json({"prompt": prompt})) if prompt is not None else Raw(b"{}")
    return TaskOffer(
        offer.task_id, offer.origin, task, payload, prompt, offer.attempt, offer.deadline, offer.traceparent
    )
