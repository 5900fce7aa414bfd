"""The file of a store: opened by one process, looked through before anything in it is believed, and opened again after
whatever went wrong with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import StoreDamaged, StoreTooNew
from orchestrator.store.sqlite_lock import FileLock
from orchestrator.store.sqlite_problems import said_by_sqlite, said_by_system
from orchestrator.store.sqlite_schema import APPLICATION_ID, VERSION, migrate

if TYPE_CHECKING:
    from pathlib import Path

BUSY_SECONDS: Final = 1.0
"""How long another program's lock on the file is waited for."""
LOG_PAGES: Final = 4_096
"""Pages in the log before they are moved into the file: 16 MiB."""
CACHE_KIB: Final = 65_536
LEAST_SQLITE: Final = (3, 35, 0)
_TOLD: Final = 3
"""Findings of a check that are told."""


class StoreFile:
    """Used by one thread, the writer's, except for `reader`. Paths are as they are given, links followed."""

    def __init__(self, path: Path, *, log_pages: int = LOG_PAGES) -> None:
        self.path, self._log_pages = path.expanduser().resolve(), log_pages
        self._lock = FileLock(self.path)
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._distrusted = False
        """The disk failed, so that what the system holds in memory may not be what the disk does."""
        self._refusal: tuple[object, str] | None = None
        """Damage that was found, and what the files looked like then: they are not read again until that changes."""
        self.generation = 0
        """How often it was opened; whoever opened it to read must do so again after each."""

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def connection(self) -> sqlite3.Connection:
        """Return the connection that writes, opened if need be. Raises a `StoreFileProblem`."""
        if self._connection is None:
            looks = self._looks()
            if self._refusal is not None and self._refusal[0] == looks:
                raise StoreDamaged(str(self.path), self._refusal[1])
            try:
                self._connection = self._open()
            except StoreDamaged as error:
                self._refusal = (looks, error.found)
                raise
            self._refusal = None
            self.generation += 1
        elif self._now_there() != self._identity:
            raise StoreDamaged(str(self.path), "was removed or replaced while it was in use")
        return self._connection

    def reader(self) -> sqlite3.Connection:
        """Return a connection of its own for a thread that only reads."""
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def acknowledged(self, commits: int) -> None:
        with contextlib.suppress(OSError):  # it only serves to find damage
            self._lock.note(commits)

    def make_room(self) -> None:
        """Move the log into the file, so that it can be written anew from its beginning."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop(self, *, distrusted: bool) -> None:
        """Close it until it is asked for again; the lock stays."""
        self._distrusted = self._distrusted or distrusted
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.make_room()
        self.drop(distrusted=False)
        self._lock.give_back()

    # -- opening

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            raise StoreTooNew(str(self.path), f"needs SQLite 3.35, and this Python has {sqlite3.sqlite_version}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise said_by_system(error, self.path) from error
        if not self._lock.held:
            self._lock.take()
        try:
            connection = self._trusted(0 if self._create(self._lock.commits) else self._lock.commits)
        except BaseException:
            if self._identity is None:
                self._lock.give_back()
            raise
        self._identity = self._now_there()
        return connection

    def _connect(self) -> sqlite3.Connection:
        """Open a file that is there; one that is not is never made by opening it.

        ``psow=0``: a disk that loses power in a write may spoil the whole sector, with the end of what was written before.
        """
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw&psow=0",
            BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            uri=True,
        )

    def _trusted(self, acknowledged: int) -> sqlite3.Connection:
        try:
            with contextlib.ExitStack() as opened:
                connection = self._connect()
                opened.callback(connection.close)
                self._trust(connection, acknowledged)
                opened.pop_all()
                return connection
        except sqlite3.Error as error:
            raise said_by_sqlite(error, self.path) from error
        except OSError as error:
            raise said_by_system(error, self.path) from error

    def _create(self, acknowledged: int) -> bool:
        """Make the file if it is not there, for its owner alone; return whether it is new."""
        log = self.path.with_name(self.path.name + "-wal")
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = None
        except OSError as error:
            raise said_by_system(error, self.path) from error
        if size is None and self._identity is not None:
            raise StoreDamaged(str(self.path), "was removed while it was in use")
        if not size and log.exists() and log.stat().st_size:
            raise StoreDamaged(str(self.path), "is gone or empty, while its -wal is still there")
        if size == 0 and acknowledged:
            raise StoreDamaged(str(self.path), f"is empty, and {acknowledged} transactions in it were acknowledged")
        if size is None:
            try:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                for folder in (self.path.parent, self.path.parent.parent):
                    _keep_names(folder)
            except OSError as error:
                raise said_by_system(error, self.path) from error
        return not size

    def _trust(self, connection: sqlite3.Connection, acknowledged: int) -> None:
        """See that the file is ours, whole and up to date. Raises a `StoreFileProblem` or an error of SQLite's."""
        name = str(self.path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if (tables or version) and owner != APPLICATION_ID:
            raise StoreDamaged(name, "is a database of something else, or its first page is damaged")
        if version > VERSION:
            raise StoreTooNew(name, f"has version {version}, and this release knows {VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * 4_096}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        if self._distrusted:
            # After a failed write the system may take for written what is not; this writes all of it once more.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._distrusted = False
        found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_TOLD})")]
        if found != ["ok"]:
            raise StoreDamaged(name, f"is damaged ({'; '.join(' '.join(each.split()) for each in found)})")
        migrate(connection, version)
        row = connection.execute("SELECT commits FROM meta").fetchone()
        if row is None:
            raise StoreDamaged(name, "is damaged (it does not say how much was written to it)")
        if row[0] < acknowledged:
            raise StoreDamaged(
                name,
                f"holds {row[0]} transactions, and {acknowledged} were acknowledged: its -wal is lost or cut off, or it is "
                f"an older copy (to accept what is there, remove {self._lock.path.name})",
            )
        self._lock.note(row[0])

    def _now_there(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _looks(self) -> object:
        looks: list[tuple[int, int, int] | None] = []
        for file in (self.path, self.path.with_name(self.path.name + "-wal"), self._lock.path):
            try:
                found = file.stat()
            except OSError:
                looks.append(None)
            else:
                looks.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return looks


def _keep_names(folder: Path) -> None:
    """Have the disk keep which files are in a folder, as far as its file system lets folders be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
