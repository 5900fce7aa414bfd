"""Where the store of a run is reached: a Unix socket in a folder that nobody else can look into, beside the secret of
those who may do everything with it.

The parent owns the socket, so that connections wait in its backlog while a store that was killed is started again. A run
that was killed itself leaves its folder behind; whoever looks next for stores of the same topology removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BACKLOG: Final = 1024
"""Connections that wait in the listening socket while the store starts, or starts again."""
LONGEST_PATH: Final = 103
"""Bytes that the path of a socket may have on every system."""
SOCKET: Final = "store.sock"
OPERATOR: Final = "operator"
UNFINISHED: Final = ".orchestrator-"
"""Begins the name of a folder that is not complete yet."""


class NoPlace(OrchestratorError):
    """There is no folder of our own for the store's socket."""


@dataclass(frozen=True, slots=True)
class StoreSeat:
    """The store of one run."""

    pid: int
    """Of the run, not of the store's own process, which may change."""
    path: str
    """Of the socket."""
    operator: str = field(repr=False)
    """The secret of those who may see and change all that is in it."""


@contextmanager
def seated(topology: Path, environ: Mapping[str, str]) -> Iterator[tuple[StoreSeat, socket.socket]]:
    """Open a seat for the store of a run of `topology`, with its listening socket, and leave nothing of it at the end.

    Raises `NoPlace`.
    """
    with contextlib.ExitStack() as stack:
        try:
            place = _own(_places(environ)[0])
            running(topology, environ)  # which removes what runs that were killed have left
            folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            seat = place / f"{_mark(topology)}-{os.getpid()}-{secrets.token_hex(4)}"
            operator = secrets.token_urlsafe(32)
            (folder / OPERATOR).touch(mode=0o600)
            (folder / OPERATOR).write_text(operator, encoding="ascii")
            path, bound = seat / SOCKET, folder / SOCKET
            if len(os.fsencode(path)) > LONGEST_PATH or len(os.fsencode(bound)) > LONGEST_PATH:
                near = Path(tempfile.mkdtemp(prefix="orchestrator-", dir="/tmp"))
                stack.callback(shutil.rmtree, near, ignore_errors=True)
                path = bound = near / SOCKET
                (folder / SOCKET).symlink_to(path)
            listening = stack.enter_context(_listening(bound))
            folder.rename(seat)  # it appears as a whole, with a socket that answers
            stack.callback(shutil.rmtree, seat, ignore_errors=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NoPlace(f"there is no place for the socket of the store: {error.filename or '.'}: {reason}") from None
        yield StoreSeat(os.getpid(), str(path), operator), listening


def running(topology: Path, environ: Mapping[str, str]) -> tuple[StoreSeat, ...]:
    """Return the seats of the runs of `topology` that are under way; what dead ones have left is removed."""
    seats = []
    for place in filter(_is_ours, _places(environ)):
        for folder in sorted(place.glob(f"{_mark(topology)}-*")):
            seat = _read(folder)
            if seat is not None and _answers(seat.path):
                seats.append(seat)
            else:
                _remove(folder)
    return tuple(seats)


def _places(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders in which the seats of this user's runs lie: new ones in the first."""
    given = environ.get("XDG_RUNTIME_DIR")
    usual = given and Path(given).is_absolute() and _is_ours(given) and os.access(given, os.W_OK | os.X_OK)
    return [*([Path(given)] if given and usual else []), Path(tempfile.gettempdir()) / f"orchestrator-{os.geteuid()}"]


def _own(place: Path) -> Path:
    """Return the folder, made if there is none. Raises `NoPlace` for one that others could have put there, `OSError`."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    if not _is_ours(place):
        raise NoPlace(
            f"the socket of the store needs a folder that is its user's alone, and {place} is a link, somebody else's, or "
            "open to others; remove it, or have XDG_RUNTIME_DIR name another one"
        )
    return place


def _is_ours(place: str | Path) -> bool:
    """Tell whether a folder is one of this user's in which nobody else can put anything."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _mark(topology: Path) -> str:
    """Return what the names of all seats of one topology begin with."""
    return f"orchestrator-{hashlib.sha256(os.fsencode(topology.resolve())).hexdigest()[:16]}"


def _listening(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _read(folder: Path) -> StoreSeat | None:
    """Return the seat that a folder holds; `None` for one of which something is missing."""
    try:
        path = folder / SOCKET
        pid = int(folder.name.split("-")[2])
        operator = (folder / OPERATOR).read_text(encoding="ascii")
        return StoreSeat(pid, str(path.readlink() if path.is_symlink() else path), operator)
    except (OSError, ValueError, IndexError):
        return None


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where the backlog is full somebody owns the socket, however busy
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _remove(folder: Path) -> None:
    """Remove what a run has left that was killed."""
    path = folder / SOCKET
    with contextlib.suppress(OSError):
        if path.is_symlink():
            shutil.rmtree(path.readlink().parent, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
