"""Where a run is found: one run of an agent at a time, nothing left behind, and no trust in what others may have put there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ExitCode
from orchestrator.runtime.run_seat import FOLDER, AlreadyRunning, registered, running, running_in
from orchestrator.runtime.seats import LONGEST_PATH, NoPlace
from tests.runtime.processes import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRON: dict[str, str] = {}
AGENTS = ("editor", "researcher")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of topologies with a short path, and a place of our own beside it for what cannot lie in it."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as made:
        (Path(made) / "topologies").mkdir()
        (Path(made) / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(Path(made) / "temporary"))
        yield Path(made) / "topologies"


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def private() -> Path:
    """Where a seat lies that cannot lie beside its topology."""
    return Path(tempfile.gettempdir()) / f"orchestrator-{os.geteuid()}"


def test_a_run_is_found_by_its_file_and_by_its_folder(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON) as seat:
        [found] = running(folder / "farm.yaml", ENVIRON)
        assert running_in(folder, ENVIRON) == (found,)
        assert (found.pid, found.path, found.agents) == (os.getpid(), seat.path, frozenset(AGENTS))
        assert (found.topology, found.began, found.hub_url) == (folder.resolve() / "farm.yaml", seat.began, None)


def test_where_its_hub_is_can_be_told_later(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON) as seat:
        seat.tell_hub("ws://127.0.0.1:7000")
        [found] = running(folder / "farm.yaml", ENVIRON)
        assert found.hub_url == "ws://127.0.0.1:7000"


def test_nobody_else_can_look_into_it(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON) as seat:
        own = folder / FOLDER
        assert mode(own) == 0o700
        assert {mode(each) for each in own.iterdir()} == {0o600}
        assert all(each.name.startswith(f"farm-{seat.pid}-") for each in own.iterdir())


def test_nothing_is_left_of_it(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON):
        pass
    assert list(folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError), registered(folder / "farm.yaml", AGENTS, ENVIRON):
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_what_else_lies_there_stays(folder: Path) -> None:
    (folder / FOLDER / "logs").mkdir(parents=True)
    (folder / FOLDER).chmod(0o700)
    (folder / FOLDER / "other.json").write_text("[]")
    with registered(folder / "farm.yaml", AGENTS, ENVIRON):
        assert len(running_in(folder, ENVIRON)) == 1
    assert sorted(each.name for each in (folder / FOLDER).iterdir()) == ["logs", "other.json"]


def test_a_second_run_of_an_agent_is_refused_with_the_pid_of_the_first(folder: Path) -> None:
    file = folder / "farm.yaml"
    with registered(file, AGENTS, ENVIRON) as seat:
        with pytest.raises(AlreadyRunning) as refused, registered(file, AGENTS, ENVIRON):
            pass
        assert str(refused.value) == (
            f"{file} runs already: process {seat.pid}; `orchestrator ps {file}` shows it, and `orchestrator stop {file}` "
            "ends it"
        )
        assert refused.value.exit_code is ExitCode.FAILED
        assert len(running(file, ENVIRON)) == 1
        with (
            pytest.raises(AlreadyRunning, match=r"runs already with 'editor': process"),
            registered(file, ["editor", "more"], ENVIRON),
        ):
            pass


def test_runs_of_different_agents_live_side_by_side(folder: Path) -> None:
    file = folder / "farm.yaml"
    with registered(file, ["editor"], ENVIRON) as one, registered(file, ["researcher"], ENVIRON) as other:
        assert [found.path for found in running(file, ENVIRON)] == [one.path, other.path]
    assert list(folder.iterdir()) == []


def test_runs_of_different_replicas_of_an_agent_live_side_by_side(folder: Path) -> None:
    file = folder / "farm.yaml"
    with registered(file, ["editor", "researcher.1-4"], ENVIRON), registered(file, ["researcher.5-8"], ENVIRON):
        for words in (["researcher"], ["researcher.4"], ["researcher.8-"]):
            with pytest.raises(AlreadyRunning), registered(file, words, ENVIRON):
                pass
        with registered(file, ["researcher.9-"], ENVIRON):
            assert len(running(file, ENVIRON)) == 3


def test_topologies_of_one_folder_do_not_clash(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON), registered(folder / "farm.yml", AGENTS, ENVIRON) as other:
        assert [found.path for found in running(folder / "farm.yml", ENVIRON)] == [other.path]
        assert len(running_in(folder, ENVIRON)) == 2


def test_it_is_found_by_another_name_of_its_file(folder: Path) -> None:
    (folder / "farm.yaml").touch()
    (folder.parent / "link.yaml").symlink_to(folder / "farm.yaml")
    with registered(folder.parent / "link.yaml", AGENTS, ENVIRON) as seat:
        assert Path(seat.path).parent == folder.resolve() / FOLDER
        assert len(running(folder / ".." / folder.name / "farm.yaml", ENVIRON)) == 1


def test_it_is_found_where_its_folder_was_moved_to(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON):
        moved = folder.rename(folder.with_name("moved"))
        [found] = running(moved / "farm.yaml", ENVIRON)
        assert Path(found.path).is_socket()
        moved.rename(folder)


# -- of several that begin at once, one gets through

BEGIN = """
import sys
from pathlib import Path
from orchestrator.runtime.run_seat import AlreadyRunning, registered
print("here", flush=True)
sys.stdin.readline()
try:
    with registered(Path(sys.argv[1]), ["editor", "researcher"], {}) as seat:
        print("runs", flush=True)
        sys.stdin.readline()
