"""Where the store of a run is reached, who may reach it, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.runtime.seats import LONGEST_PATH, NoPlace
from orchestrator.runtime.store_seat import StoreSeat, running, seated
from tests.runtime.processes import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPOLOGY = Path("farm.yaml")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for the sockets of these tests alone, with a short path."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        yield Path(folder)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_nobody_else_can_look_into_a_seat(place: Path) -> None:
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) as (seat, _):
        path = Path(seat.path)
        assert (mode(path), mode(path.parent), mode(path.with_name("operator"))) == (0o600, 0o700, 0o600)
        assert [each.name for each in place.iterdir()] == [path.parent.name]


def test_connections_wait_while_nobody_serves_them(place: Path) -> None:
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) as (seat, listening):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(seat.path)
            client.sendall(b"early")
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.recv(5) == b"early"


def test_nothing_is_left_of_it(place: Path) -> None:
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}):
        assert list(place.iterdir()) != []
    assert list(place.iterdir()) == []


def test_nothing_is_left_of_it_after_a_failure(place: Path) -> None:
    with pytest.raises(ZeroDivisionError), seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}):
        raise ZeroDivisionError
    assert list(place.iterdir()) == []


def test_runs_of_one_topology_are_found_with_their_secrets_and_no_others(place: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(place)}
    assert running(TOPOLOGY, environ) == ()
    with (
        seated(TOPOLOGY, environ) as (first, _),
        seated(TOPOLOGY, environ) as (second, _),
        seated(Path("other.yaml"), environ),
    ):
        assert sorted(running(TOPOLOGY, environ), key=str) == sorted([first, second], key=str)
        assert first.pid == os.getpid()
        assert len(first.operator) >= 32
        assert first.operator != second.operator


def test_the_same_topology_is_found_by_another_name_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_RUNTIME_DIR": str(place)}
    monkeypatch.chdir(place)
    with seated(TOPOLOGY, environ) as (seat, _):
        assert running(place / ".." / place.name / TOPOLOGY, environ) == (seat,)


def test_the_secret_is_in_no_repr(place: Path) -> None:
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) as (seat, _):
        assert seat.operator not in repr(seat)


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.runtime.store_seat import seated
with seated(Path("farm.yaml"), {"XDG_RUNTIME_DIR": sys.argv[1]}) as (seat, _):
    print(seat.path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(place: Path, directory: Path) -> Path:
    """Return the path of the socket that a run has left that was killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(place)], cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    path = Path(done.stdout.decode().strip())
    assert path.is_socket()
    return path


def test_what_a_killed_run_has_left_is_removed_by_whoever_looks(place: Path, tmp_path: Path) -> None:
    path = killed(place, tmp_path)
    assert running(tmp_path / TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) == ()
    assert not path.exists()
    assert list(place.iterdir()) == []


def test_what_a_killed_run_has_left_is_removed_by_the_next_one(place: Path, tmp_path: Path) -> None:
    path = killed(place, tmp_path)
    with seated(tmp_path / TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) as (seat, _):
        assert not path.exists()
        assert running(tmp_path / TOPOLOGY, {"XDG_RUNTIME_DIR": str(place)}) == (seat,)


@pytest.fixture
def far(place: Path) -> Path:
    """A place whose path is longer than a socket's may be."""
    folder = place / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    return folder


def test_a_socket_whose_path_would_be_too_long_lies_elsewhere_and_is_found(far: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(far)}
    with seated(TOPOLOGY, environ) as (seat, _):
        assert len(os.fsencode(seat.path)) <= LONGEST_PATH
        assert mode(Path(seat.path).parent) == 0o700
        assert running(TOPOLOGY, environ) == (seat,)
    assert not Path(seat.path).parent.exists()
    assert list(far.iterdir()) == []


def test_a_far_socket_of_a_killed_run_is_removed_too(far: Path, tmp_path: Path) -> None:
    path = killed(far, tmp_path)
    assert running(tmp_path / TOPOLOGY, {"XDG_RUNTIME_DIR": str(far)}) == ()
    assert not path.parent.exists()


@pytest.fixture
def temporary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go meanwhile."""
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize("runtime", ["", "run", "/nowhere/at/all"])
def test_without_a_runtime_directory_it_lies_in_a_folder_of_its_user_alone(runtime: str, temporary: Path) -> None:
    own = temporary / f"orchestrator-{os.geteuid()}"
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": runtime}) as (seat, _):
        assert Path(seat.path).parent.parent == own
        assert mode(own) == 0o700
        assert running(TOPOLOGY, {}) == (seat,)
    assert list(own.iterdir()) == []


def test_a_run_that_knew_of_no_runtime_directory_is_found_by_those_who_do(place: Path, temporary: Path) -> None:
    runtime = place / "runtime"
    runtime.mkdir(mode=0o700)
    with seated(TOPOLOGY, {}) as (seat, _):
        assert running(TOPOLOGY, {"XDG_RUNTIME_DIR": str(runtime)}) == (seat,)


def test_a_runtime_directory_that_others_may_write_to_is_not_used(place: Path, temporary: Path) -> None:
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with seated(TOPOLOGY, {"XDG_RUNTIME_DIR": str(shared)}) as (seat, _):
        assert Path(seat.path).parent.parent == temporary / f"orchestrator-{os.geteuid()}"


def a_link(own: Path) -> None:
    (own.parent / "elsewhere").mkdir(mode=0o700)
    own.symlink_to(own.parent / "elsewhere")


def open_to_others(own: Path) -> None:
    own.mkdir()
    own.chmod(0o777)


@pytest.mark.parametrize("prepare", [a_link, open_to_others])
def test_a_folder_that_somebody_else_may_have_prepared_is_refused(
    prepare: Callable[[Path], None], temporary: Path
) -> None:
    own = temporary / f"orchestrator-{os.geteuid()}"
    prepare(own)
    with pytest.raises(NoPlace, match=f"{own} is a link, somebody else's, or open to others"), seated(TOPOLOGY, {}):
        pass
    assert running(TOPOLOGY, {}) == ()
    assert list(own.iterdir()) == []


def test_a_seat_without_its_secret_is_none(place: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(place)}
    with seated(TOPOLOGY, environ) as (seat, _):
        Path(seat.path).with_name("operator").unlink()
        assert running(TOPOLOGY, environ) == ()


def test_a_busy_store_is_one(place: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(place)}
    with seated(TOPOLOGY, environ) as (seat, listening):
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
            for client in (one, two):
                client.setblocking(False)
                client.connect_ex(seat.path)
            assert running(TOPOLOGY, environ) == (StoreSeat(os.getpid(), seat.path, seat.operator),)
