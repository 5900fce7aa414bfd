"""Where the store of a run is reached: a Unix socket in a folder that nobody else can look into, beside the secret of
those who may do everything with it.

The parent owns the socket, so that connections wait in its backlog while a store that was killed is started again. A run
that was killed itself leaves its folder behind; whoever looks next for stores of the same topology removes it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.runtime import seats
from orchestrator.runtime.seats import NoPlace

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

BACKLOG: Final = 1024
"""Connections that wait in the listening socket while the store starts, or starts again."""
SOCKET: Final = "store.sock"
OPERATOR: Final = "operator"
UNFINISHED: Final = ".orchestrator-"
"""Begins the name of a folder that is not complete yet."""


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
            place = seats.own(seats.private_places(environ)[0], "the socket of the store")
            running(topology, environ)  # which removes what runs that were killed have left
            folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            seat = place / f"{_beginning(topology)}{os.getpid()}-{secrets.token_hex(4)}"
            operator = secrets.token_urlsafe(32)
            (folder / OPERATOR).touch(mode=0o600)
            (folder / OPERATOR).write_text(operator, encoding="ascii")
            path, bound = seat / SOCKET, folder / SOCKET
            if not seats.fits(path) or not seats.fits(bound):
                near = seats.near()
                stack.callback(shutil.rmtree, near, ignore_errors=True)
                path = bound = near / SOCKET
                (folder / SOCKET).symlink_to(path)
            listening = stack.enter_context(seats.listening(bound, BACKLOG))
            folder.rename(seat)  # it appears as a whole, with a socket that answers
            stack.callback(shutil.rmtree, seat, ignore_errors=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NoPlace(f"there is no place for the socket of the store: {error.filename or '.'}: {reason}") from None
        yield StoreSeat(os.getpid(), str(path), operator), listening


def running(topology: Path, environ: Mapping[str, str]) -> tuple[StoreSeat, ...]:
    """Return the seats of the runs of `topology` that are under way; what dead ones have left is removed."""
    found = []
    for place in filter(seats.is_ours, seats.private_places(environ)):
        for folder in sorted(place.glob(f"{_beginning(topology)}*")):
            seat = _read(folder)
            if seat is not None and seats.answers(seat.path):
                found.append(seat)
            else:
                _remove(folder)
    return tuple(found)


def _beginning(topology: Path) -> str:
    """Return what the names of all seats of one topology begin with."""
    return f"orchestrator-{seats.mark(topology)}-"


def _read(folder: Path) -> StoreSeat | None:
    """Return the seat that a folder holds; `None` for one of which something is missing."""
    try:
        pid = int(folder.name.split("-")[2])
        operator = (folder / OPERATOR).read_text(encoding="ascii")
        return StoreSeat(pid, str(seats.real(folder / SOCKET)), operator)
    except (OSError, ValueError, IndexError):
        return None


def _remove(folder: Path) -> None:
    """Remove what a run has left that was killed."""
    seats.remove_socket(folder / SOCKET)
    shutil.rmtree(folder, ignore_errors=True)
