"""Where a run is found: a Unix socket, beside a file that says what runs, in the folder `.orchestrator` of its topology.

Where that folder cannot be made, or could be another user's, both lie in the folder that this user's runs share; whoever
looks for runs looks in both. A run is alive while its socket answers: what dead ones have left is removed by whoever looks
next. The descriptor of the socket must not be left open in a process that outlives the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from orchestrator.errors import OrchestratorError, listed
from orchestrator.runtime import seats
from orchestrator.topology.plan_ranges import read_range

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterator, Mapping

FOLDER: Final = ".orchestrator"
BACKLOG: Final = 64
"""Commands that wait in the listening socket while the run starts."""
_LOCK: Final = "lock"
_LONGEST_STEM: Final = 40
"""Characters of a topology's name that the names of its seats begin with."""
_WHAT: Final = "the socket by which a run is reached"


class AlreadyRunning(OrchestratorError):
    """Another run has some of the agents that were to be started; nothing was."""

    def __init__(self, topology: Path, pid: int, shared: Collection[str], whole: bool) -> None:
        """`whole`: the other one has all of the agents that were to be started."""
        self.topology, self.pid, self.shared, self.whole = topology, pid, tuple(sorted(shared)), whole
        super().__init__(topology, pid, self.shared, whole)

    def __str__(self) -> str:
        file = shlex.quote(str(self.topology))
        some = "" if self.whole or not self.shared else f" with {listed(self.shared)}"
        return (
            f"{self.topology} runs already{some}: process {self.pid}; `orchestrator ps {file}` shows it, and "
            f"`orchestrator stop {file}` ends it"
        )


@dataclass(frozen=True, slots=True)
class RunSeat:
    """One run, as others find it."""

    pid: int
    path: str
    """Of the socket."""
    topology: Path
    """Resolved path of the file."""
    agents: frozenset[str]
    """Those that it runs, or the replicas of them: ``researcher`` or ``researcher.1-4``."""
    began: float
    """Unix seconds."""
    hub_url: str | None = None
    """`None` = not known yet."""


class _Said(msgspec.Struct, frozen=True):
    """What lies beside the socket of a run."""

    pid: int
    file: str
    """Name of the topology file; it is in the folder that ours lies in, which may be moved meanwhile."""
    agents: tuple[str, ...]
    began: float
    hub_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSeat(RunSeat):
    """The run of this process."""

    listening: socket.socket = field(repr=False)
    """Bound and listening; it is closed when the run is over."""
    said_in: Path

    def tell_hub(self, url: str) -> None:
        """Have others find where the hub is, too."""
        said = _Said(self.pid, self.topology.name, tuple(sorted(self.agents)), self.began, url)
        with contextlib.suppress(OSError):  # a full disk: the run itself tells those who ask it
            _write(self.said_in, said)


@contextmanager
def registered(topology: Path, agents: Collection[str], environ: Mapping[str, str]) -> Iterator[OwnSeat]:
    """Be the run of these agents of `topology`, or of these replicas of agents, until the block ends, and leave nothing of
    it then.

    Raises `AlreadyRunning` if a run that is alive has one of them, or all of the topology's where none are named here or
    there; and `NoPlace`. Of several that begin at once, one gets through.
    """
    whole = topology.resolve()
    with contextlib.ExitStack() as stack:
        try:
            folder = own_folder(topology, environ)
            with _locked(folder, whole.parent, environ):
                _refuse_second(topology, frozenset(agents), environ)
                _remove_halves(folder)
                seat = _open(folder, whole, frozenset(agents), stack)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise seats.NoPlace(f"there is no place for {_WHAT}: {error.filename or '.'}: {reason}") from None
        yield seat


def running(topology: Path, environ: Mapping[str, str]) -> tuple[RunSeat, ...]:
    """Return the runs of `topology` that are alive, those that began first before the others."""
    whole = topology.resolve()
    return tuple(seat for seat in running_in(whole.parent, environ) if seat.topology == whole)


def running_in(folder: Path, environ: Mapping[str, str]) -> tuple[RunSeat, ...]:
    """Return the runs that are alive of topologies that lie in `folder`; what dead ones have left there is removed."""
    whole = folder.resolve()
    found = []
    for place in filter(seats.is_ours, _folders(whole, environ)):
        for file in sorted(place.glob("*.json")):
            seat = _read(file, whole)
            if seat is not None and seats.answers(seat.path):
                found.append(seat)
            elif seat is not None:
                _remove(file)
    return tuple(sorted(found, key=lambda seat: (seat.began, seat.pid)))


