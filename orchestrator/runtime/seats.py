"""Sockets by which the parts of a run are reached from outside it: folders that are one user's alone, and what lies in them.

A path in which somebody else could put something is never trusted, nor is one followed through a link. Nothing here waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PATH: Final = 103
"""Bytes that the path of a socket may have on every system."""
_NEAR: Final = "/tmp"  # noqa: S108 - of a folder that is made there under a name that nobody could know before
_NEAR_PREFIX: Final = "orchestrator-"


class NoPlace(OrchestratorError):
    """There is no folder of our own for a socket."""


def private_places(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders in which the seats of this user's runs lie: new ones in the first, which may be missing."""
    given = environ.get("XDG_RUNTIME_DIR")
    usual = given and Path(given).is_absolute() and is_ours(given) and os.access(given, os.W_OK | os.X_OK)
    return [*([Path(given)] if given and usual else []), Path(tempfile.gettempdir()) / f"orchestrator-{os.geteuid()}"]


def own(place: Path, what: str) -> Path:
    """Return the folder, made if there is none, for `what`. Raises `NoPlace` for one that others could have put there,
    and `OSError`."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    if not is_ours(place):
        raise NoPlace(
            f"{what} needs a folder that is its user's alone, and {place} is a link, somebody else's, or "
            "open to others; remove it, or have XDG_RUNTIME_DIR name another one"
        )
    return place


def is_ours(place: str | Path) -> bool:
    """Tell whether a folder is one of this user's in which nobody else can put anything."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def mark(path: Path) -> str:
    """Return what stands for a file or folder, by whatever name it is reached, in the names of others."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def fits(path: Path) -> bool:
    """Tell whether a socket can have this path."""
    return len(os.fsencode(path)) <= LONGEST_PATH


def near() -> Path:
    """Make a folder of our own whose path is short enough for any socket in it: the caller's to remove."""
    return Path(tempfile.mkdtemp(prefix=_NEAR_PREFIX, dir=_NEAR))


def listening(path: Path, backlog: int) -> socket.socket:
    """Return a socket that listens at `path`, and that this user alone can connect to."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(backlog)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def real(path: Path) -> Path:
    """Return where a socket is: `path`, or what it is a link to. Raises `OSError`."""
    return path.readlink() if path.is_symlink() else path


def answers(path: str | Path) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where the backlog is full somebody owns the socket, however busy
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def remove_socket(path: Path) -> None:
    """Remove a socket that is dead, with the folder near by that it may be a link into."""
    with contextlib.suppress(OSError):
        if path.is_symlink():
            folder = path.readlink().parent
            if folder.parent == Path(_NEAR) and folder.name.startswith(_NEAR_PREFIX) and is_ours(folder):
                shutil.rmtree(folder, ignore_errors=True)
        path.unlink()
