"""The main of a store process that another process supervises: ``python -m orchestrator.runtime.store FD``.

FD is the child's end of the private socket pair to its parent: the spec with the keys comes down it, `Ready` goes back.
The listening socket is the parent's, so that agents wait in its backlog while a store that crashed is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hmac
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, StoreUnavailable
from orchestrator.hub import open_files
from orchestrator.hub.serve import run_fast
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import TokenRefused, verify
from orchestrator.runtime.control import AccessChanged, ControlChannel, Drain, Ending, Ready, StoreSpec, ToChild
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.parent import watch_parent
from orchestrator.store.errors import StoreLocked
from orchestrator.store.opening import store_at
from orchestrator.store.server import StoreServer
from orchestrator.store.server_connection import OPERATOR, Caller, TokenUnwelcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.store.opening import Store

_ORPHAN_GRACE: Final = 0.25
"""Seconds for what is under way in a store whose parent is gone."""
_LOCK_SECONDS: Final = 3.0
"""How long a file that another process has is waited for: a command may need it for a moment."""
_LOCK_PAUSE: Final = 0.1
_SWITCH_SECONDS: Final = 0.00005
"""After how long the writer's thread and the event loop leave the interpreter to each other. Either needs it for a moment
only, and Python's 5 ms would have the other wait for most of a transaction."""
_COLLECTED: Final = (50_000, 50, 100)
"""How much garbage there may be before it is looked for: requests make none that reference counts do not find, and looking
for it took a sixth of the event loop's time."""
_log: Final = logging.getLogger("orchestrator.store")


async def serve_parent(end: socket.socket) -> int:
    """Serve what the spec on the control socket says, as the whole of a process, and return the exit code."""

    def settle(server: StoreServer, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        _watch(end, server, stop)
        gc.freeze()  # what is there now stays, and need not be looked through again and again
        gc.set_threshold(*_COLLECTED)

    return await _serve(end, lambda level: configure_child({"process": "store"}, level), settle)


async def serve_inline(end: socket.socket) -> int:
    """Do the same in an event loop that others run in as well."""
    return await _serve(end, lambda _level: None, lambda _server, _stop: None)


async def _serve(
    end: socket.socket, begin: Callable[[str], None], settle: Callable[[StoreServer, asyncio.Event], None]
) -> int:
    """`begin` is called with the level of the log, and `settle` when the server is about to be ready."""
    began = time.monotonic()
    channel = await ControlChannel.of_child(end)
    spec = await anext(aiter(channel), None)
    if not isinstance(spec, StoreSpec):
        return ExitCode.FAILED
    begin(spec.log_level)
    try:
        store = store_at(spec.address, Path(spec.directory))
        try:
            await _opened(store)
        except asyncio.CancelledError:
            await store.close()
            raise
    except (ValueError, StoreLocked) as error:
        channel.send(Ending(str(error)))
        await channel.close()
        return ExitCode.FAILED
    try:
        await _serve_open(spec, store, channel, settle, began)
    finally:
        await store.close()
        await channel.close()
    return ExitCode.DONE


async def _opened(store: Store) -> None:
    """Open a store; a file that cannot be used now is told to whoever asks, and tried again then. Raises `StoreLocked`."""
    until: float | None = None
    while True:
        try:
            await store.open()
        except StoreLocked as error:
            if error.pid is None:
                _log.error("%s", error)
                return
            if until is None:
                _log.warning("%s; waiting for it", error)
                until = time.monotonic() + _LOCK_SECONDS
            elif time.monotonic() > until:
                await store.close()
                raise
            await asyncio.sleep(_LOCK_PAUSE)
        except StoreUnavailable as error:
            _log.error("%s", error)
            return
        else:
            return


async def _serve_open(
    spec: StoreSpec,
    store: Store,
    channel: ControlChannel[ToChild],
    settle: Callable[[StoreServer, asyncio.Event], None],
    began: float,
) -> None:
    stop = asyncio.Event()
    listening = socket.socket(fileno=os.dup(spec.listening))
    listening.setblocking(False)
    admission = Admission(spec)
    server = StoreServer(store, admission, _log, grace=spec.grace / 2)
    settle(server, stop)
    channel.send(Ready(time.monotonic() - began))
    beside = [
        asyncio.create_task(_obey(channel, server, admission, stop), name="control"),
        asyncio.create_task(_tell_abandoned(store, spec), name="queues"),
    ]
    try:
        await server.serve(listening, stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _tell_abandoned(store: Store, spec: StoreSpec) -> None:
    """Say of which tasks nobody is going to take any: their worker has another name by now, or another delivery."""
    taken = {access.agent for access in spec.access.values() if access.claims}
    try:
        queues = await store.tasks.stats()
    except StoreUnavailable:
        return  # which is said anyway
    for queue in queues:
        if queue.open and queue.queue not in taken:
            _log.warning(
                "%d task(s) wait for %r, which is no at-least-once worker of this topology: give it back its name, "
                "or end them with 'orchestrator tasks cancel'",
                queue.open,
                queue.queue,
            )


class Admission:
    """Tells from a token who brings it: a peer of the topology, or the operator, who has a secret of his own."""

    def __init__(self, spec: StoreSpec) -> None:
        import jwt  # noqa: F401  # `verify` needs it, and the first who comes would have to wait for it

        self._keys = {key.id: key for key in spec.keys}
        self._operator, self.access = spec.operator.encode(), spec.access

    def __call__(self, token: str) -> Caller:
        """Raises `TokenUnwelcome`."""
        if self._operator and hmac.compare_digest(token.encode("utf-8", "replace"), self._operator):
            return OPERATOR
        now = time.time()
        try:
            _, claims = verify(token, self._keys, now)
        except TokenRefused as error:
            over = error.code is CloseCode.TOKEN_EXPIRED
            raise TokenUnwelcome("the token has expired" if over else "the token is not of this run") from None
        access = self.access.get(claims.sub)
        if access is None:
            raise TokenUnwelcome(f"{claims.sub} has no share in the store: nothing in the topology needs it")
        return Caller(claims.sub, access, claims.exp - now)

    def holds(self, caller: Caller) -> bool:
        """Whether somebody who was admitted may still do the same."""
        return caller.peer_id is None or self.access.get(caller.peer_id) == caller.access


async def _obey(
    channel: ControlChannel[ToChild], server: StoreServer, admission: Admission, stop: asyncio.Event
) -> None:
    async for message in channel:
        if isinstance(message, AccessChanged):
            admission.access = message.access
            server.readmit(admission.holds)
        elif isinstance(message, Drain):
            server.grace = message.grace / 2
            stop.set()
    server.grace = _ORPHAN_GRACE
    stop.set()


def _watch(end: socket.socket, server: StoreServer, stop: asyncio.Event) -> None:
    """Stop when the parent is gone, also when its last message is not read yet."""
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        server.grace = _ORPHAN_GRACE
        stop.set()

    def tell_loop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
            loop.call_soon_threadsafe(orphaned)

    watch_parent(end, tell_loop)


def main() -> int:
    end = socket.socket(fileno=int(sys.argv[1]))
    open_files.allow_many()
    sys.setswitchinterval(_SWITCH_SECONDS)
    return run_fast(serve_parent(end))


if __name__ == "__main__":
    sys.exit(main())
