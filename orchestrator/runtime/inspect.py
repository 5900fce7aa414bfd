"""Finds out what handlers declare, by importing them in one short-lived process: never in the one that asks.

The child imports one handler after the other and reports each on a private socket, so that whatever user code prints
is no part of the answer. A hanging import costs the time limit, a crashing one its process; the asker survives both.
"""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from orchestrator.errors import ExitCode, HandlerError
from orchestrator.runtime.process import child_environment
from orchestrator.topology.handlers import HandlerFault, HandlerReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.topology.model import Topology

LIMIT: Final = 10.0
"""Seconds that all imports together may take."""
GRACE: Final = 1.0
"""Seconds after that in which the child says where it hangs, and ends itself."""
MAX_OUTPUT: Final = 16_384
MAX_OUTPUT_LINES: Final = 20
"""Bytes and lines of what a handler printed that are kept, the last ones, to be shown if it fails."""

Finding: TypeAlias = HandlerReport | HandlerFault


class Request(Struct, frozen=True):
    """The one line to the child: each handler with what its agent's environment adds, and where to look for it."""

    handlers: dict[str, dict[str, str]]
    directory: str
    limit: float


class Began(Struct, frozen=True, tag="began"):
    handler: str


class Reported(Struct, frozen=True, tag="reported"):
    report: HandlerReport


class Faulted(Struct, frozen=True, tag="faulted"):
    fault: HandlerFault


# -- the side that asks


def inspect_topology(
    topology: Topology, environ: Mapping[str, str], *, limit: float = LIMIT
) -> dict[str, HandlerReport | HandlerFault]:
    """Inspect every handler that a topology names; blocks for `limit` seconds and a little more at most."""
    handlers: dict[str, dict[str, str]] = {}
    for _, _, agent in topology.each_agent():  # of several agents with one handler, the first lends its environment
        handlers.setdefault(agent.handler, agent.environment)
    environment = child_environment(environ, topology.origin.withheld, {})
    return inspect_handlers(handlers, topology.origin.path.resolve().parent, environment, limit=limit)


