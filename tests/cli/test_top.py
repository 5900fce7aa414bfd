"""`orchestrator top`: what is made of two looks at a run, and how it is shown."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.main import main
from orchestrator.cli.sizes import aligned, bytes_text
from orchestrator.cli.tasks_text import columns
from orchestrator.cli.top import _SORTS, table
from orchestrator.cli.top_rates import RUN, SORTS, quantile, rows_of, total_of
from orchestrator.errors import ExitCode
from orchestrator.runtime.control import BUCKETS
from orchestrator.runtime.operator_wire import ProcessUse, ReplicaView, RunView, TopView, WorkCounts
from tests.cli.terminals import plain_environment
from tests.runtime.operated import BEGAN, Beside, beside

SECONDS = 30
"""A safety net alone."""
Capture = pytest.CaptureFixture[str]


def looked(at: float, work: dict[str, WorkCounts], processes: dict[int, ProcessUse], pids: dict[str, int]) -> TopView:
    replicas = tuple(
        ReplicaView(peer.partition(".")[0], peer, "here", "ready", pid, inflight=1, capacity=4)
        for peer, pid in pids.items()
    )
    return TopView(RunView("farm", "farm.yaml", 1, "", BEGAN, True, replicas), at, (0.1, 1.0), work, processes)


PIDS = {"writer.1": 2, "writer.2": 3, "editor": 4}
FIRST = looked(
    100.0,
    {"writer.1": WorkCounts(10, steps=(10, 0, 0)), "editor": WorkCounts(1, 1, chunks=50)},
    {1: ProcessUse(100, 1.0), 2: ProcessUse(200, 5.0), 4: ProcessUse(400, 1.0)},
    PIDS,
)
SECOND = looked(
    104.0,
    {
        "writer.1": WorkCounts(30, steps=(10, 20, 0)),
        "writer.2": WorkCounts(20, 4, steps=(20, 4, 0)),
        "editor": WorkCounts(1, 1, chunks=250),
    },
    {1: ProcessUse(100, 1.4), 2: ProcessUse(200, 7.0), 3: ProcessUse(300, 2.0), 4: ProcessUse(400, 1.0)},
    PIDS,
)


def test_rates_are_of_the_time_between_two_looks() -> None:
    run, writer, editor = rows_of(FIRST, SECOND)
    assert (run.name, run.memory, run.replicas) == (RUN, 100, 0)
    assert run.cpu == pytest.approx(0.1)
    assert (writer.name, writer.replicas, writer.ready, writer.inflight, writer.capacity) == ("writer", 2, 2, 2, 8)
    assert (writer.done, writer.failed, writer.chunks) == (10.0, 1.0, 0.0)
    assert writer.cpu == pytest.approx(1.0), "also of a process that began meanwhile"
    assert writer.memory == 500
    assert (editor.done, editor.chunks, editor.p50) == (0.0, 50.0, None)
    total = total_of(FIRST, SECOND)
    assert (total.done, total.failed, total.chunks, total.memory) == (10.0, 1.0, 50.0, 1000)


def test_replicas_can_be_told_apart() -> None:
    assert [row.name for row in rows_of(FIRST, SECOND, by_replica=True)] == [RUN, "writer.1", "writer.2", "editor"]


def test_of_replicas_that_share_the_process_of_their_run_it_alone_has_a_share() -> None:
    pids = dict.fromkeys(PIDS, 1)
    before, after = (looked(at, {}, {1: ProcessUse(100, at)}, pids) for at in (1.0, 2.0))
    assert [row.cpu for row in rows_of(before, after)] == [1.0, None, None]
    assert total_of(before, after).cpu == 1.0


def test_what_is_no_part_of_the_run_any_more_counts_in_the_whole() -> None:
    after = looked(104.0, {**SECOND.work, "gone.1": WorkCounts(40)}, SECOND.processes, PIDS)
    assert total_of(FIRST, after).done == 20.0


@given(st.lists(st.floats(0.0, 200.0), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_quantile_lies_in_the_step_of_the_value_that_it_stands_for(values: list[float], share: float) -> None:
    steps = [0] * (len(BUCKETS) + 1)
    for value in values:
        steps[bisect_left(BUCKETS, value)] += 1
    found = quantile(steps, BUCKETS, share)
    wanted = sorted(values)[max(-int(-share * len(values) // 1), 1) - 1]
    at = bisect_left(BUCKETS, wanted)
    assert found is not None
    assert (BUCKETS[at - 1] if at else 0.0) <= found <= BUCKETS[min(at, len(BUCKETS) - 1)]


def test_there_is_no_quantile_of_nothing_and_no_more_than_the_last_bound() -> None:
    assert quantile((0, 0, 0), (0.1, 1.0), 0.5) is None
    assert quantile((0, 0, 5), (0.1, 1.0), 0.5) == 1.0


# -- how it looks


def test_the_most_comes_first() -> None:
    def first(sort: str) -> str:
        return table(FIRST, SECOND, sort)[2].split()[0]

    assert [first(sort) for sort in ("name", "done", "chunks", "memory", "cpu")] == [
        RUN,
        "writer",
        "editor",
        "writer",
        "writer",
    ]
    assert {*SORTS, "name"} == set(_SORTS)


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 20, 1])
@pytest.mark.parametrize("sort", _SORTS)
def test_a_table_is_no_wider_than_the_terminal(width: int, sort: str) -> None:
    lines = table(FIRST, SECOND, sort, width)
    assert all(columns(line) <= width for line in lines)
    assert len(lines) == 5


def test_a_name_cannot_steer_the_terminal() -> None:
    evil = looked(2.0, {}, {}, {"\x1b[2Jx": 2})
    assert "\x1b" not in "".join(table(evil, evil, "name"))


TEXT = st.text(st.characters(categories=["L", "N"]), max_size=20)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5), st.integers(1, 60))
def test_columns_are_left_out_before_lines_are_cut(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = aligned([("A", "B", "C"), *rows], ["B"], width, ["B"])
    assert all(columns(line) <= width for line in lines)
    assert len(lines) == len(rows) + 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "-"), (900, "900B"), (2_048, "2K"), (1_572_864, "1.5M"), (47_185_920, "45M"), (1_288_490_189, "1.2G")],
)
def test_bytes_are_told_in_few_characters(count: int, text: str) -> None:
    assert bytes_text(count) == text


# -- the command, on a run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        monkeypatch.chdir(folder)
        Path("farm.yaml").touch()
        with beside(Path("farm.yaml"), {"editor": 1, "writer": 2}) as one:
            yield one


@pytest.mark.usefixtures("run")
def test_elsewhere_than_on_a_terminal_there_is_one_table(capsys: Capture) -> None:
    assert main(["top", "farm.yaml", "--interval", "0.1"]) == ExitCode.DONE
    assert capsys.readouterr().out == (
        "farm: up 2s, 3 of 4 ready, 4/12 tasks, 30 done/s, 0 failed/s, 0 chunks/s, CPU 75%, memory 120M\n"
        "NAME    READY  TASKS  DONE/S  FAILED/S  CHUNKS/S    P50    P95  CPU  MEMORY  RESTARTS\n"
        "(run)       -      -       -         -         -      -      -  25%     40M         0\n"
        "(hub)       -      -       -         -         -      -      -  25%     40M         0\n"
        "editor    1/1    1/4      10         0         0  550ms  955ms  25%     40M         0\n"
        "writer    2/2    3/8      20         0         0  550ms  955ms  25%     40M         0\n"
        "guest     0/1      -       -         -         -      -      -    -       -         0\n"
    )


@pytest.mark.usefixtures("run")
def test_programs_get_a_line_for_each_look(capsys: Capture) -> None:
    words = ["top", "--json", "--once", "--replicas", "--sort", "tasks", "--interval", "0.1"]
    assert main(words) == ExitCode.DONE
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert set(told) == {"time", "seconds", "name", "pid", "total", "rows"}
    assert [row["name"] for row in told["rows"]][:2] == ["writer.2", "editor.1"]
    assert told["total"]["done"] == 30.0


@contextmanager
def started(
    *words: str, out: int = subprocess.PIPE, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "orchestrator", *words]
    process = subprocess.Popen(
        command, stdin=stdin, stdout=out, stderr=subprocess.PIPE, text=True, env=plain_environment(TERM="xterm")
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("run")
def test_lines_for_programs_go_on_until_ctrl_c() -> None:
    with started("top", "--json", "--interval", "0.1") as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert (first["seconds"], second["seconds"]) == (1.0, 2.0)
    assert (said, process.returncode) == ("", ExitCode.DONE)


def read_until(terminal: int, text: str) -> str:
    found = b""
    while text.encode() not in found:
        found += os.read(terminal, 65_536)
    return found.decode()


@contextmanager
def terminal_of(lines: int, width: int) -> Iterator[tuple[int, int]]:
    """A terminal from outside and from inside; whoever used it leaves it as it was."""
    outside, inside = pty.openpty()
    try:
        termios.tcsetwinsize(inside, (lines, width))
        before = termios.tcgetattr(inside)
        yield outside, inside
        assert termios.tcgetattr(inside) == before
    finally:
        os.close(outside)
        os.close(inside)


@pytest.mark.usefixtures("run")
def test_keys_sort_and_quit() -> None:
    with terminal_of(24, 100) as (outside, inside):
        with started("top", "--interval", "3600", out=inside, stdin=inside) as process:
            assert read_until(outside, "guest").startswith("\x1b[?1049h\x1b[?25l\x1b[H")
            os.write(outside, b"s")
            assert "TASKS*" in read_until(outside, "TASKS*")
            os.write(outside, b"q")
            assert process.wait(SECONDS) == ExitCode.DONE
            assert "\x1b[?25h\x1b[?1049l" in read_until(outside, "\x1b[?1049l")


# -- ps, as it changes


def test_ps_follows_a_run_on_a_terminal_of_any_size(run: Beside) -> None:
    with terminal_of(24, 60) as (outside, inside):
        with started("ps", "--watch", out=inside) as process:
            shown = read_until(outside, "external")
            assert "PEER" in shown
            assert "MEMORY" not in shown, "there is no room for it"
            assert "\x1b[32mready\x1b[0m" in shown
            run.loop.call_soon_threadsafe(run.run.replicas.update, {"editor": 2})
            assert "editor.2" in read_until(outside, "editor.2")
            read_until(outside, "\x1b[J")
            termios.tcsetwinsize(inside, (24, 120))
            process.send_signal(signal.SIGWINCH)
            assert "MEMORY" in read_until(outside, "MEMORY")
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == ExitCode.TERMINATED
            assert "\x1b[?25h\x1b[?1049l" in read_until(outside, "\x1b[?1049l")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_ps_tells_whoever_reads_it_what_has_changed(words: list[str], run: Beside) -> None:
    def block(stream: Iterator[str]) -> str:
        lines = []
        for line in stream:
            lines.append(line)
            if words or line.startswith("guest"):
                break
        return "".join(lines)

    with started("ps", "--watch", *words) as process:
        assert process.stdout is not None
        assert "writer.3" not in block(process.stdout)
        run.loop.call_soon_threadsafe(run.run.replicas.update, {"writer": 3})
        changed = block(process.stdout)
        assert "writer.3" in changed
        assert "\x1b" not in changed
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == ExitCode.DONE
