"""Commands on a terminal of their own, and what in their output only a terminal understands."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.runtime.processes import ENVIRONMENT

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WISHES: Final = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHON_COLORS", "PYTHONUNBUFFERED")


def control_codes(text: str) -> list[str]:
    """Return what is in a text besides characters, tabs and newlines."""
    return _CONTROL.findall(text)


def plain_environment(**more: str) -> dict[str, str]:
    """Return the environment of a good terminal, without wishes about what is printed."""
    # Also an import of `readline` says how wide a terminal is.
    found = {name: value for name, value in ENVIRONMENT.items() if name not in WISHES}
    return {**found, "TERM": "xterm-256color", **more}


class Terminal:
    """A command on a terminal, which shows both of its streams, or one of them alone."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process, self._end = process, end
        self.shown = ""

    def read(self) -> str:
        """Return what comes next, or nothing once the command has let go of the terminal."""
        try:
            more = os.read(self._end, 65_536).decode(errors="replace")
        except OSError:  # so Linux says that nobody has the other end any more
            return ""
        self.shown += more
        return more

    def until(self, text: str) -> None:
        while text not in self.shown:
            assert self.read(), f"it ended before it showed {text!r}: {self.shown!r}"

    def to_the_end(self) -> str:
        while self.read():
            continue
        self.process.wait(30)
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())


@contextmanager
def on_terminal(
    words: Sequence[str],
    *,
    columns: int = 80,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    piped: int | None = None,
) -> Iterator[Terminal]:
    """Run `orchestrator` on a terminal that is so wide; `piped` is the number of a stream that is not on it."""
    end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    streams = dict.fromkeys(range(3), other) | ({piped: subprocess.PIPE} if piped is not None else {})
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        cwd=cwd,
        env=dict(plain_environment() if environ is None else environ),
        start_new_session=True,
    )
    os.close(other)
    try:
        yield Terminal(process, end)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        os.close(end)
