"""The line that says what is waited for: on terminals alone, one at a time, and gone in the end."""

from __future__ import annotations

import io
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.progress import INTERVAL, PATIENCE, StatusLine, cut, wanted
from orchestrator.cli.tasks_text import columns
from orchestrator.errors import ExitCode
from tests.cli.terminals import control_codes, on_terminal, plain_environment
from tests.runtime.operated import Beside, beside
from tests.runtime.processes import ROOT

ERASE: Final = "\r\x1b[K"


class Screen(io.StringIO):
    """What is written to a terminal, and how many lines of it stay."""

    def isatty(self) -> bool:
        return True

    def stays(self) -> str:
        """Return what is to be seen once everything is drawn."""
        lines = [""]
        for part in re.split(r"(\r\x1b\[K|\n)", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part == ERASE:
                lines[-1] = ""
            else:
                lines[-1] += part
        return "\n".join(lines)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def line(screen: Screen, clock: Clock) -> StatusLine:
    return StatusLine(screen, drawn=True, columns=lambda: 40, clock=clock)


def test_what_is_over_soon_is_not_told(line: StatusLine, screen: Screen, clock: Clock) -> None:
    line.show("starting 1/9")
    clock.now = PATIENCE - 0.01
    line.show("starting 9/9")
    line.close()
    assert screen.getvalue() == ""


def test_it_is_drawn_ten_times_a_second_at_most(line: StatusLine, screen: Screen, clock: Clock) -> None:
    for step in range(1_000):
        clock.now = PATIENCE + step / 1_000
        line.show(f"starting {step}/1000")
    drawn = screen.getvalue().count(ERASE)
    assert 8 <= drawn <= 1 / INTERVAL + 1


def test_a_line_of_the_log_stands_above_it_whole(line: StatusLine, screen: Screen, clock: Clock) -> None:
    clock.now = 1.0
    line.show("starting 1/9")
    line.beside().write("one\n")
    with line.above():
        screen.write("two\n")
    assert screen.stays() == "one\ntwo\nstarting 1/9 … 1 s"
    line.close()
    line.beside().write("three\n")
    line.show("starting 2/9")
    assert screen.stays() == "one\ntwo\nthree\n"


def test_the_last_state_is_drawn_after_a_line_of_the_log(line: StatusLine, screen: Screen, clock: Clock) -> None:
    clock.now = 0.9
    line.show("starting 1/9")
    line.show("starting 2/9")
    assert screen.stays().startswith("starting 1/9")
    line.beside().write("one\n")
    assert screen.stays() == "one\nstarting 2/9"


@given(st.text(max_size=60), st.integers(0, 30))
def test_it_fits_into_one_line(text: str, width: int) -> None:
    shown = cut(text, width)
    assert columns(shown) <= max(width, 0)
    assert not control_codes(shown)


def test_a_terminal_that_has_gone_is_no_trouble(clock: Clock) -> None:
    screen = Screen()
    line = StatusLine(screen, drawn=True, columns=lambda: 40, clock=clock)
    screen.close()
    clock.now = 1.0
    line.show("starting")
    line.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_terminals_that_erase_are_drawn_on(environ: dict[str, str], expected: bool) -> None:
    assert wanted(Screen(), environ) is expected
    assert wanted(io.StringIO(), environ) is False


# -- on real terminals

SLOW: Final = """
import asyncio
from orchestrator import Context, Task, agent, task

class Rest(Task[str]):
    pass

@agent
class Slow:
    async def setup(self) -> None:
        await asyncio.sleep(1.2)

    @task
    async def rest(self, job: Rest, ctx: Context) -> str:
        return "rested"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        (Path(name) / "slow.py").write_text(SLOW)
        (Path(name) / "farm.yaml").write_text('version: 1\nagents: {slow: {handler: "slow:Slow", replicas: 3}}\n')
        yield Path(name)


def seen(shown: str) -> str:
    """Return what a terminal shows at the end of it all."""
    screen = Screen()
    screen.write(shown.replace("\r\n", "\n"))
    return screen.stays()


def test_a_run_says_how_far_it_is_until_it_is_ready(folder: Path) -> None:
    with on_terminal(["run", "farm.yaml"], cwd=folder, environ=plain_environment(PYTHONPATH=str(ROOT))) as terminal:
        terminal.until("replicas ready")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.to_the_end()
        assert terminal.process.returncode == ExitCode.DONE
    assert re.search(r"starting [0-3]/3", shown)
    stays = re.sub(r"\x1b\[[\d;]*m", "", seen(shown))
    assert "starting " not in stays
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} ", each) for each in stays.splitlines() if each)


@pytest.mark.parametrize("words", [["--log", "json"], pytest.param([], marks=pytest.mark.bars)])
def test_nothing_is_drawn_where_it_would_be_in_the_way(words: list[str], folder: Path) -> None:
    environ = plain_environment(PYTHONPATH=str(ROOT), **({} if words else {"TERM": "dumb"}))
    with on_terminal(["run", "farm.yaml", *words], cwd=folder, environ=environ) as terminal:
        terminal.until("replicas ready")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.to_the_end()
    assert "starting" not in shown
    assert not control_codes(shown.replace("\r\n", "\n"))


def test_a_restart_that_takes_long_says_so(folder: Path) -> None:
    with beside(folder / "farm.yaml", {"editor": 1}) as run:
        run.run.slow.clear()
        with on_terminal(["restart", "editor"], cwd=folder) as terminal:
            terminal.until("farm.yaml: restart … 1 s")
            finish(run)
            shown = terminal.to_the_end()
    assert seen(shown) == "editor: restarting\n1 restarted\n"


def finish(run: Beside) -> None:
    run.loop.call_soon_threadsafe(run.run.slow.set)
