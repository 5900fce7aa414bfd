"""What a chat is held on: a terminal, with a line that is being typed while others are printed, or plain streams."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.cli.tasks_text import columns

if TYPE_CHECKING:
    from collections.abc import Callable

_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_MOST: Final = 65_536


class Surface(Protocol):
    """Read by one thread; written by another one as well."""

    typed: bool
    """By somebody, for whom ctrl-c ends an answer, and not the talk."""

    def read(self, prompt: str) -> str | None:
        """Return the next line, without its end; `None` = there is none. Raises `KeyboardInterrupt`."""
        ...

    def answer(self, text: str) -> None:
        """Write a part of an answer. Raises `OSError`."""
        ...

    def answered(self) -> None:
        """An answer is over, or will not go on."""
        ...

    def note(self, line: str) -> None:
        """Say something of our own between answers: while one comes, after it."""
        ...

    def attend(self, ended: Waker, heard: Callable[[str], None]) -> None:
        """Wait until an answer has ended; give what is typed meanwhile to `heard`, line by line."""
        ...


class Waker:
    """Tells whoever waits in `select` that something has ended."""

    def __init__(self) -> None:
        self.reading, self._writing = socket.socketpair()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # nobody waits any more
            self._writing.send(b"\0")

    def close(self) -> None:
        self.reading.close()
        self._writing.close()


class Lines:
    """Questions from one stream, answers on another: for programs."""

    typed = False

    def read(self, _prompt: str) -> str | None:
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def answer(self, text: str) -> None:
        from orchestrator.runtime.console import visible

        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def answered(self) -> None:
        pass

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def attend(self, ended: Waker, _heard: Callable[[str], None]) -> None:
        ended.reading.recv(1)


class Screen:
    """A terminal. Notes go above the line that is being typed, which is then shown again as it was."""

    typed = True

    def __init__(self) -> None:
        import readline  # which gives `input` its editing and its history, kept in memory alone

        self._line = readline.get_line_buffer
        self._lock = threading.Lock()
        self._prompt: str | None = None
        """While a line is being typed."""
        self._in_answer = self._in_line = False
        self._held: list[str] = []
        self._typed_ahead: list[str] = []
        self._over = False
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._dim, self._reset = ("", "") if plain else (_DIM, _RESET)

    def read(self, prompt: str) -> str | None:
        if self._typed_ahead:
            return self._typed_ahead.pop(0)
        if self._over:
            return None
        with self._lock:
            self._prompt = prompt
        try:
            return input(prompt)
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            raise
        finally:
            with self._lock:
                self._prompt = None

    def answer(self, text: str) -> None:
        from orchestrator.runtime.console import visible

        with self._lock:
            self._in_answer = True
            self._put(visible(text))
            self._in_line = not text.endswith("\n") if text else self._in_line

    def answered(self) -> None:
        with self._lock:
            if self._in_line:
                self._put("\n")
            self._in_answer = self._in_line = False
            for line in self._held:
                self._put(f"{self._dim}{line}{self._reset}\n")
            self._held.clear()

    def note(self, line: str) -> None:
        with self._lock:
            if self._in_answer:
                self._held.append(line)
            elif self._prompt is None:
                self._put(f"{self._dim}{line}{self._reset}\n")
            else:
                typed = f"{self._prompt}{self._line()}"
                above = columns(typed) // max(shutil.get_terminal_size().columns, 1)
                up = f"\x1b[{above}A" if above else ""
                self._put(f"{up}\r\x1b[J{self._dim}{line}{self._reset}\n{typed}")

    def attend(self, ended: Waker, heard: Callable[[str], None]) -> None:
        with self._lock:
            self._in_answer = True
        try:
            keyboard = sys.stdin.fileno()
            while True:
                watched = [ended.reading] if self._over else [ended.reading, keyboard]
                ready, _, _ = select.select(watched, (), ())
                if ended.reading in ready:
                    ended.reading.recv(1)
                    return
                line = os.read(keyboard, _MOST).decode("utf-8", "replace")
                self._over = not line
                if line.startswith("/"):
                    heard(line.strip())
                elif line.strip():
                    self._typed_ahead.append(line.strip())
        except KeyboardInterrupt:
            self._in_line = True  # the terminal has shown ^C
            raise
        finally:
            self.answered()

    def _put(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
