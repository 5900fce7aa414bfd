"""`--log-dir`: whole lines of JSON for each source, in files of bounded size, and a disk that takes nothing is no end."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runtime.console import Console
from orchestrator.runtime.log_files import MAX_OPEN, LogFile, LogFiles, NoLogFolder, file_name
from orchestrator.runtime.output import Output
from orchestrator.runtime.records import HUB, Record, Source
from tests.runtime.operated import until
from tests.runtime.processes import ENVIRONMENT
from tests.store.test_sqlite_full_disk import namespace

ROOT = Path(__file__).parents[2]
RESEARCHER = Source("researcher.1", "researcher", 1)


def record(event: str) -> Record:
    return Record(1.0, "info", event)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def output(folder: Path, console: io.StringIO, **more: Any) -> Output:
    return Output(
        Console(["run"], colours=False), "info", log=console, answers=io.StringIO(), files=LogFiles(folder, **more)
    )


def test_each_source_has_a_file_of_json_whatever_the_console_shows(tmp_path: Path) -> None:
    console = io.StringIO()
    out = output(tmp_path / "a" / "logs", console)
    out.put(RESEARCHER, Record(1.0, "warning", "odd", {"task_id": "8f2a"}, "Traceback: x\n"))
    out.put(HUB, record("listens"))
    out.say("info", "ready")
    out.close()
    folder = tmp_path / "a" / "logs"
    assert sorted(each.name for each in folder.iterdir()) == ["hub.log", "researcher.1.log", "run.log"]
    [line] = lines(folder / "researcher.1.log")
    assert (line["peer"], line["event"], line["task_id"], line["exception"]) == (
        "researcher.1",
        "odd",
        "8f2a",
        "Traceback: x\n",
    )
    assert lines(folder / "run.log")[0]["process"] == "run"
    assert "odd" in console.getvalue()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_a_file_that_grows_is_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    out = output(tmp_path, io.StringIO(), max_size=1_000, kept=3)
    for number in range(100):
        out.put(RESEARCHER, record(f"line {number:03}"))
    out.close()
    names = ["researcher.1.log.3", "researcher.1.log.2", "researcher.1.log.1", "researcher.1.log"]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(names)
    kept = [line["event"] for name in names for line in lines(tmp_path / name)]
    assert kept == [f"line {number:03}" for number in range(100 - len(kept), 100)]
    assert all((tmp_path / name).stat().st_size <= 1_000 for name in names)


def test_a_file_is_gone_on_with(tmp_path: Path) -> None:
    for event in ("first", "second"):
        out = output(tmp_path, io.StringIO())
        out.put(HUB, record(event))
        out.close()
    assert [line["event"] for line in lines(tmp_path / "hub.log")] == ["first", "second"]


def test_a_file_that_somebody_else_has_moved_is_begun_anew(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "hub.log")
    file.write(b"1\n")
    (tmp_path / "hub.log").rename(tmp_path / "moved")
    file.write(b"2\n")
    file.close()
    assert ((tmp_path / "moved").read_bytes(), (tmp_path / "hub.log").read_bytes()) == (b"1\n", b"2\n")


def test_more_sources_than_files_are_open_at_once(tmp_path: Path) -> None:
    out = output(tmp_path, io.StringIO())
    sources = [Source(f"a.{number}", "a", number) for number in range(2 * MAX_OPEN)]
    for turn in range(3):
        for source in sources:
            out.put(source, record(str(turn)))
    out.close(patience=10)
    assert all(
        [line["event"] for line in lines(tmp_path / f"{source.name}.log")] == ["0", "1", "2"] for source in sources
    )


def test_a_name_is_a_name_in_the_folder_whatever_it_is(tmp_path: Path) -> None:
    odd = ["../up", ".", "..", "a/b", "a\x00b", "ü\udc80", "usual-1.2"]
    assert file_name("usual-1.2") == "usual-1.2.log"
    assert len({file_name(name) for name in odd}) == len(odd)
    out = output(tmp_path, io.StringIO())
    for name in odd:
        out.put(Source(name, "a", 1), record("x"))
    out.close()
    assert len(list(tmp_path.iterdir())) == len(odd)


def test_a_link_that_was_put_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hub.log").symlink_to(tmp_path / "precious")
    console = io.StringIO()
    out = output(tmp_path / "logs", console)
    out.put(HUB, record("x"))
    out.close()
    assert not (tmp_path / "precious").exists()


def test_what_cannot_be_written_is_said_once_and_that_it_works_again(tmp_path: Path) -> None:
    (tmp_path / "hub.log").mkdir()
    console = io.StringIO()
    out = output(tmp_path, console)
    for number in range(20):
        out.put(HUB, record(str(number)))
        out.put(RESEARCHER, record(str(number)))
    until(lambda: "cannot be written: is a directory" in console.getvalue())
    until(lambda: (tmp_path / "researcher.1.log").exists() and len(lines(tmp_path / "researcher.1.log")) == 20)
    (tmp_path / "hub.log").rmdir()

    def healed() -> bool:
        out.put(HUB, record("healed"))
        return "are written again; some lines are missing in them  count=20" in console.getvalue()

    until(healed)
    out.close()
    assert console.getvalue().count("cannot be written") == 1
    assert {line["event"] for line in lines(tmp_path / "hub.log")} == {"healed"}


def test_without_a_folder_nothing_is_begun(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoLogFolder, match=f"no log can be written to {tmp_path}/file: file exists"):
        LogFiles(tmp_path / "file")


class Stuck(LogFiles):
    """On a disk that takes its time until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stuck, self.goes_on = threading.Event(), threading.Event()

    def _write(self, source: Source, record: Record) -> None:
        self.stuck.set()
        assert self.goes_on.wait(10)
        super()._write(source, record)


def test_a_slow_disk_holds_up_nobody(tmp_path: Path) -> None:
    console, files = io.StringIO(), Stuck(tmp_path)
    out = Output(Console(["run"], colours=False), "info", log=console, answers=io.StringIO(), files=files)
    out.put(HUB, record("x"))
    assert files.stuck.wait(5)
    out.say("info", "the console goes on")
    until(lambda: "the console goes on" in console.getvalue())
    out.close(patience=0.01)
    files.goes_on.set()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = namespace()
    if not command:
        pytest.skip("this machine lets nobody here mount a small file system (unshare --mount)")
    program = [*command, sys.executable, "-m", "tests.runtime.filling_logs", str(tmp_path_factory.mktemp("small"))]
    ended = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def test_a_full_disk_is_said_once(full: dict[str, Any]) -> None:
    assert full["complaints"] == 1
    assert full["sentence"].endswith("cannot be written: no space left on device")


def test_a_full_disk_leaves_no_half_lines_and_heals(full: dict[str, Any]) -> None:
    assert full["whole"]
    assert full["last"] == "healed"
    assert full["lost"] > 100
