"""The store of another process, reached over its Unix socket, as if it were here."""

from __future__ import annotations

import asyncio
import math
import random
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import OrchestratorError, StoreUnavailable
from orchestrator.store import wire_requests as requests
from orchestrator.store.port import Capabilities
from orchestrator.store.remote_link import NOTHING_HEARD, Link
from orchestrator.store.remote_port import RemoteLeases, RemoteTasks
from orchestrator.store.wire_answers import Refusal, raised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.store.port import Leases
    from orchestrator.store.tasks import Tasks
    from orchestrator.store.wire_answers import AnyAnswer
    from orchestrator.store.wire_requests import AnyRequest

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before another attempt to connect: up to twice as many as before each time, from the one to the other."""
CLOSING_SECONDS: Final = 1.0
"""How long `close` waits for what was asked for."""


class _Asked:
    __slots__ = ("answer", "deadline", "request")

    def __init__(self, request: AnyRequest, answer: asyncio.Future[Any], deadline: float) -> None:
        self.request, self.answer, self.deadline = request, answer, deadline


class RemoteStore:
    """Connects when it is first needed, and again as long as a request waits.

    What is asked for while there is no connection waits for one, and what had no answer when a connection was lost is asked
    again. Only a claim or a reclaim that the store may have heard is not: it raises `StoreUnavailable` at once.
    """

    def __init__(self, path: str, token: Callable[[], Awaitable[str]], *, patience: float = 10.0) -> None:
        """`token` returns one that is valid now, and is asked for each connection; `patience` = seconds after which a
        request that has no answer raises `StoreUnavailable`."""
        self._path, self._token, self._patience = path, token, patience
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._problem = NOTHING_HEARD
        self._closed = False
        self.tasks: Tasks = RemoteTasks(self)
        self.leases: Leases = RemoteLeases(self)
        self.capabilities = Capabilities(durable=False, fenced=True, shared=True)
        """Those of the store behind it, once there was a connection."""

    async def open(self) -> None:
        """See whether the store can be used now; raises what keeps it from that."""
        await self.ask(requests.Open(self.number()))

    async def idle(self) -> None:
        """Return once no task is ready, leased or due later. For operators; it waits as long as that takes."""
        await self.ask(requests.Idle(self.number()), patience=math.inf)

    async def close(self) -> None:
        """Wait for what was asked for as long as there is a connection, at most a second, and end it."""
        if self._closed:
            return
        self._closed = True
        waiting = [each.answer for each in self._asked.values() if each.deadline < math.inf]
        if waiting and self._link is not None:
            await asyncio.wait(waiting, timeout=CLOSING_SECONDS)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._timer is not None:
            self._timer.cancel()
        for asked in list(self._asked.values()):
            _settle(asked, self._unavailable("was closed before it answered"))
        if self._link is not None:
            self._link.close()
            self._link = None

    # -- requests

    def number(self) -> int:
        return next(self._numbers)

    async def ask(self, request: AnyRequest, *, patience: float | None = None) -> Any:
        """Return the answer to a request, or raise the error that it was answered with."""
        if self._closed:
            raise self._unavailable("is closed")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._patience if patience is None else patience)
        asked = self._asked[request.number] = _Asked(request, loop.create_future(), deadline)
        if self._link is not None:
            self._link.send(request)
        else:
            self._reach()
        if self._timer is None and deadline < math.inf:
            self._timer = loop.call_at(deadline, self._overdue)
        try:
            return await asked.answer
        finally:
            self._asked.pop(request.number, None)

    def _overdue(self) -> None:
        """Tell those that have waited for too long. Requests are kept in the order in which they came."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for asked in list(self._asked.values()):
            if asked.deadline <= now:
                _settle(asked, self._unavailable(f"gave no answer within {self._patience:g} s: {self._problem}"))
            elif asked.deadline < math.inf:
                self._timer = loop.call_at(asked.deadline, self._overdue)
                return

    def _unavailable(self, found: str) -> StoreUnavailable:
        return StoreUnavailable(f"the store at {self._path} {found}")

    # -- what a link tells

    def answered(self, answer: AnyAnswer) -> None:
        asked = self._asked.get(answer.number)
        if asked is None or asked.answer.done():
            return
        if isinstance(answer, Refusal):
            asked.answer.set_exception(raised(answer))
        else:
            asked.answer.set_result(answer.value)

    def waits_for(self, request: AnyRequest) -> bool:
        asked = self._asked.get(request.number)
        return asked is not None and not asked.answer.done()

    def unsendable(self, request: AnyRequest, problem: Exception) -> None:
        asked = self._asked.get(request.number)
        if asked is not None:
            _settle(asked, ValueError(f"the store cannot be asked for this: {problem}"))

    def lost(self, link: Link) -> None:
        if link is not self._link:
            return
        self._link, self._problem = None, NOTHING_HEARD
        for asked in list(self._asked.values()):
            if asked.request.number <= link.heard and not asked.request.repeatable:
                _settle(asked, self._unavailable("was lost before it answered; what was claimed may have been granted"))
        if any(not asked.answer.done() for asked in self._asked.values()) and not self._closed:
            self._reach()

    # -- connecting

    def _reach(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name=f"reaching {self._path}")
            self._connecting.add_done_callback(self._connected)

    async def _connect(self) -> None:
        """Connect as long as anybody waits for that, then ask for all that has no answer."""
        pause = FIRST_PAUSE
        while self._asked:
            try:
                link, self.capabilities = await self._admitted()
            except (OSError, OrchestratorError) as error:
                self._problem = str(error) or type(error).__name__
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._link = link
            for asked in self._asked.values():
                link.send(asked.request)
            return

    async def _admitted(self) -> tuple[Link, Capabilities]:
        token = await self._token()
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: Link(self, token), self._path)
        try:
            return link, await link.welcome
        except BaseException:
            link.abort()
            raise

    def _connected(self, connecting: asyncio.Task[None]) -> None:
        self._connecting = None
        if connecting.cancelled():
            return
        error = connecting.exception()
        if error is not None:
            for asked in list(self._asked.values()):
                unavailable = self._unavailable(f"is not reached: {type(error).__name__}: {error}")
                unavailable.__cause__ = error
                _settle(asked, unavailable)
        elif self._link is None and self._asked and not self._closed:
            self._reach()


def _settle(asked: _Asked, error: Exception) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(error)
