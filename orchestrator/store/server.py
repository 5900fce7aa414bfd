"""The store as a server on a Unix socket: it admits by token, confines each caller to its own, and sweeps by the clock."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import StoreUnavailable
from orchestrator.store.confined import ConfinedStore
from orchestrator.store.errors import StoreRefused
from orchestrator.store.server_connection import Caller, Connection
from orchestrator.store.wire_answers import refusal
from orchestrator.store.wire_requests import Claim, Enqueue, Idle, Sweep

if TYPE_CHECKING:
    import logging
    import socket
    from collections.abc import Callable

    from orchestrator.store.opening import Store
    from orchestrator.store.wire_requests import AnyRequest

MAX_CONNECTIONS: Final = 1_024
PROBLEM_PAUSE: Final = 1.0
"""Seconds after which the server itself tries again what the store could not do."""
LEAST_PAUSE: Final = 0.05
"""Seconds between two sweeps, and between two looks at whether the store is idle."""
LONGEST_PAUSE: Final = 3_600.0


class StoreServer:
    """Serves a store that is open, or becomes so by itself; what is wrong with it is told to each who asks.

    It is for stores that live in this process: while a request waits, no task of asyncio's stands for it.
    """

    def __init__(
        self, store: Store, admit: Callable[[str], Caller], log: logging.Logger, *, grace: float = 5.0
    ) -> None:
        """`admit` says whose a token is, or raises `TokenUnwelcome`; `grace` = seconds for what is under way at the end."""
        self.log, self.grace = log, grace
        self._store, self._admit = store, admit
        self._connections: set[Connection] = set()
        self._alone = asyncio.Event()
        self._alone.set()
        self._idlers: dict[Connection, list[Idle]] = {}
        self._changed = asyncio.Event()
        self._sweep_at, self._sooner = math.inf, asyncio.Event()
        self._problem: tuple[type[AnyRequest], str] | None = None

    async def serve(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Take connections until `stop` is set, then answer what is under way and close them all.

        `listening` is closed, and its path stays.
        """
        loop = asyncio.get_running_loop()
        more: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await loop.create_unix_server(
            lambda: Connection(self), sock=listening, backlog=MAX_CONNECTIONS, **more
        )
        own = [asyncio.create_task(self._sweep(), name="sweep"), asyncio.create_task(self._tell_idle(), name="idle")]
        try:
            await asyncio.wait(
                [*own, stopped := asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            stopped.cancel()
            for task in own:
                if task.done():
                    task.result()
        finally:
            server.close()
            for task in own:
                task.cancel()
            await asyncio.gather(*own, return_exceptions=True)
            await self._part()

    async def _part(self) -> None:
        for connection in list(self._connections):
            connection.leave()
        try:
            async with asyncio.timeout(self.grace):
                await self._alone.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await self._alone.wait()

    # -- for connections

    def opened(self, connection: Connection) -> bool:
        self._connections.add(connection)
        self._alone.clear()
        return len(self._connections) <= MAX_CONNECTIONS

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idlers.pop(connection, None)
        if not self._connections:
            self._alone.set()

    def admitted(self, token: str) -> tuple[Caller, Store]:
        caller = self._admit(token)
        if caller.peer_id is None or caller.access is None:
            return caller, self._store
        return caller, ConfinedStore(self._store, caller.peer_id, caller.access)

    def readmit(self, holds: Callable[[Caller], bool]) -> None:
        """Have everybody of whom `holds` is false connect again, which shows whether, and to what, they are admitted.

        What they have asked for and is under way is answered first.
        """
        for connection in list(self._connections):
            if connection.caller is not None and not holds(connection.caller):
                connection.leave()

    def done(self, request: AnyRequest, value: Any) -> None:
        kind = type(request)
        if kind is Claim:
            if value.tasks:
                self._sweep_in(request.lease)  # type: ignore[union-attr]
        elif kind is Enqueue:
            for task in request.tasks:  # type: ignore[union-attr]
                if task.expires is not None:
                    self._sweep_in(task.expires)
        if self._idlers:
            self._changed.set()
        if self._problem is not None:
            self._passed(kind)

    def failed(self, request: AnyRequest, error: Exception) -> None:
        if isinstance(error, StoreUnavailable):
            self._note(type(request), str(error))

    def _note(self, kind: type[AnyRequest], sentence: str) -> None:
        if self._problem is None or self._problem[1] != sentence:
            self._problem = (kind, sentence)
            self.log.error("%s", sentence)

    def _passed(self, kind: type[AnyRequest]) -> None:
        """A problem is over when what it kept from being done is done."""
        if self._problem is not None and self._problem[0] is kind:
            self._problem = None
            self.log.info("the store works again")

    # -- idleness

    def wait_for_idle(self, connection: Connection, request: Idle) -> None:
        if not connection.is_operator:
            wish, remedy = "wait until all tasks have ended", "only 'orchestrator run --until-idle' does"
            connection.say(refusal(request.number, StoreRefused(connection.name, wish, remedy)))
            return
        self._idlers.setdefault(connection, []).append(request)
        self._changed.set()

    async def _tell_idle(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                open_tasks = sum(queue.open for queue in await self._store.tasks.stats()) if self._idlers else 1
            except StoreUnavailable as error:
                self._note(Sweep, str(error))
                await asyncio.sleep(PROBLEM_PAUSE)
                self._changed.set()
                continue
            if not open_tasks:
                waiting, self._idlers = self._idlers, {}
                for connection, requests in waiting.items():
                    for request in requests:
                        connection.say(request.answer(request.number, None))
            await asyncio.sleep(LEAST_PAUSE)

    # -- sweeping

    def _sweep_in(self, seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        if at < self._sweep_at:
            self._sweep_at = at
            self._sooner.set()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._sweep_at = math.inf
            left = await self._swept()
            if left is not None:
                self._sweep_in(max(left, LEAST_PAUSE) if left else 0.0)
            self._changed.set()
            while (pause := self._sweep_at - loop.time()) > 0:
                self._sooner.clear()
                try:
                    async with asyncio.timeout(min(pause, LONGEST_PAUSE)):
                        await self._sooner.wait()
                except TimeoutError:
                    continue

    async def _swept(self) -> float | None:
        try:
            left = await self._store.tasks.sweep()
        except StoreUnavailable as error:
            self._note(Sweep, str(error))
            return PROBLEM_PAUSE
        self._passed(Sweep)
        return left
