"""Probes of `doctor`: what listens where, what answers, what can be written. Each ends within `PATIENCE`, and decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan

PATIENCE: Final = 2.5
"""Seconds that one probe may take."""
_CHECK: Final = 1.5
"""Seconds for which the file of a store is looked through."""
_STEPS: Final = 100_000
_SOME: Final = 65_536
"""Bytes that are written to see whether they can be."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file that holds a secret."""

    path: str
    mode: int
    holds: str
    advice: str


@dataclass(frozen=True, slots=True)
class PortUse:
    host: str
    port: int
    run: int | None = None
    """The process of the run of this topology whose hub is there."""
    why: str = ""
    """Why nobody else can listen there; empty = one can."""
    taken: bool = False
    pid: int | None = None
    """Of the process that does, as far as it can be seen."""
    name: str = ""


def find_port(host: str, port: int, run: int | None) -> PortUse:
    if port == 0 or run is not None:
        return PortUse(host, port, run)
    try:
        [(family, kind, number, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        pid, name = listener(port) if taken else (None, "")
        return PortUse(host, port, None, (error.strerror or str(error)).lower(), taken, pid, name)
    return PortUse(host, port)


def listener(port: int) -> tuple[int | None, str]:
    """Return the process that listens on a port, and its name; `None` where the system does not tell us."""
    wanted = f":{port:04X}"
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":
                    sockets.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                if str(descriptor.readlink()) in sockets:
                    return int(folder.name), (folder / "comm").read_text().strip()
    return None, ""


# -- the hub


@dataclass(frozen=True, slots=True)
class HubAnswer:
    url: str
    away: str = ""
    """Why nothing answers."""
    certificate: str = ""
    """Why its certificate is not trusted."""
    strange: str = ""
    """What it answers that no hub does."""
    refused: int | None = None
    """The close code with which it refuses our token."""
    skew: float | None = None
    """Seconds by which its clock is ahead of ours."""


async def ask_hub(url: str, token: str) -> HubAnswer:
    import json
    import ssl

    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

    from orchestrator.client.url import parse_origin

    origin = parse_origin(url)
    shown = str(origin)
    try:
        async with (
            asyncio.timeout(PATIENCE),
            connect(
                origin.endpoint("token", token),
                ssl=ssl.create_default_context() if origin.secure else None,
                proxy=None,
                compression=None,
                close_timeout=0.2,
                ping_interval=None,
            ) as connection,
        ):
            welcome = json.loads(await connection.recv())
            if not isinstance(welcome, dict) or welcome.get("type") != "welcome":
                return HubAnswer(shown, strange="its first frame is no welcome")
            told = welcome.get("serverTime")
            skew = None if not isinstance(told, int | float) else told + 0.5 - time.time()
            return HubAnswer(shown, skew=skew)
    except TimeoutError:
        return HubAnswer(shown, away=f"nothing is heard for {PATIENCE:g} s")
    except ssl.SSLCertVerificationError as error:
        return HubAnswer(shown, certificate=error.verify_message)
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd is not None else 1006
        return (
            HubAnswer(shown, refused=code)
            if 4000 <= code < 5000
            else HubAnswer(shown, strange=f"it closes with {code}")
        )
    except InvalidMessage:
        return HubAnswer(shown, strange="what it says is no HTTP")
    except InvalidHandshake as error:
        return HubAnswer(shown, strange=str(error))
    except (ValueError, ssl.SSLError) as error:
        return HubAnswer(shown, strange=str(getattr(error, "reason", None) or type(error).__name__))
    except OSError as error:
        return HubAnswer(shown, away=(error.strerror or str(error)).lower())


# -- the store


@dataclass(frozen=True, slots=True)
class KeptFile:
    path: str
    there: bool = False
    run: int | None = None
    """The process that has it."""
    room: int = 0
    """Bytes that its disk has free."""
    checked: bool = False
    """It was looked through, and is sound."""
    why: str = ""
    """Why it cannot be used."""
    advice: str = ""


def find_store(name: str, folder: Path, run: int | None) -> KeptFile:
    """`folder` is what a relative path starts from. `run`: the process of a run of this topology that is alive, and so has
    the file."""
    path = (folder / Path(name).expanduser()).resolve()
    shown, there = str(path), path.exists()
    near = next((each for each in path.parents if each.exists()), path.parent)
    owner = "let its owner write to the file and to its folder"
    try:
        status = os.statvfs(near)
        room = status.f_bavail * status.f_frsize
        if there and not path.is_file():
            return KeptFile(shown, there, why="it is no file", advice="give the store another path")
        with tempfile.TemporaryFile(dir=near) as file:
            file.write(b"\0" * _SOME)
            file.flush()
        if there and not os.access(path, os.W_OK):
            return KeptFile(shown, there, room=room, why="it cannot be written", advice=owner)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "its disk is full" if full else f"its folder cannot be written: {(error.strerror or str(error)).lower()}"
        return KeptFile(shown, there, why=why, advice="free space where it lies" if full else owner)
    if run is not None or not there:
        return KeptFile(shown, there, run, room)
    return _looked_through(path, room)


def _looked_through(path: Path, room: int) -> KeptFile:
    from orchestrator.store.sqlite_schema import APPLICATION_ID

    shown, deadline = str(path), time.monotonic() + _CHECK
    copy = "put it aside with its -wal, and bring back a copy; docs/store.md tells more"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0.5, uri=True)) as connection:
            [(owner,)] = connection.execute("PRAGMA application_id")
            [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master")
            if tables and owner != APPLICATION_ID:
                return KeptFile(
                    shown, True, room=room, why="it is some other program's", advice="give the store another path"
                )
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            found = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        if time.monotonic() > deadline:
            return KeptFile(shown, True, None, room, checked=False)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return KeptFile(shown, True, None, room, why="another program has it locked", advice="end that program")
        return KeptFile(shown, True, room=room, why=f"it is damaged ({error})", advice=copy)
    if found != [("ok",)]:
        return KeptFile(shown, True, room=room, why=f"it is damaged ({found[0][0]})", advice=copy)
    return KeptFile(shown, True, None, room, checked=True)


# -- engines


async def ask_engine(plan: Plan) -> str:
    """Return why the store that machines share cannot be used; nothing where it can."""
    from orchestrator.errors import OrchestratorError
    from orchestrator.runtime.shared_engine import engine_of, open_now

    engine = engine_of(plan)
    assert engine is not None
    try:
        async with asyncio.timeout(PATIENCE):
            store = await open_now(engine)
            await store.close()
    except TimeoutError:
        return f"the store gave no answer within {PATIENCE:g} s"
    except OrchestratorError as error:
        return str(error)
    return ""


class _Nobody:
    """A hub that listens to nothing."""

    def heard(self, message: bytes) -> None: ...

    def nobody(self, ticket: int) -> None: ...

    def passed(self, ticket: int) -> None: ...

    def turned(self, up: bool, why: str) -> None: ...


async def ask_backplane(address: str) -> str:
    """Return why what joins hubs cannot be used; nothing where it can."""
    from orchestrator.hub.backplane import BackplaneProblem
    from orchestrator.hub.joining import open_backplane

    try:
        async with asyncio.timeout(PATIENCE):
            async with open_backplane(address, "doctor", _Nobody(), patience=PATIENCE - 0.5):
                return ""
    except TimeoutError:
        return f"the backplane gave no answer within {PATIENCE:g} s"
    except BackplaneProblem as error:
        return str(error)
