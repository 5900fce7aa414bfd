"""A child that a guardian forks, or starts as a program: it does what DO in its environment says, and tells it in JSON."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LONGER_THAN_ANY_TEST = 600


def tell(**what: Any) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())  # in one piece: several processes write to this pipe


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def surroundings() -> int:
    found, shown = status(), Path("/proc/self/environ").read_bytes()
    tell(
        environ={name.hex(): hashlib.sha256(value).hexdigest() for name, value in os.environb.items()},
        shown=[item.partition(b"=")[0].decode() for item in shown.split(b"\0") if item],
        shows_key=os.environb.get(b"MY_KEY", b"-") in shown,
        ignored=found["SigIgn"],
        blocked=found["SigBlk"],
        caught=found["SigCgt"],
        pid=os.getpid(),
        group=os.getpgrp(),
        session=os.getsid(0),
        parent=os.getppid(),
        argv=sys.argv[1:],
        named=Path("/proc/self/comm").read_text().strip(),
        words=Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode(),
        stdin=sys.stdin.read() if sys.stdin else "",
    )
    return 0


def files() -> int:
    """Tell what is open but for the listing itself."""
    found = [int(file.name) for file in Path("/proc/self/fd").iterdir()]
    tell(files=sorted(set(found) - {max(found)}))
    return 0


def wait() -> int:
    tell(pid=os.getpid(), parent=os.getppid())
    time.sleep(LONGER_THAN_ANY_TEST)
    return 0


def end() -> int:
    how = os.environ["HOW"]
    if how == "return":
        return 7
    if how == "quit":
        os._exit(9)
    if how == "exit":
        sys.exit(8)
    if how == "raise":
        raise RuntimeError("no luck today")
    os.kill(os.getpid(), signal.Signals[how])
    time.sleep(LONGER_THAN_ANY_TEST)
    return 0


def detached(environ: dict[str, str] | None) -> None:
    """Start a process in a session within another, which tells its pid; without `environ` it is a copy of this one.

    Returns when it has: what whoever ends leaves behind is ended at once.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os.read(reading, 1)  # until the other end is closed
        os.close(reading)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(left=os.getpid())
    os.closerange(0, 100)
    if environ is None:
        while True:
            signal.pause()
    os.execve("/bin/sleep", ["sleep", str(LONGER_THAN_ANY_TEST)], environ)


def leave() -> int:
    """Leave processes behind, and end, or wait if told so."""
    for environ in (None, {}, dict(os.environ)):
        detached(environ)
    subprocess.run(["true"], check=True)
    if os.environ.get("HOW") == "wait":
        return wait()
    return 0


def main() -> int:
    code: int = globals()[os.environ["DO"]]()
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
