"""Finds out what handlers declare, by importing them in one short-lived process: never in the one that asks.

The child imports one handler after the other and reports each on a private socket, so that whatever user code prints
is no part of the answer. A hanging import costs the time limit, a crashing one its process; the asker survives both.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from orchestrator.runtime.environment import child_environment
from orchestrator.runtime.importing import Began, Faulted, Finding, Reported, Request, is_users, output_mark
from orchestrator.topology.handlers import HandlerFault, HandlerReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.topology.model import Topology

LIMIT: Final = 10.0
"""Seconds that all imports together may take, counted from when the child has imported what is ours."""
STARTUP: Final = 30.0
"""Seconds in which the child has to come that far."""
GRACE: Final = 1.0
"""Seconds after that in which the child says where it hangs, and ends itself."""
MAX_OUTPUT: Final = 16_384
MAX_OUTPUT_LINES: Final = 20
"""Bytes and lines of what a handler printed that are kept, the last ones, to be shown if it fails."""


def inspect_topology(
    topology: Topology, environ: Mapping[str, str], *, limit: float = LIMIT, app_dir: Path | None = None
) -> dict[str, HandlerReport | HandlerFault]:
    """Inspect every handler that a topology names; blocks for `limit` seconds and a little more at most."""
    handlers: dict[str, Mapping[str, str]] = {}
    for _, _, agent in topology.each_agent():  # of several agents with one handler, the first lends its environment
        if agent.handler is not None:
            handlers.setdefault(agent.handler, agent.environment)
    environment = child_environment(environ, topology.origin.withheld, {})
    directory = topology.origin.path.resolve().parent
    return inspect_handlers(handlers, directory, environment, limit=limit, app_dir=app_dir)


def inspect_handlers(
    handlers: Mapping[str, Mapping[str, str]],
    directory: Path,
    environment: Mapping[str, str],
    *,
    limit: float = LIMIT,
    app_dir: Path | None = None,
) -> dict[str, HandlerReport | HandlerFault]:
    """Import each handler in a child whose environment is `environment` and, for it alone, what `handlers` adds."""
    if not handlers:
        return {}
    from orchestrator.agents.loading import search_roots

    request = Request(
        {name: dict(added) for name, added in handlers.items()}, str(directory), limit, str(app_dir or "")
    )
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            # -P: nothing in the current directory shadows a module of ours or of the standard library.
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                [sys.executable, "-P", "-m", "orchestrator.runtime.importing", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        hearing = _Hearing(limit)
        with child:
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is gone: its output says why
                    ours.sendall(msgspec.json.encode(request) + b"\n")
                timed_out = hearing.listen(ours, child)
            finally:
                ours.close()
                _kill(child)
        return hearing.findings(list(handlers), search_roots(directory, app_dir), child.returncode, timed_out=timed_out)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Wait until the child has ended itself and everything that imports may have started, which it does when we are gone;
    or end it by force, and its process group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


_FRAME: Final = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>.+)')
_decode: Final = msgspec.json.Decoder(Began | Reported | Faulted).decode


@dataclass
class _Hearing:
    """What has been heard from the child so far."""

    limit: float
    found: dict[str, Finding] = field(default_factory=dict)
    current: str | None = None
    """The handler that is being imported."""
    number: int = -1
    """Which one that is, or was last, from 0."""
    hung_at: list[str] = field(default_factory=list)
    """Where the child stood when its time was over, the innermost frame first."""
    output: bytearray = field(default_factory=bytearray)
    pending: bytearray = field(default_factory=bytearray)
    deadline: float = 0.0
    has_begun: bool = False

    def listen(self, ours: socket.socket, child: subprocess.Popen[bytes]) -> bool:
        """Hear the child out; tell whether its time ran out first."""
        assert child.stdout is not None
        printed = child.stdout.fileno()
        os.set_blocking(printed, False)
        ours.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            selector.register(printed, selectors.EVENT_READ)
            self.deadline = time.monotonic() + STARTUP
            while (left := self.deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(left)}
                if printed in ready and not self.hear_output(printed):
                    selector.unregister(printed)
                if ours.fileno() in ready and not self.hear(ours, printed):
                    self.hear_output(printed)
                    return bool(self.hung_at)
        return True

    def hear_output(self, printed: int) -> bool:
        """Take what was printed; `False` once nothing more can come."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(printed, 65_536):
                self.output += chunk
                del self.output[:-MAX_OUTPUT]
            return False
        return True

    def hear(self, ours: socket.socket, printed: int) -> bool:
        """Take what the child reports; `False` once it has nothing more to say."""
        try:
            chunk = ours.recv(65_536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        *lines, rest = (bytes(self.pending) + chunk).split(b"\n")
        self.pending[:] = rest
        for line in lines:
            if line.startswith(b"{"):
                self.take(_decode(line), printed)
            else:
                self.hung_at.append(line.decode(errors="replace"))
        return bool(chunk)

    def take(self, said: Began | Reported | Faulted, printed: int) -> None:
        if isinstance(said, Began):
            self.current, self.number = said.handler, self.number + 1
            if not self.has_begun:
                self.has_begun, self.deadline = True, time.monotonic() + self.limit + GRACE
            return
        self.hear_output(printed)
        self.current = None
        if isinstance(said, Reported):
            self.found[said.report.handler] = said.report
        else:
            fault = said.fault
            frames = (*fault.frames, *self.printed())
            self.found[fault.handler] = HandlerFault(fault.handler, fault.sentence, frames, fault.others)

    def findings(
        self, handlers: list[str], roots: tuple[Path, ...], code: int, *, timed_out: bool
    ) -> dict[str, Finding]:
        """Return a finding for each handler, also for those that the child did not come to."""
        if self.current is not None:
            if timed_out:
                sentence = f"importing it did not end within {self.limit:g} s; an import is not the place for work"
                frames = _user_frames(self.hung_at, roots)
            else:
                sentence, frames = f"the process that imported it {_ending(code)} in the middle of the import", ()
            self.found[self.current] = HandlerFault(self.current, sentence, (*frames, *self.printed()))
            why = f"it was not looked at, because the import of {self.current} did not end well"
        else:
            end = "did not start in time" if timed_out else _ending(code)
            why = f"it was not looked at, because the process that imports handlers {end}"
        frames = () if self.current is not None else self.printed()
        return {name: self.found.get(name) or HandlerFault(name, why, frames) for name in handlers}

    def printed(self) -> tuple[str, ...]:
        """Return the last of what the import of the present handler printed, as far as it has been heard."""
        theirs = bytes(self.output).partition(output_mark(self.number + 1))[0].rpartition(output_mark(self.number))[2]
        lines = [line for line in theirs.decode(errors="replace").splitlines() if line.strip()]
        return ("it printed:", *(f"  {line}" for line in lines[-MAX_OUTPUT_LINES:])) if lines else ()


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def _user_frames(hung_at: list[str], roots: tuple[Path, ...]) -> tuple[str, ...]:
    """Return where user code stood, outermost first, out of what `faulthandler` printed of the main thread."""
    frames = [found for found in map(_FRAME.match, hung_at) if found and is_users(found["file"], roots)]
    return tuple(f'File "{at["file"]}", line {at["line"]}, in {at["function"]}' for at in reversed(frames))