def inspect_handlers(
    handlers: Mapping[str, Mapping[str, str]], directory: Path, environment: Mapping[str, str], *, limit: float = LIMIT
) -> dict[str, HandlerReport | HandlerFault]:
    """Import each handler in a child whose environment is `environment` and, for it alone, what `handlers` adds."""
    if not handlers:
        return {}
    request = Request({name: dict(added) for name, added in handlers.items()}, str(directory), limit)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            # -P: nothing in the current directory shadows a module of ours or of the standard library.
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                [sys.executable, "-P", "-m", "orchestrator.runtime.inspect", str(theirs.fileno())],
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
                timed_out = hearing.listen(ours, child, time.monotonic() + limit + GRACE)
            finally:
                _kill(child)
        return hearing.findings(list(handlers), directory, child.returncode, timed_out=timed_out)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything that imports may have started in its process group."""
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
    hung_at: list[str] = field(default_factory=list)
    """Where the child stood when its time was over, the innermost frame first."""
    output: bytearray = field(default_factory=bytearray)
    pending: bytearray = field(default_factory=bytearray)

    def listen(self, ours: socket.socket, child: subprocess.Popen[bytes], deadline: float) -> bool:
        """Hear the child out; tell whether its time ran out first."""
        assert child.stdout is not None
        printed = child.stdout.fileno()
        os.set_blocking(printed, False)
        ours.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            selector.register(printed, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
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
            self.current = said.handler
            return
        self.hear_output(printed)
        self.current = None
        if isinstance(said, Reported):
            self.found[said.report.handler] = said.report
        else:
            fault = said.fault
            frames = (*fault.frames, *self.printed())
            self.found[fault.handler] = HandlerFault(fault.handler, fault.sentence, frames)
        self.output.clear()

    def findings(self, handlers: list[str], directory: Path, code: int, *, timed_out: bool) -> dict[str, Finding]:
        """Return a finding for each handler, also for those that the child did not come to."""
        if self.current is not None:
            if timed_out:
                sentence = f"importing it did not end within {self.limit:g} s; an import is not the place for work"
                frames = _user_frames(self.hung_at, directory)
            else:
                sentence, frames = f"the process that imported it {_ending(code)} in the middle of the import", ()
            self.found[self.current] = HandlerFault(self.current, sentence, (*frames, *self.printed()))
            why = f"it was not looked at, because the import of {self.current} did not end well"
        else:
            why = f"it was not looked at, because the process that imports handlers {_ending(code)}"
        frames = () if self.current is not None else self.printed()
        return {name: self.found.get(name) or HandlerFault(name, why, frames) for name in handlers}

    def printed(self) -> tuple[str, ...]:
        lines = [line for line in self.output.decode(errors="replace").splitlines() if line.strip()]
        return ("it printed:", *(f"  {line}" for line in lines[-MAX_OUTPUT_LINES:])) if lines else ()


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def _user_frames(hung_at: list[str], directory: Path) -> tuple[str, ...]:
    """Return where user code stood, outermost first, out of what `faulthandler` printed of the main thread."""
    from orchestrator.agents.loading import search_roots

    roots = search_roots(directory)
    frames = [found for found in map(_FRAME.match, hung_at) if found and _is_users(found["file"], roots)]
    return tuple(f'File "{at["file"]}", line {at["line"]}, in {at["function"]}' for at in reversed(frames))


def _is_users(file: str, roots: tuple[Path, ...]) -> bool:
    path = Path(file)
    return any(path.is_relative_to(root) for root in roots) and "site-packages" not in path.parts


# -- the side that imports


def main(descriptor: int) -> ExitCode:
    os.set_inheritable(descriptor, False)
    with socket.socket(fileno=descriptor) as parent, parent.makefile("rb") as lines:
        request = msgspec.json.decode(lines.readline(), type=Request)
        threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()
        # A C thread of the interpreter's own: it ends this process even while an import holds on to the GIL.
        faulthandler.dump_traceback_later(request.limit, exit=True, file=parent.fileno())
        for handler, added in request.handlers.items():
            _say(parent, Began(handler))
            with _environment(added):
                finding = _examine(handler, Path(request.directory))
            _flush()
            _say(parent, Faulted(finding) if isinstance(finding, HandlerFault) else Reported(finding))
        faulthandler.cancel_dump_traceback_later()
    return ExitCode.DONE


def _leave_with_parent(parent: socket.socket) -> None:
    """Exit when the parent is gone: nothing further comes from it, so any end of waiting is that."""
    with contextlib.suppress(OSError):
        parent.recv(1)
    os._exit(ExitCode.FAILED)


def _say(parent: socket.socket, what: Began | Reported | Faulted) -> None:
    parent.sendall(msgspec.json.encode(what) + b"\n")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # user code may have closed or replaced it
            stream.flush()


@contextlib.contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def _examine(handler: str, directory: Path) -> Finding:
    from orchestrator.agents.describe import describe
    from orchestrator.agents.loading import load_handler

    try:
        return describe(handler, load_handler(handler, directory))
    except HandlerError as error:
        return HandlerFault(handler, str(error))
    except BaseException as error:  # noqa: BLE001 - the module is the user's: even SystemExit is a finding about it
        return _raised(handler, error, directory)


def _raised(handler: str, error: BaseException, directory: Path) -> HandlerFault:
    from orchestrator.agents.loading import search_roots

    roots = search_roots(directory)
    frames = [
        line
        for frame, number in traceback.walk_tb(error.__traceback__)
        if _is_users(frame.f_code.co_filename, roots)
        for line in _shown(frame, number)
    ]
    final = [line.rstrip() for part in traceback.format_exception_only(error) for line in part.splitlines()]
    return HandlerFault(handler, f"importing it raised {_brief(error)}", (*frames, *final))


def _shown(frame: Any, number: int) -> list[str]:
    code = frame.f_code
    source = linecache.getline(code.co_filename, number).strip()
    return [f'File "{code.co_filename}", line {number}, in {code.co_name}', *([f"  {source}"] if source else [])]


def _brief(error: BaseException) -> str:
    name = type(error).__name__
    text = " ".join(str(error).split())
    return f"{name}: {text[:200]}" if text else name


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    _flush()
    os._exit(code)  # threads that an import started do not keep the answer waiting
