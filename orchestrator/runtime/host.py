"""The main of an agent process: ``python -m orchestrator.runtime.host FD``.

FD is the child's end of the private socket pair to its parent: the spec comes down it, tokens are asked for on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from orchestrator.agents.describe import AgentCode, read_agent
from orchestrator.agents.loading import given, load_handler, search_roots
from orchestrator.client import events
from orchestrator.client.connection import Client
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ExitCode, OrchestratorError, TerminalDisconnect, TokenUnavailable
from orchestrator.runtime.control import (
    AwaitingTurn,
    Beat,
    Begin,
    ControlChannel,
    Drain,
    Ending,
    Loaded,
    Online,
    Ready,
    Revised,
    Spec,
    Tally,
    ToChild,
    TokenGranted,
    TokenWanted,
    Watched,
)
from orchestrator.runtime.figures import Recorder, Reporting
from orchestrator.runtime.imported import forget_changed, imported_files, remember
from orchestrator.runtime.invocation import fault
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.parent import exit_anyway, watch_parent
from orchestrator.runtime.pinned import trusting
from orchestrator.runtime.replica import Replica

if TYPE_CHECKING:
    from orchestrator.store.opening import Store

BEATS: Final = 4
"""Signs of life within the time after which a blocked event loop is not waited for any longer."""
LONGEST_BEAT: Final = 5.0


class Host:
    """One agent process, from its spec to its exit code."""

    def __init__(self, channel: ControlChannel[ToChild], spec: Spec, log: Any, *, shared: bool = False) -> None:
        """`shared`: there are others in this process, who may have imported the handler's module long ago."""
        self._channel, self._spec, self._log, self._shared = channel, spec, log, shared
        self._tokens: dict[int, asyncio.Future[str]] = {}
        self._requests = 0
        self._draining: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._turn = asyncio.Event()
        self._serving: Replica | None = None
        self._recorder = Recorder(spec.replica.concurrency)
        self._reporting = Reporting(self._recorder, channel.send)
        self._began = time.monotonic()

    def drain(self, seconds: float) -> None:
        """Ask for a good end; only the first call counts."""
        if not self._draining.done():
            self._draining.set_result(seconds)

    async def run(self) -> ExitCode:
        """Load the agent, connect, serve until told to drain, and say why the process ends."""
        listening = asyncio.create_task(self._listen(), name="control")
        try:
            code = self._load()
            return await self._serve(code)
        except OrchestratorError as error:
            self._end(str(error), getattr(error, "code", None))
            return error.exit_code
        except Unusable as error:
            self._end(str(error))
            return ExitCode.INVALID
        finally:
            self._reporting.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _load(self) -> AgentCode:
        handler = self._spec.replica.handler or ""  # only replicas that have one are hosted
        try:
            if self._shared:
                forget_changed(search_roots(Path(self._spec.directory), given(self._spec.app_dir)))
            target = load_handler(handler, Path(self._spec.directory), given(self._spec.app_dir))
            return read_agent(handler, target)
        except OrchestratorError:
            raise
        except Exception as error:  # noqa: BLE001 - the module is the user's: whatever it raises on import is theirs to see
            raise Unusable.because(f"{handler} cannot be imported", error, self._log) from None

    async def _serve(self, code: AgentCode) -> ExitCode:
        spec, loop = self._spec, asyncio.get_running_loop()
        limits = spec.replica.reconnect
        policy = ReconnectPolicy(cap=limits.max_delay, max_attempts=limits.max_attempts)
        tls = trusting(spec.trusted)
        client = Client(spec.hub_url, token_provider=self._token, reconnect=policy, tls=tls, daemon=True)
        store = self._way_to_store()
        replica = Replica(
            spec.replica,
            code,
            client,
            wall_offset=time.time() - loop.time(),
            new_id=lambda: secrets.token_hex(8),
            log=self._log,
            store=store,
            recorder=self._recorder,
        )
        self._serving = replica
        try:
            if not await self._unless(client.connect(), self._draining):
                return ExitCode.DONE
            if not await self._unless(self._take_turn(), self._draining):
                return self._verdict(client)
            following = asyncio.create_task(replica.run(self._announce), name="replica")
            try:
                if not await self._unless(self._start(replica), self._draining, following):
                    if following.done():
                        await following  # if it failed, so has this process
                    return self._verdict(client)
                self._report_files()
                self._channel.send(Ready(time.monotonic() - self._began))
                beating = asyncio.create_task(self._beat(), name="beat")
                try:
                    await _first(following, self._draining)
                finally:
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)
                clean = await replica.drain(self._draining.result() if self._draining.done() else spec.grace)
                if not clean:
                    self._log.warning("the time to drain is over, what still runs is cancelled")
            finally:
                await replica.close()
                await client.close()
                self._reporting.close()
                self._channel.send(Tally({"tasks done": replica.workload.completed}))
                await asyncio.gather(following, return_exceptions=True)
            await following  # if it failed, so has this process
        finally:
            await client.close()
            if store is not None:
                await store.close()
        return self._verdict(client)

    async def _take_turn(self) -> None:
        """Wait until those whom this replica hands tasks to have come, or will not come."""
        if self._spec.waits:
            self._channel.send(AwaitingTurn())
            await self._turn.wait()

    def _report_files(self) -> None:
        roots = search_roots(Path(self._spec.directory), given(self._spec.app_dir))
        files = imported_files(roots)
        if self._shared:
            remember(files)
        self._channel.send(Loaded(files))

    async def _beat(self) -> None:
        """Say that the event loop goes round, often enough that one that does not is noticed."""
        patience = self._spec.replica.watchdog
        while patience is not None:
            self._channel.send(Beat())
            await asyncio.sleep(min(patience / BEATS, LONGEST_BEAT))

    def _way_to_store(self) -> Store | None:
        if self._spec.engine is not None and self._spec.replica.store is not None:
            from orchestrator.runtime.shared_store import OwnShare

            return OwnShare(self._spec.engine, self._spec.replica.peer_id, self._spec.replica.store)
        if not self._spec.store:
            return None
        from orchestrator.store.remote import RemoteStore  # most agents need none

        return RemoteStore(self._spec.store, self._token)

    async def _start(self, replica: Replica) -> None:
        try:
            await replica.start()
        except OrchestratorError:
            raise
        except Exception as error:  # noqa: BLE001 - the constructor and `setup` are the user's
            raise Unusable.because("the agent could not be set up", error, self._log) from None

    def _verdict(self, client: Client) -> ExitCode:
        failure = client.failure
        if failure is None or (self._draining.done() and not isinstance(failure, TerminalDisconnect)):
            return ExitCode.DONE
        self._end(str(failure), failure.code if isinstance(failure, TerminalDisconnect) else None)
        return failure.exit_code

    async def _unless(self, work: Any, *ends: asyncio.Future[Any]) -> bool:
        """Do `work`, unless one of `ends` comes before it is done; returns whether it was done."""
        task = asyncio.ensure_future(work)
        try:
            await _first(task, *ends)
            if task.done():
                await task
                return True
            return False
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _end(self, sentence: str, close_code: int | None = None) -> None:
        self._channel.send(Ending(sentence, close_code))

    def _announce(self, event: events.ClientEvent) -> None:
        if isinstance(event, events.Connected) and event.resumed:
            self._channel.send(Online(True))
        elif isinstance(event, events.Disconnected):
            self._channel.send(Online(False, event.reason or str(event.code)))

    async def _token(self) -> str:
        self._requests += 1
        request = self._requests
        future = self._tokens[request] = asyncio.get_running_loop().create_future()
        self._channel.send(TokenWanted(request))
        try:
            token: str = await future
        finally:
            del self._tokens[request]
        return token

    async def _listen(self) -> None:
        async for message in self._channel:
            if isinstance(message, TokenGranted):
                future = self._tokens.get(message.request)
                if future is not None and not future.done():
                    future.set_result(message.token)
            elif isinstance(message, Drain):
                self.drain(message.grace)
            elif isinstance(message, Begin):
                self._turn.set()
            elif isinstance(message, Watched):
                self._reporting.watched(message.watched)
            elif isinstance(message, Revised):
                self._revise(message)
        for future in self._tokens.values():
            if not future.done():
                future.set_exception(TokenUnavailable("the parent process is gone"))

    def _revise(self, message: Revised) -> None:
        """Take up who else is there."""
        if self._serving is not None:
            self._serving.revise(message.replica)
        else:
            self._spec = msgspec.structs.replace(self._spec, replica=message.replica)


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


