"""A child that does one small thing, named by DO in its environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.runtime.parent import watch_parent

LONGER_THAN_ANY_TEST = 60
WAIT = "import time; time.sleep(60)"


def lines() -> None:
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.write("no end")


def long_line() -> None:
    sys.stdout.write("x" * 200_000 + "\nshort\n")


def flood() -> None:
    for number in range(200_000):
        print(f"line {number}")


def stdin() -> None:
    print(repr(sys.stdin.read()))


def where() -> None:
    print(os.getpid(), os.getpgrp(), os.getsid(0))
    print(sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()))
    print(sys.argv[1])


def environment() -> None:
    for name, value in sorted(os.environ.items()):
        print(f"{name}={value}")


def group() -> None:
    """Leave a grandchild behind, which holds the pipes open."""
    print(subprocess.Popen([sys.executable, "-c", WAIT]).pid, flush=True)


def deaf() -> None:
    """Ignore every polite request, and have a grandchild."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", WAIT])
    print("pids", os.getpid(), grandchild.pid, flush=True)
    time.sleep(LONGER_THAN_ANY_TEST)


def busy() -> None:
    """Hold on to the interpreter and never look up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("pids", os.getpid(), flush=True)
    end = time.monotonic() + LONGER_THAN_ANY_TEST
    while time.monotonic() < end:
        pass


def polite() -> None:
    """Wait for the parent's end, and end at the signal that tells of it."""
    print("pids", os.getpid(), flush=True)
    time.sleep(LONGER_THAN_ANY_TEST)


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    watch_parent(control, lambda: None, grace=0.3)
    globals()[os.environ["DO"]]()
