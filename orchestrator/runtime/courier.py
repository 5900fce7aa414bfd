"""Carries what engines ask for to the hub, in order, and the hub's answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from orchestrator.errors import AckTimeout, ConnectionLost, ConnectionProblem, NotConnected
from orchestrator.patterns.effects import Accepted, Answer, Publish, Refused, Send, Unanswered, Unsent

if TYPE_CHECKING:
    from orchestrator.runtime.figures import Recorder


class Link(Protocol):
    """A connection to a hub, or what stands for one. Requests are written in the order in which they are started."""

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: Literal["fail", "wait"] = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
    ) -> int | None: ...

    async def send(
        self,
        to: str,
        data: object,
        *,
        when_disconnected: Literal["fail", "wait"] = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
    ) -> None: ...

    def publish_now(self, channel: str, data: object) -> asyncio.Future[int | None] | None:
        """Write a message before this returns; `None` = it cannot be written at once, and `publish` will see to it."""
        ...

    def send_now(self, to: str, data: object) -> asyncio.Future[int | None] | None: ...

    @property
    def max_message_size(self) -> int: ...

    @property
    def short_of_messages(self) -> bool:
        """Whether whoever can say the same in fewer messages should."""
        ...


class Owned:
    """Tasks that belong to one owner: they are awaited when it closes, and their failures come out there."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        """In the order in which they were started, which is that in which they are cancelled."""

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def settled(self, seconds: float) -> None:
        """Wait until what is under way has ended by itself, for at most `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        while tasks := list(self._tasks):  # the end of one may start another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


_Answered: TypeAlias = Callable[[Any, Answer], None] | None


class Courier:
    """One request per effect: all are under way at once, and each answer goes to whoever asked for it."""

    def __init__(self, link: Link, recorder: Recorder | None = None) -> None:
        """`recorder` counts what goes out; `None` = nobody wants to know."""
        self.link, self.recorder = link, recorder
        self._owned = Owned()
        """Those that could not be written at once."""
        self._written: set[asyncio.Future[int | None]] = set()
        self._closed = False

    def deliver(self, effect: Publish | Send, answered: _Answered = None) -> None:
        """Start to carry `effect`; `answered` is called with its `ref`, if it has one, and the hub's answer.

        That is never before this returns. What can be written is, also if the caller goes on without a pause.
        """
        try:
            if isinstance(effect, Publish):
                if self.recorder is not None:
                    self.recorder.published(effect.payload, effect.channel)
                written = self.link.publish_now(effect.channel, effect.payload)
            else:
                if self.recorder is not None:
                    self.recorder.carried(effect.payload, effect.to)
                written = self.link.send_now(effect.to, effect.payload)
        except _MISHAPS as error:
            asyncio.get_running_loop().call_soon(self._tell, effect, answered, _said_by(error))
            return
        if written is None:
            self._owned.start(self._carry(effect, answered), "courier")
        else:
            self._written.add(written)
            written.add_done_callback(partial(self._heard, effect, answered))

    async def settled(self, seconds: float) -> None:
        """Wait until the hub has answered everything, for at most `seconds`."""
        if self._written:
            began = asyncio.get_running_loop().time()
            await asyncio.wait(self._written, timeout=seconds)
            seconds -= asyncio.get_running_loop().time() - began
        await self._owned.settled(seconds)

    async def close(self) -> None:
        """Tell nobody anything any more."""
        self._closed = True
        await self._owned.close()

    def _heard(self, effect: Publish | Send, answered: _Answered, written: asyncio.Future[int | None]) -> None:
        self._written.discard(written)
        error = written.exception()
        answer = Accepted(written.result()) if error is None else _said_by(error)
        self._tell(effect, answered, answer)

    def _tell(self, effect: Publish | Send, answered: _Answered, answer: Answer) -> None:
        if answered is not None and effect.ref is not None and not self._closed:
            answered(effect.ref, answer)

    async def _carry(self, effect: Publish | Send, answered: _Answered) -> None:
        answer: Answer
        try:
            if isinstance(effect, Publish):
                answer = Accepted(await self.link.publish(effect.channel, effect.payload, in_parts=effect.in_parts))
            else:
                await self.link.send(effect.to, effect.payload, in_parts=effect.in_parts)
                answer = Accepted()
        except _MISHAPS as error:
            answer = _said_by(error)
        self._tell(effect, answered, answer)


_MISHAPS: Final = (ConnectionProblem, TypeError, ValueError)
"""The last two of what is no JSON: half a surrogate pair in a text, say."""


def _said_by(error: BaseException) -> Answer:
    """Return the answer that an error of a connection stands for."""
    if isinstance(error, NotConnected):
        return Unsent()
    if isinstance(error, ConnectionLost | AckTimeout):
        return Unanswered()
    if isinstance(error, ConnectionProblem):
        return Refused(error)
    return Refused(ConnectionProblem(f"the message cannot be sent: {error}"))


class Ticker:
    """One timer for all engines of a process: it fires when the first of them has something to do."""

    def __init__(self) -> None:
        self._engines: list[tuple[Callable[[], float | None], Callable[[float], None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rearming: asyncio.Handle | None = None
        self._closed = False

    def add(self, next_tick: Callable[[], float | None], tick: Callable[[float], None]) -> None:
        self._engines.append((next_tick, tick))

    def rearm(self) -> None:
        """Look again at when the first engine is due; once per turn of the loop, however often this is called."""
        if self._rearming is None and not self._closed:
            self._rearming = asyncio.get_running_loop().call_soon(self._arm)

    def close(self) -> None:
        self._closed = True
        for handle in (self._timer, self._rearming):
            if handle is not None:
                handle.cancel()

    def _arm(self) -> None:
        """See to it that the engines are looked at no later than they ask; earlier costs next to nothing."""
        self._rearming = None
        times = [due for next_tick, _ in self._engines if (due := next_tick()) is not None]
        if not times or self._closed:
            return
        due = min(times)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for _, tick in self._engines:
            tick(now)
        self.rearm()
