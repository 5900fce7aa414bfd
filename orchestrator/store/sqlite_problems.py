"""What SQLite and the system say went wrong, as an error that names the file and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import (
    StoreDamaged,
    StoreFailing,
    StoreFileProblem,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
)

if TYPE_CHECKING:
    from pathlib import Path

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_READ_ONLY: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_OF_REQUEST: Final = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
}


def is_of_request(error: sqlite3.Error) -> bool:
    """Tell whether it is what was asked for that is wrong, and not the file."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _OF_REQUEST


def said_by_sqlite(error: sqlite3.Error, file: Path) -> StoreFileProblem:
    name, code = str(file), getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(file)):
        return StoreFull(name, "has no room to grow")
    if code in _LOCKED:
        return StoreLocked(name, "is locked by a program that has it open")
    if code in _DAMAGED:
        return StoreDamaged(name, f"is damaged ({error})")
    if code in _READ_ONLY or (code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and not _is_writable(file)):
        return StoreReadOnly(name, f"cannot be written ({error})")
    return StoreFailing(name, f"could not be read or written ({error})")


def said_by_system(error: OSError, file: Path) -> StoreFileProblem:
    name, words = str(file), error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(name, f"has no room to grow ({words})")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR):
        return StoreReadOnly(name, f"cannot be written ({words})")
    return StoreFailing(name, f"could not be opened ({words})")


def _has_no_room(file: Path) -> bool:
    try:
        return os.statvfs(file.parent).f_bavail == 0
    except OSError:
        return False


def _is_writable(file: Path) -> bool:
    try:
        if os.statvfs(file.parent).f_flag & os.ST_RDONLY:
            return False
    except OSError:
        return True  # something else is wrong with it
    return os.access(file.parent, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))
