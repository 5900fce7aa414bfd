"""The sockets, the timer and the tasks of one client: carries out what its session decides, and tells it what happened."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.client.effects import Ask, Attempt, Drop, Effect, Noted, Request, Settled, State, Write
from orchestrator.client.pacing import Pacing
from orchestrator.client.wire import sentence
from orchestrator.errors import ConnectionProblem
from orchestrator.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.client.credentials import Credentials
    from orchestrator.client.events import ClientEvent
    from orchestrator.client.session import Session
    from orchestrator.client.url import Origin
    from orchestrator.client.wire import AnyWire, WireFactory

TURN_SHARE: Final = 4
"""A quarter of the inbox may come in before the program has a turn: one that keeps up never finds it full."""

log: Final = structlog.get_logger(__name__)


class Driver:
    """Belongs to the event loop that is running when it is made."""

    def __init__(
        self,
        session: Session,
        origin: Origin,
        credentials: Credentials,
        tls: ssl.SSLContext | None,
        make_wire: WireFactory,
    ) -> None:
        self._session, self._origin, self._credentials, self._tls = session, origin, credentials, tls
        self._make_wire = make_wire
        self._loop = asyncio.get_running_loop()
        self.pacing = Pacing(lambda: session.budget if session.state is State.CONNECTED else None)
        self._told = session.state
        self._turn = max(session.inbox_limit // TURN_SHARE, 1)
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._wires: dict[int, AnyWire] = {}
        self._answers: dict[str, asyncio.Future[int | None]] = {}
        self._hopeful: dict[asyncio.Future[None], None] = {}
        self._consumer: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether no socket, task, timer or caller is left."""
        return not (self._attempts or self._wires or self._answers or self._hopeful or self._timer)

    # -- what the client calls

    def start(self) -> None:
        self.apply(self._session.start(self.now))

    async def settled(self) -> None:
        """Wait until there is a connection, or none is to be hoped for."""
        while self._session.state in (State.CONNECTING, State.RECONNECTING):
            hope = self._loop.create_future()
            self._hopeful[hope] = None
            try:
                await hope
            finally:
                self._hopeful.pop(hope, None)

    async def answer(self, request: Request) -> int | None:
        """Write a request, within the caller's turn of the event loop, and wait for what the hub says."""
        answer = self.asked(request)
        try:
            return await answer
        finally:
            self._answers.pop(request.id, None)

    def asked(self, request: Request) -> asyncio.Future[int | None]:
        """Write a request now, and return what will hold the hub's answer: nothing that ends the request gets ahead."""
        answer: asyncio.Future[int | None] = self._loop.create_future()
        self._answers[request.id] = answer
        if request.frame:
            self._wires[request.epoch].send(request.frame)
        if self._timer is None or self._timer.when() > self._loop.time() + self._session.timeouts.ack:
            self._set_timer()
        return answer

    async def event(self) -> ClientEvent | None:
        """Take the next event out of the inbox, waiting for one; `None` = there will be none."""
        session = self._session
        while not session.inbox:
            if session.state is State.CLOSED:
                return None
            if self._consumer is not None:
                raise RuntimeError("events() has one consumer, and another one is waiting already")
            self._consumer = self._loop.create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None
        event = session.inbox.popleft()
        if session.choked:
            self.apply(session.taken(self.now))
        return event

    async def close(self) -> None:
        self.apply(self._session.close())
        here = asyncio.current_task()
        ending: set[asyncio.Future[None]] = {task for task in self._attempts.values() if task is not here}
        ending |= {wire.gone for wire in self._wires.values()}
        if ending:
            await asyncio.wait(ending, timeout=self._session.timeouts.close)
        for wire in list(self._wires.values()):
            wire.cut()

    # -- what the session decides, done

    def apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Settled(request, receivers, error):
                    self._settle(request, receivers, error)
                case Write(epoch, frame):
                    self._session.budget.spend(self.now)
                    self._wires[epoch].send(frame)
                case Ask(epoch):
                    self._wires[epoch].ask()
                case Attempt(epoch):
                    task = self._attempts[epoch] = self._loop.create_task(self._attempt(epoch))
                    task.add_done_callback(partial(self._attempted, epoch))
                case Drop(epoch, code, reason):
                    self._drop(epoch, code, reason)
                case Noted(level, event, fields):
                    getattr(log, level)(event, **fields)
        self._tell()
        self._set_timer()

    def _settle(self, request: str, receivers: int | None, error: ConnectionProblem | None) -> None:
        answer = self._answers.pop(request, None)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(receivers)
        else:
            answer.set_exception(error)

    def _drop(self, epoch: int, code: int, reason: str) -> None:
        if (task := self._attempts.get(epoch)) is not None:
            task.cancel()
        if (wire := self._wires.get(epoch)) is not None:
            wire.close(code, reason)

    def _tell(self) -> None:
        """Wake whoever waits for an event or for a change of state."""
        state = self._session.state
        if self._session.inbox or state is State.CLOSED:
            self._wake_consumer()
        if state is self._told:
            return
        self._told = state
        self.pacing.released()
        if state in (State.CONNECTED, State.CLOSED):
            for hope in self._hopeful:
                if not hope.done():
                    hope.set_result(None)

    def _wake_consumer(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    def _set_timer(self) -> None:
        """See to it that the session's clock is read no later than it asks; earlier costs nothing."""
        due = self._session.deadline()
        if self._timer is not None and (due is None or due < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.apply(self._session.tick(self.now))

    # -- one attempt

    async def _attempt(self, epoch: int) -> None:
        """Fetch a credential and open a socket; from there on the socket calls back."""
        parameter, credential, problem = await self._credentials.fetch()
        if problem is not None:
            self.apply(self._session.token_failed(epoch, problem, self.now))
            return
        if not self._session.dialing(epoch, self.now):
            return
        self._set_timer()
        wire = self._wires[epoch] = self._make_wire(
            self._origin.endpoint(parameter, credential),
            close_timeout=self._session.timeouts.close,
            on_open=partial(self._opened, epoch),
            on_text=partial(self._heard, epoch),
            on_end=partial(self._lost, epoch),
        )
        wire.gone.add_done_callback(lambda _: self._wires.pop(epoch))
        if self._origin.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            secure = self._tls if self._origin.secure else None
            await wire.dial(self._origin.host, self._origin.port, secure)
        except OSError as error:
            self._lost(epoch, CloseCode.ABNORMAL, sentence(error))
        finally:
            wire.abandon_unopened()

    def _attempted(self, epoch: int, task: asyncio.Task[None]) -> None:
        del self._attempts[epoch]
        if not task.cancelled():
            task.result()  # an unforeseen error reaches the event loop's handler; the welcome deadline ends the attempt

    def _opened(self, epoch: int) -> None:
        self.apply(self._session.opened(epoch, self.now))

    def _lost(self, epoch: int, code: int, reason: str) -> None:
        self.apply(self._session.lost(epoch, code, reason, self.now))

    def _heard(self, epoch: int, text: str) -> bool:
        """Take a frame; tell whether so many events wait by now that the program is to have a turn at them."""
        effects = self._session.received(epoch, text, self._loop.time())
        if len(effects) == 1 and isinstance(effects[0], Settled):  # an ack, of many: its timer may as well come early
            self._settle(effects[0].request, effects[0].receivers, effects[0].error)
        elif effects:
            self.apply(effects)
        elif self._session.inbox:
            if self._consumer is not None:
                self._wake_consumer()
            return len(self._session.inbox) >= self._turn
        return False