except AlreadyRunning as error:
    print("refused", error.pid, flush=True)
"""


def begin(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(file)],
        env={**ENVIRONMENT, "TMPDIR": tempfile.gettempdir()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_that_begin_at_once_one_lives(folder: Path) -> None:
    processes = [begin(folder / "farm.yaml") for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = {process.pid: process.stdout.readline() for process in processes if process.stdout is not None}
        [lives] = [pid for pid, line in said.items() if line == "runs\n"]
        assert sorted(said.values()) == [f"refused {lives}\n"] * 3 + ["runs\n"]
    finally:
        for process in processes:
            process.communicate("\n", timeout=30)
    assert list(folder.iterdir()) == []


def killed(file: Path) -> list[Path]:
    """Return what a run has left that was killed."""
    process = begin(file)
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["here\n", "runs\n"]
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    return list((file.parent / FOLDER).iterdir())


def test_what_a_killed_run_has_left_is_removed_by_whoever_looks(folder: Path) -> None:
    left = killed(folder / "farm.yaml")
    assert len(left) == 2
    assert running(folder / "farm.yaml", ENVIRON) == ()
    assert not any(each.exists() for each in left)


def test_what_a_killed_run_has_left_is_removed_by_the_next_one(folder: Path) -> None:
    left = killed(folder / "farm.yaml")
    for each in left:
        if each.suffix == ".json":
            each.unlink()  # as if it had been killed a moment earlier
    with registered(folder / "farm.yaml", AGENTS, ENVIRON):
        assert not any(each.exists() for each in left)
    assert list(folder.iterdir()) == []


# -- paths that are too long, and folders that cannot be trusted


def test_a_socket_whose_path_would_be_too_long_lies_elsewhere_and_is_found(folder: Path) -> None:
    far = folder / ("d" * 60) / ("e" * 60)
    far.mkdir(parents=True)
    with registered(far / "farm.yaml", AGENTS, ENVIRON) as seat:
        assert len(os.fsencode(seat.path)) <= LONGEST_PATH
        assert mode(Path(seat.path).parent) == 0o700
        assert [found.path for found in running(far / "farm.yaml", ENVIRON)] == [seat.path]
    assert not Path(seat.path).parent.exists()
    assert list(far.iterdir()) == []


def test_a_far_socket_of_a_killed_run_is_removed_too(folder: Path) -> None:
    far = folder / ("d" * 60) / ("e" * 60)
    far.mkdir(parents=True)
    [link] = [each for each in killed(far / "farm.yaml") if each.is_symlink()]
    near = link.readlink().parent
    assert near.is_dir()
    assert running(far / "farm.yaml", ENVIRON) == ()
    assert not near.exists()


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    (folder / FOLDER).symlink_to(folder.parent / "elsewhere")


def open_to_others(folder: Path) -> None:
    (folder / FOLDER).mkdir()
    (folder / FOLDER).chmod(0o777)


def a_file(folder: Path) -> None:
    (folder / FOLDER).touch()


def somebody_elses(folder: Path) -> None:
    (folder / FOLDER).mkdir(mode=0o700)
    try:
        os.chown(folder / FOLDER, 65_534, 65_534)
    except PermissionError:
        pytest.skip("only root can give a folder away")


UNTRUSTED = [a_link, open_to_others, a_file, somebody_elses]


@pytest.mark.parametrize("prepare", UNTRUSTED, ids=lambda prepare: str(prepare.__name__))
def test_where_the_folder_cannot_be_trusted_the_seat_lies_among_what_is_our_own(prepare, folder: Path) -> None:  # type: ignore[no-untyped-def]
    prepare(folder)
    with registered(folder / "farm.yaml", AGENTS, ENVIRON) as seat:
        assert Path(seat.path).parent.parent == private()
        assert mode(Path(seat.path).parent) == 0o700
        assert [found.path for found in running(folder / "farm.yaml", ENVIRON)] == [seat.path]
        assert running(folder / "other.yaml", ENVIRON) == ()
        with pytest.raises(AlreadyRunning), registered(folder / "farm.yaml", AGENTS, ENVIRON):
            pass
    assert list(private().iterdir()) == []


def test_what_lies_in_a_folder_that_others_can_write_to_is_no_run(folder: Path) -> None:
    with registered(folder / "farm.yaml", AGENTS, ENVIRON):
        (folder / FOLDER).chmod(0o777)
        assert running(folder / "farm.yaml", ENVIRON) == ()
        (folder / FOLDER).chmod(0o700)
        assert len(running(folder / "farm.yaml", ENVIRON)) == 1


def test_without_any_place_that_is_said(folder: Path) -> None:
    open_to_others(folder)
    private().mkdir()
    private().chmod(0o777)
    with pytest.raises(NoPlace, match="needs a folder that is its user's alone"):
        with registered(folder / "farm.yaml", AGENTS, ENVIRON):
            pass
