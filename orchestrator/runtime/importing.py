"""The short-lived process that imports handlers, one after the other, and reports each on a private socket.

Started as `python -m orchestrator.runtime.importing FD` by `orchestrator.runtime.inspect`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import socket
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from orchestrator.errors import ExitCode, HandlerError
from orchestrator.runtime.outliving import stand_in_front
from orchestrator.topology.handlers import HandlerFault, HandlerReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Finding: TypeAlias = HandlerReport | HandlerFault


class Request(Struct, frozen=True):
    """The one line to the child: each handler with what its agent's environment adds, and where to look for it."""

    handlers: dict[str, dict[str, str]]
    directory: str
    limit: float
    app_dir: str = ""


class Began(Struct, frozen=True, tag="began"):
    handler: str


class Reported(Struct, frozen=True, tag="reported"):
    report: HandlerReport


class Faulted(Struct, frozen=True, tag="faulted"):
    fault: HandlerFault


def main(descriptor: int) -> ExitCode:
    os.set_inheritable(descriptor, False)
    stand_in_front(descriptor)
    with socket.socket(fileno=descriptor) as parent, parent.makefile("rb") as lines:
        request = msgspec.json.decode(lines.readline(), type=Request)
        import_module("orchestrator.agents.describe")  # ours, so its time is no handler's
        threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()
        # A C thread of the interpreter's own: it ends this process even while an import holds on to the GIL.
        faulthandler.dump_traceback_later(request.limit, exit=True, file=parent.fileno())
        for number, (handler, added) in enumerate(request.handlers.items()):
            _say(parent, Began(handler))
            _mark(number)
            with _environment(added):
                finding = _examine(handler, Path(request.directory), request.app_dir)
            _flush()
            _say(parent, Faulted(finding) if isinstance(finding, HandlerFault) else Reported(finding))
        faulthandler.cancel_dump_traceback_later()
    return ExitCode.DONE


def _leave_with_parent(parent: socket.socket) -> None:
    """Exit when the parent is gone: nothing further comes from it, so any end of waiting is that.

    Whoever stands in front of this process kills it then, too, unless that was killed itself.
    """
    with contextlib.suppress(OSError):
        parent.recv(1)
    os._exit(ExitCode.FAILED)


def _say(parent: socket.socket, what: Began | Reported | Faulted) -> None:
    parent.sendall(msgspec.json.encode(what) + b"\n")


def output_mark(number: int) -> bytes:
    """Return what stands in the output before all that the import of handler `number`, from 0, prints.

    Output and reports come over different pipes, so nothing else tells which import printed what.
    """
    return b"\0import %d\0" % number


def _mark(number: int) -> None:
    with contextlib.suppress(OSError):  # user code may have closed it
        os.write(1, output_mark(number))


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


def _examine(handler: str, directory: Path, app_dir: str) -> Finding:
    from orchestrator.agents.describe import describe
    from orchestrator.agents.loading import given, load_handler, search_roots

    try:
        return describe(handler, load_handler(handler, directory, given(app_dir)))
    except HandlerError as error:
        first, *others = error.sentences
        return HandlerFault(handler, first, others=tuple(others))
    except BaseException as error:  # noqa: BLE001 - the module is the user's: even SystemExit is a finding about it
        return _raised(handler, error, search_roots(directory, given(app_dir)))


def _raised(handler: str, error: BaseException, roots: tuple[Path, ...]) -> HandlerFault:
    frames = [
        line
        for frame, number in traceback.walk_tb(error.__traceback__)
        if is_users(frame.f_code.co_filename, roots)
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


def is_users(file: str, roots: tuple[Path, ...]) -> bool:
    path = Path(file)
    return any(path.is_relative_to(root) for root in roots) and "site-packages" not in path.parts


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    _flush()
    os._exit(code)  # threads that an import started do not keep the answer waiting
