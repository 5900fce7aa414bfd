"""A real `orchestrator hub serve`, with a key file of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.hub import key_file
from orchestrator.hub.key_file import PublishableEntry, SecretEntry
from orchestrator.protocol.tokens import Claims, mint
from tests.nodes import new_neighbourhood

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

PAGE_KEY = "pk_live_" + "p" * 24


@dataclass
class HubProcess:
    _url: str
    _http: str
    keys: Path
    process: asyncio.subprocess.Process
    other: HubProcess | None = None
    """Another one that is joined to it: whoever asks for the address is given theirs by turns."""
    _asked: int = 0

    @property
    def url(self) -> str:
        return self._next()._url

    @property
    def http(self) -> str:
        return self._next()._http

    def _next(self) -> HubProcess:
        self._asked += 1
        return self if self.other is None or self._asked % 2 else self.other

    def token(self, sub: str, **claims: Any) -> str:
        key = key_file.load(self.keys).secret_keys[0].key()
        return mint(key, Claims(sub=sub, exp=int(time.time()) + 600, **claims))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.other is None:
            self.process.send_signal(number)
            return await self.process.wait()
        other, self.other = self.other, None
        codes = await asyncio.gather(self.stop(number), other.stop(number))
        return max(codes)

    def assert_healthy(self) -> None:
        """Check that the process still runs, and that neither it nor an earlier hub of this file has logged a fault."""
        if self.other is not None:
            self.other.assert_healthy()
        log = _log(self.keys).read_text()
        assert self.process.returncode is None, f"the hub has ended: {log}"
        assert "Traceback" not in log and " ERROR " not in log, log


def _log(keys: Path) -> Path:
    return keys.with_name(f"{keys.name}.log")


def _provide_keys(path: Path) -> None:
    if path.exists():
        return
    with key_file.changed(path) as keys:
        keys.secret_keys.append(SecretEntry("sk_id_test", "sk_secret_" + "k" * 32, rate="unlimited"))
        keys.publishable_keys.append(PublishableEntry("pk_id_test", PAGE_KEY))


@contextmanager
def reserved_address() -> Iterator[str]:
    """Hold a port that hubs can be started on, one after another: between them nobody else is given it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@asynccontextmanager
async def hub_process(
    keys: Path, listen: str = "127.0.0.1:0", *more: str, inherits: Sequence[int] = ()
) -> AsyncIterator[HubProcess]:
    """Start a hub and wait until it says that it is ready; it is killed if it is still there in the end.

    Where a test is to be run on two hubs, both of them.
    """
    _provide_keys(keys)
    backplane = new_neighbourhood()
    if backplane is None:
        async with _started(keys, listen, *more, inherits=inherits) as hub:
            yield hub
        return
    joined = ("--backplane", backplane, *more)
    async with (
        _started(keys, listen, *joined, "--node-name", "first", inherits=inherits) as hub,
        _started(keys, _beside(listen), *joined, "--node-name", "second") as hub.other,
    ):
        yield hub


_BESIDE: Final[dict[str, str]] = {}
"""Of an address that hubs are started on one after another, where their neighbours are started."""


def _beside(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if host == "fd":
        return "127.0.0.1:0"
    if port == "0":
        return listen
    if listen not in _BESIDE:
        with reserved_address() as address:
            _BESIDE[listen] = address
    return _BESIDE[listen]


@asynccontextmanager
async def _started(keys: Path, listen: str, *more: str, inherits: Sequence[int] = ()) -> AsyncIterator[HubProcess]:
    command = [sys.executable, "-m", "orchestrator", "hub", "serve", "--keys", str(keys), "--listen", listen, "--json"]
    with _log(keys).open("a") as log:
        process = await asyncio.create_subprocess_exec(
            *command, *more, stdout=asyncio.subprocess.PIPE, stderr=log, pass_fds=inherits
        )
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline() or "null")
        assert ready, f"the hub did not start: {_log(keys).read_text()}"
        assert ready["pid"] == process.pid
        yield HubProcess(ready["url"], ready["http"], keys, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