class Unusable(Exception):
    """The agent's own code failed before it could serve."""

    @classmethod
    def because(cls, what: str, error: Exception, log: Any) -> Unusable:
        told = fault(error)
        said = f"{told.failure.type}: {told.failure.message}"
        log.error(what, error=said, exception=told.frames)
        return cls(f"{what}: {said}")


async def serve(end: socket.socket) -> ExitCode:
    """Serve one replica over the control socket `end`, as the whole of a process."""

    def settle(host: Host, spec: Spec) -> None:
        configure_child({"agent": spec.replica.agent, "peer": spec.replica.peer_id}, spec.log_level)
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, host.drain, spec.grace)
        watch_parent(end, lambda: _quietly(loop, host.drain))

    code = await _serve(end, settle)
    exit_anyway(code)
    return code


async def serve_inline(end: socket.socket) -> ExitCode:
    """Do the same in an event loop that others run in as well."""
    return await _serve(end, None)


async def _serve(end: socket.socket, settle: Callable[[Host, Spec], None] | None) -> ExitCode:
    """`settle` is called before the replica begins; without it, there are others in this process."""
    channel = await ControlChannel.of_child(end)
    spec = await anext(aiter(channel), None)
    if not isinstance(spec, Spec):
        return ExitCode.FAILED
    host = Host(channel, spec, structlog.get_logger(), shared=settle is None)
    if settle is not None:
        settle(host, spec)
    try:
        return await host.run()
    finally:
        await channel.close()


def _quietly(loop: asyncio.AbstractEventLoop, drain: Callable[[float], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
        loop.call_soon_threadsafe(drain, 0.4)


def main() -> int:
    end = socket.socket(fileno=int(sys.argv[1]))
    return asyncio.run(serve(end))


if __name__ == "__main__":
    sys.exit(main())
