"""A terminal's other screen, on which something is shown that changes, until a key or a signal ends it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType, TracebackType
    from typing import Self

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To another screen, without a cursor, and back to the one before."""
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "dim": 2}
_ENDS: Final = ("SIGTERM", "SIGHUP")


class Terminated(KeyboardInterrupt):
    """A signal other than ctrl-c ends the command, which leaves the terminal as it was."""


def on_terminal() -> bool:
    """Tell whether what is written can be drawn over."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def coloured() -> bool:
    """Tell whether what is written may have colours."""
    return on_terminal() and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


class LiveScreen:
    """In use as a context. Ctrl-c comes out of it as `KeyboardInterrupt`; the last that was shown stays on the usual screen."""

    def __init__(self, *, keys: bool = False) -> None:
        """`keys`: single keys are listened to, where the standard input is a terminal."""
        self._keys = keys and sys.stdin is not None and sys.stdin.isatty()
        self._frame: Sequence[str] = ()
        self._stack = contextlib.ExitStack()
        self._woken: socket.socket

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._woken = stack.enter_context(_woken())
            if self._keys:
                stack.enter_context(_single_keys())
            stack.callback(self._leave)
            sys.stdout.write(_ENTER)
            sys.stdout.flush()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _leave(self) -> None:
        sys.stdout.write(_LEAVE + "".join(f"{line}\n" for line in self._frame))
        sys.stdout.flush()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def show(self, lines: Sequence[str]) -> None:
        """Show lines that are no wider than the screen; those for which it has no room are left out."""
        frame = lines[: max(self.size[1] - 1, 1)]
        self._frame = lines
        sys.stdout.write(_HOME + "\r\n".join(f"{line}{_REST_OF_LINE}" for line in frame) + _REST_OF_SCREEN)
        sys.stdout.flush()

    def wait(self, seconds: float) -> str | None:
        """Return the key that is pressed within so many seconds, an empty text when the screen has another size, or `None`."""
        end = time.monotonic() + seconds
        ears: list[socket.socket | int] = [self._woken, *([sys.stdin.fileno()] if self._keys else [])]
        while (left := end - time.monotonic()) > 0:
            heard, _, _ = select.select(ears, [], [], left)
            if self._woken in heard:
                self._woken.recv(4096)
                return ""
            if heard:
                key = os.read(sys.stdin.fileno(), 64)
                if key:
                    return key.decode(errors="replace")
                ears.pop()  # nobody is there any more to press one
        return None


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """While entered, signals that end the command raise `Terminated`."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    with contextlib.ExitStack() as stack:
        for name in _ENDS:
            stack.callback(signal.signal, getattr(signal, name), signal.signal(getattr(signal, name), end))
        yield


@contextlib.contextmanager
def _woken() -> Iterator[socket.socket]:
    """Give a socket on which something comes whenever the size of the screen changes, and have signals end the block."""

    def note(_number: int, _frame: FrameType | None) -> None:
        """What wakes the reader is that there is a handler."""

    with contextlib.ExitStack() as stack:
        reader, writer = socket.socketpair()
        stack.enter_context(reader)
        stack.enter_context(writer)
        writer.setblocking(False)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False))
        stack.enter_context(terminating())
        stack.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, note))
        yield reader


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Have keys come one by one, and unseen; ctrl-c stays what it is."""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
