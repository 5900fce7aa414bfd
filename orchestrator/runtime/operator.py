"""What a run does for the commands of its user: a server on the run's socket, and no decision of its own.

It is never in the run's way: connections, lines, what waits for a reader, and the time until a request comes are bounded.
What a command has asked for is done even if the command leaves before it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.operator_wire import (
    MAX_REQUEST,
    VERSION,
    Done,
    Enter,
    Hello,
    Link,
    Logs,
    Missed,
    NotInRun,
    NotUnderstood,
    Progress,
    Ps,
    Refused,
    Reload,
    Restart,
    Scale,
    Stop,
    Top,
    UpToNow,
    line_for,
    line_of,
    read_hello,
    read_request,
)
from orchestrator.runtime.records import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.runtime.operator_wire import AnyAnswer, Entry, Linked, RunView, TopView
    from orchestrator.runtime.recent import Heard, Recent
    from orchestrator.runtime.records import Record, Source

MAX_CONNECTIONS: Final = 64
RESERVED: Final = 8
"""Connections beyond these for whoever looks at the run or ends it."""
UNATTENDED: Final = 60.0
"""Seconds for which the outcome of a change is waited for whose command has left; it goes on in any case, since what takes
so long is not to begin it, but that replicas get ready."""
MAX_CHANGES: Final = 64
"""Changes that wait for replicas to get ready, whether or not their command does."""
FIRST_REQUEST: Final = 5.0
"""Seconds that a command may take to say what it wishes."""
PARTING: Final = 0.5
"""Seconds that a reader has, when the run ends, to take what waits for it."""
MAX_UNSENT: Final = 65_536
"""Bytes that wait for a slow reader before the records behind them wait in `Recent`."""
_AT_ONCE: Final = 200
"""Records that are turned into lines in one go."""
_TURNS: Final = 4
_OWN_PROCESSES: Final = {"(hub)": "hub", "(store)": "store"}
"""How those that are no agents are called among the processes of a run, and in its log."""

_log: Final = logging.getLogger(__name__)


class Operated(Protocol):
    """A run, as commands see it. What cannot be done raises an `OrchestratorError` with a sentence for its user."""

    def view(self) -> RunView: ...

    def counts(self) -> TopView: ...

    async def scale(self, wished: Mapping[str, int]) -> str:
        """Have so many replicas of agents; return a sentence that says what was done, as the others do."""
        ...

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        """Restart agents or replicas, one at a time of each agent; `progress` takes a sentence about each."""
        ...

    async def reload(self) -> str: ...

    def enter(self, sub: str, instance: str) -> Entry:
        """Let somebody in to the hub; each that is empty is made up."""
        ...

    def link(self) -> Linked: ...

    def stop(self, grace: float | None) -> None:
        """Begin to end; `None` = with the grace that the run was started with. Again, it changes nothing."""
        ...


class Operator:
    """Serves one run."""

    def __init__(self, run: Operated, recent: Recent) -> None:
        self._run, self._recent = run, recent
        self._changes: set[asyncio.Task[str]] = set()
        self._connections: set[_Caller] = set()
        self._begun: set[_Caller] = set()
        self._ending = False
        self._tasks = asyncio.TaskGroup()

    async def serve(self, listening: socket.socket) -> None:
        """Answer commands until cancelled; once only.

        To be cancelled last of all that a run does: whoever waits for its end is told of it by that. `listening` is closed.
        """
        more: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        loop = asyncio.get_running_loop()
        async with self._tasks:
            server = await asyncio.start_unix_server(
                self._accepted,
                sock=listening,
                limit=MAX_REQUEST,
                backlog=MAX_CONNECTIONS,
                start_serving=False,  # it accepts while it starts, which may be cancelled
                **more,
            )
            try:
                await server.start_serving()
                await loop.create_future()
            finally:
                self._ending = True
                loop.remove_reader(listening)
                for change in self._changes:
                    change.cancel()
                for caller in self._connections - self._begun:  # their tasks will never have begun
                    caller.abort()
                for _ in range(_TURNS):  # what was accepted in this turn of the loop turns up in the next ones
                    await asyncio.sleep(0)
                server.close()  # not before: what is accepted then is neither given to anybody nor closed

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = _Caller(reader, writer)
        if self._ending:
            caller.abort()
            return
        self._connections.add(caller)
        self._tasks.create_task(self._connection(caller), name="operator")

    async def _connection(self, caller: _Caller) -> None:
        self._begun.add(caller)
        try:
            await self._answered(caller)
            await caller.finish()
        except ConnectionError:  # it has left
            return
        finally:
            self._connections.discard(caller)
            self._begun.discard(caller)
            await caller.part()

    async def _answered(self, caller: _Caller) -> None:
        try:
            await self._served(caller)
        except ConnectionError:
            raise
        except OrchestratorError as error:
            caller.say(Refused(str(error), error.exit_code))
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends one command, and not the run
            _log.error("a command could not be answered", exc_info=error)
            caller.say(Refused(f"the run could not do that ({type(error).__name__}); its log says more"))

    async def _served(self, caller: _Caller) -> None:
        caller.check()
        if len(self._connections) > MAX_CONNECTIONS + RESERVED:
            raise Busy(f"{MAX_CONNECTIONS + RESERVED} commands are being answered already; end one of them")
        try:
            async with asyncio.timeout(FIRST_REQUEST):
                caller.say(Hello(VERSION, os.getpid()))
                read_hello(await caller.line())
                request = read_request(await caller.line())
        except TimeoutError:
            raise NotUnderstood(f"no request came within {FIRST_REQUEST:g} s") from None
        if len(self._connections) > MAX_CONNECTIONS and not isinstance(request, Ps | Top | Stop):
            raise Busy(f"{MAX_CONNECTIONS} commands are being answered already; end one of them")
        match request:
            case Logs():
                await self._logs(caller, request)
            case Stop(grace=grace):
                self._run.stop(grace)
                caller.say(Progress("it is ending"))
                await caller.left()  # or until all of this is cancelled, when the run has ended
            case Ps():
                caller.say(self._run.view())
            case Enter(sub=sub, instance=instance):
                caller.say(self._run.enter(sub, instance))
            case Link():
                caller.say(self._run.link())
            case Top():
                caller.say(self._run.counts())
            case Scale() | Restart() | Reload():
                caller.say(Done(await self._change(caller, request)))

    async def _change(self, caller: _Caller, request: Scale | Restart | Reload) -> str:
        """Have a change made, and wait for it as long as its command does: it goes on without one."""
        if len(self._changes) >= MAX_CHANGES:
            raise Busy(f"{MAX_CHANGES} changes are under way already; `orchestrator ps` shows who is not ready")
        change = asyncio.create_task(self._made(caller, request), name="change")
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        leaving = asyncio.create_task(caller.left())
        try:
            await asyncio.wait([change, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        if change.done():
            return change.result()
        change.add_done_callback(_say_what_became)
        asyncio.get_running_loop().call_later(UNATTENDED, change.cancel)
        raise ConnectionResetError("the command has left")

    async def _made(self, caller: _Caller, request: Scale | Restart | Reload) -> str:
        match request:
            case Scale(wished=wished):
                return await self._run.scale(wished)
            case Restart(names=names):
                return await self._run.restart(names, lambda sentence: caller.say(Progress(sentence)))
            case Reload():
                return await self._run.reload()

    # -- the log

    async def _logs(self, caller: _Caller, request: Logs) -> None:
        names = frozenset(_OWN_PROCESSES.get(name, name) for name in request.agents)
        self._check(names)
        fits = _fitting(request)
        if not request.follow:
            await self._tell(caller, self._recent.tail(names, request.lines, fits))
            caller.say(Done())
            return
        with self._recent.follow(names, request.lines, fits, apart=request.marked) as follower:
            leaving = asyncio.create_task(caller.left())
            leaving.add_done_callback(lambda _: follower.end())
            try:
                if request.marked:
                    await self._tell(caller, follower.before)
                    follower.before = ()
                    caller.say(UpToNow())
                while not leaving.done():
                    await self._pass_on(caller, await follower.next(), leaving)
            except asyncio.CancelledError:  # the run has ended: its last words are of interest
                caller.say_all(follower.now())
                raise
            finally:
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)

    async def _tell(self, caller: _Caller, records: Sequence[tuple[Source, Record]]) -> None:
        for source, record in records:
            caller.say(line_for(source, record))
            if caller.waits:
                await caller.written()

    async def _pass_on(self, caller: _Caller, heard: Heard, leaving: asyncio.Task[None]) -> None:
        if heard.missed:
            caller.say(Missed(heard.missed))
        for start in range(0, len(heard.records), _AT_ONCE):
            for source, record in heard.records[start : start + _AT_ONCE]:
                caller.say(line_for(source, record))
            await caller.written()
            if leaving.done():
                return

    def _check(self, names: frozenset[str]) -> None:
        """Raises `NotInRun` for a name that nobody has or had."""
        sources = self._recent.sources()
        known = {"run", "hub", "store", *(source.name for source in sources)}
        known |= {source.agent for source in sources if source.agent is not None}
        for replica in self._run.view().replicas:
            known |= {replica.agent, replica.peer}
        for name in sorted(names - known):
            raise NotInRun(name, sorted(known - {"", *_OWN_PROCESSES}))


def _fitting(request: Logs) -> Callable[[Record], bool] | None:
    """Return what tells whether a record is asked for; `None` = every one is."""
    least, since = LEVELS[request.level], request.since
    if least == LEVELS["debug"] and since is None:
        return None
    return lambda record: LEVELS[record.level] >= least and (since is None or record.time >= since)


def _say_what_became(change: asyncio.Task[str]) -> None:
    if change.cancelled():
        return
    error = change.exception()
    if isinstance(error, OrchestratorError):
        _log.warning("a change whose command has left was not made: %s", error)
    elif error is not None:
        _log.error("a change whose command has left was not made", exc_info=error)


class Busy(OrchestratorError):
    """More commands than are answered at a time."""


class _Caller:
    """One command at the other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(high=MAX_UNSENT)

    def check(self) -> None:
        """Raises `NotOurs` for a process of another user, where the system can tell."""
        if hasattr(socket, "SO_PEERCRED"):
            layout = struct.Struct("3i")
            found = self._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
            uid = layout.unpack(found)[1]
            if uid not in (0, os.geteuid()):
                raise NotOurs(f"this run belongs to user {os.geteuid()}, and takes nothing from user {uid}")

    @property
    def waits(self) -> bool:
        return self._writer.transport.get_write_buffer_size() > MAX_UNSENT

    async def line(self) -> bytes:
        """Raises `NotUnderstood` for one that is too long, and `ConnectionError` when there is none."""
        try:
            line = await self._reader.readline()
        except ValueError:
            raise NotUnderstood(f"a line of a command exceeds {MAX_REQUEST} bytes") from None
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the command has left")
        return line

    def say(self, message: Hello | AnyAnswer) -> None:
        """Queue a message. To one that has left it is not delivered."""
        if not self._writer.is_closing():
            self._writer.write(line_of(message))

    def say_all(self, heard: Heard) -> None:
        if heard.missed:
            self.say(Missed(heard.missed))
        for source, record in heard.records:
            if self.waits:
                return
            self.say(line_for(source, record))

    async def written(self) -> None:
        """Wait for a reader that is slow. Raises `ConnectionError` for one that has left."""
        await self._writer.drain()

    async def left(self) -> None:
        """Return when the command has left. What else it says is not listened to."""
        try:
            while await self._reader.read(MAX_REQUEST):
                continue
        except ConnectionError:
            return

    def abort(self) -> None:
        self._writer.transport.abort()

    async def finish(self) -> None:
        """Close the connection when all that was said has been taken, however long its reader takes."""
        self._writer.close()
        await self._writer.wait_closed()

    async def part(self) -> None:
        """Close the connection now, or nearly so."""
        self._writer.close()
        try:
            async with asyncio.timeout(PARTING):
                await self._writer.wait_closed()
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._writer.transport.abort()  # which does nothing to one that is closed


class NotOurs(OrchestratorError):
    """Another user's process asks for something."""