def seen_in(folder: Path, environ: Mapping[str, str]) -> tuple[tuple[RunSeat, ...], tuple[Path, ...]]:
    """Return the runs that are alive of topologies in `folder`, and the files that dead ones have left, which stay there."""
    whole = folder.resolve()
    alive, left = [], []
    for place in filter(seats.is_ours, _folders(whole, environ)):
        for file in sorted(place.glob("*.json")):
            seat = _read(file, whole)
            if seat is not None and seats.answers(seat.path):
                alive.append(seat)
            elif seat is not None:
                left.append(file)
    return tuple(alive), tuple(left)


def own_folder(topology: Path, environ: Mapping[str, str]) -> Path:
    """Return the folder, made if there is none, in which a run of `topology` keeps what is its own. Raises `NoPlace`."""
    beside, *private = _folders(topology.resolve().parent, environ)
    with contextlib.suppress(OSError):
        beside.mkdir(mode=0o700, exist_ok=True)
    if seats.is_ours(beside) and os.access(beside, os.W_OK | os.X_OK):
        return beside
    try:
        seats.own(private[0].parent, _WHAT)
        return seats.own(private[0], _WHAT)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise seats.NoPlace(f"there is no place for {_WHAT}: {error.filename or '.'}: {reason}") from None


def _folders(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return where the seats of topologies in `folder` may lie: beside them, else among what is this user's own."""
    name = f"orchestrator-run-{seats.mark(folder)}"
    return [folder / FOLDER, *(place / name for place in seats.private_places(environ))]


def _refuse_second(topology: Path, agents: frozenset[str], environ: Mapping[str, str]) -> None:
    for other in running(topology, environ):
        theirs = [read_range(word) for word in other.agents]
        shared = {word for word in agents if any(read_range(word).meets(each) for each in theirs)}
        if shared or not agents or not other.agents:
            raise AlreadyRunning(topology, other.pid, shared, whole=agents <= other.agents)


# -- what lies in a folder


def _open(folder: Path, topology: Path, agents: frozenset[str], stack: contextlib.ExitStack) -> OwnSeat:
    name = f"{topology.stem[:_LONGEST_STEM]}-{os.getpid()}-{secrets.token_hex(4)}"
    path, file = folder / f"{name}.sock", folder / f"{name}.json"
    stack.callback(_leave, folder)
    stack.callback(_remove, file)
    bound = path
    if not seats.fits(path):
        near = seats.near()
        stack.callback(shutil.rmtree, near, ignore_errors=True)
        bound = near / "run.sock"
        path.symlink_to(bound)
    listening = stack.enter_context(seats.listening(bound, BACKLOG))
    began = time.time()
    _write(file, _Said(os.getpid(), topology.name, tuple(sorted(agents)), began))
    return OwnSeat(os.getpid(), str(bound), topology, agents, began, listening=listening, said_in=file)


def _write(file: Path, said: _Said) -> None:
    unfinished = file.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(msgspec.json.encode(said))
    unfinished.rename(file)


def _read(file: Path, folder: Path) -> RunSeat | None:
    """Return what a file says of a run; `None` where it is none of ours, or gone."""
    try:
        said = msgspec.json.decode(file.read_bytes(), type=_Said)
        path = str(seats.real(file.with_suffix(".sock")))
    except (OSError, ValueError):
        return None
    return RunSeat(said.pid, path, folder / said.file, frozenset(said.agents), said.began, said.hub_url)


def _remove(file: Path) -> None:
    seats.remove_socket(file.with_suffix(".sock"))
    for each in (file, file.with_suffix(".new")):
        each.unlink(missing_ok=True)


def _remove_halves(folder: Path) -> None:
    """Remove what runs have left that were killed while they began; to be called by whoever has the lock."""
    for half in (*folder.glob("*.sock"), *folder.glob("*.new")):
        if not half.with_suffix(".json").exists() and not seats.answers(half):
            seats.remove_socket(half)


def _leave(folder: Path) -> None:
    """Remove the folder if nothing is in it any more."""
    with contextlib.suppress(OSError):
        folder.rmdir()


# -- one at a time


@contextmanager
def _locked(folder: Path, beside: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Keep others of this user from looking for runs of the same topology in order to begin one, wherever they look."""
    with contextlib.ExitStack() as stack:
        for place in _folders(beside, environ):
            if place == folder or seats.is_ours(place):
                stack.enter_context(_lock(place))
        yield


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until nobody else has the lock of a folder. Its file is there only as long as somebody has it, or waits."""
    path = folder / _LOCK
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)  # whoever left last may have taken it along
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is(path, descriptor):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a process that was forked meanwhile
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Tell whether an open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
