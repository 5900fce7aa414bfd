"""One process for one file: a lock that says whose it is, and how much had been acknowledged from the file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from orchestrator.store.errors import StoreLocked
from orchestrator.store.sqlite_problems import said_by_system

_FORM: Final = "pid {pid:<10}\ncommits {commits:<20}\n"


class FileLock:
    """The file ``NAME.lock`` beside a store's; it stays there when the lock is given back.

    It counts acknowledged transactions as well, without waiting for the disk. So a log that was cut off, left behind or
    deleted is noticed when the store is opened, except where the same accident put the count back too.
    """

    def __init__(self, file: Path) -> None:
        self._file, self.path = file, file.with_name(file.name + ".lock")
        self._descriptor = -1
        self.commits = 0
        """Transactions that are known to have been acknowledged, once the lock is taken."""

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def take(self) -> None:
        """Raises `StoreLocked`, or what keeps the file from being written."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise said_by_system(error, self._file) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _number(_read(descriptor), "pid")
            os.close(descriptor)
            raise StoreLocked(str(self._file), f"is used by process {pid or 'unknown'} already", pid) from None
        except OSError as error:
            os.close(descriptor)
            raise said_by_system(error, self._file) from error
        self._descriptor = descriptor
        commits = _number(_read(descriptor), "commits") or 0
        try:
            self.note(commits)
        except OSError as error:
            self.give_back()
            raise said_by_system(error, self._file) from error

    def note(self, commits: int) -> None:
        """Remember how many transactions have been acknowledged."""
        self.commits = commits
        os.pwrite(self._descriptor, _FORM.format(pid=os.getpid(), commits=commits).encode(), 0)

    def give_back(self) -> None:
        if self.held:
            os.close(self._descriptor)
            self._descriptor = -1


def _read(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 100, 0).decode("ascii", "replace")
    except OSError:
        return ""


def _number(text: str, word: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == word and value.strip().isascii() and value.strip().isdigit():
            return int(value)
    return None
