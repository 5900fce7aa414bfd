from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING

import pytest

from orchestrator.runtime.backlog import MAX_WAITING
from orchestrator.runtime.console import Console, render_json
from orchestrator.runtime.output import Output, rendering
from orchestrator.runtime.recent import Recent
from orchestrator.runtime.records import RUN, Record, Source

if TYPE_CHECKING:
    from orchestrator.runtime.console import Rendering

LOUD = Source("loud", "loud")
QUIET = Source("quiet", "quiet")


def words(source: Source, record: Record) -> str:
    count = record.fields.get("count")
    return f"{source.name}: {record.event}" + (f" {count}" if count else "")


class Screen(io.StringIO):
    """A terminal on which log and answers share the lines; `shows` waits for a text."""

    def __init__(self) -> None:
        super().__init__()
        self._written = threading.Condition()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._written:
            count = super().write(text)
            self._written.notify_all()
        return count

    def shows(self, text: str) -> bool:
        with self._written:
            return self._written.wait_for(lambda: text in self.getvalue(), timeout=5)


class Blocked(io.StringIO):
    """A reader that does not read until it is told to; `stuck` says that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck, self.reads = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.stuck.set()
        assert self.reads.wait(10)
        return super().write(text)


class Left(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def output(
    log: io.StringIO, answers: io.StringIO | None = None, render: Rendering = words, level: str = "info"
) -> Output:
    return Output(render, level, log=log, answers=answers or io.StringIO())


def record(event: str) -> Record:
    return Record(0.0, "info", event)


def test_records_are_written_in_their_order() -> None:
    log = io.StringIO()
    out = output(log)
    out.put(LOUD, record("a"))
    out.say("info", "b")
    out.tell(QUIET, "info", "c")
    out.close()
    assert log.getvalue() == "loud: a\nrun: b\nquiet: c\n"


def test_below_its_level_the_run_says_nothing() -> None:
    log = io.StringIO()
    out = output(log, level="warning")
    out.say("info", "chatter")
    out.say("error", "trouble")
    out.close()
    assert log.getvalue() == "run: trouble\n"


def test_who_writes_too_much_loses_lines_of_its_own_and_that_is_said() -> None:
    log = Blocked()
    out = output(log)
    out.put(RUN, record("first"))
    assert log.stuck.wait(5)
    for number in range(MAX_WAITING + 5):
        out.put(LOUD, record(str(number)))
    out.put(QUIET, record("still heard"))
    log.reads.set()
    out.close(patience=10)
    lines = log.getvalue().splitlines()
    assert lines.count("quiet: still heard") == 1
    assert lines.count("loud: log lines were dropped 5") == 1
    assert len(lines) == 1 + MAX_WAITING + 1 + 1


def test_long_texts_count_as_much_as_many() -> None:
    log = Blocked()
    out = output(log)
    out.put(RUN, record("first"))
    assert log.stuck.wait(5)
    for _ in range(100):
        out.put(LOUD, record("x" * 100_000))
    log.reads.set()
    out.close(patience=10)
    assert len(log.getvalue()) < 5_000_000
    assert "log lines were dropped 59" in log.getvalue()


def test_a_reader_that_has_stopped_reading_does_not_hold_up_the_end() -> None:
    log = Blocked()
    out = output(log)
    out.say("info", "first")
    assert log.stuck.wait(5)
    out.close(patience=0.01)
    log.reads.set()


def test_a_log_that_nobody_reads_any_more_is_no_error() -> None:
    out = output(Left())
    out.say("info", "a")
    out.say("info", "b")
    out.close()


def test_what_is_for_a_terminal_alone_is_kept_nowhere() -> None:
    screen, recent = Screen(), Recent()
    output = Output(words, "info", log=screen, answers=io.StringIO(), recent=recent)
    assert output.whisper("between us")
    output.say("info", "to all")
    output.close()
    assert screen.getvalue() == "run: between us\nrun: to all\n"
    assert [record.event for _, record in recent.tail((), 10)] == ["to all"]


def test_where_there_is_no_terminal_nothing_is_whispered() -> None:
    log = io.StringIO()
    output = Output(words, "info", log=log, answers=io.StringIO())
    assert not output.whisper("between us")
    output.close()
    assert log.getvalue() == ""


async def test_an_answer_is_written_as_it_comes() -> None:
    log, answers = io.StringIO(), io.StringIO()
    out = output(log, answers)
    for part in ("all ", "is ", "well\n"):
        await asyncio.wrap_future(out.answer(part))
    assert answers.getvalue() == "all is well\n"
    out.close()
    assert log.getvalue() == ""


async def test_an_answer_whose_reader_left_is_an_error() -> None:
    out = output(io.StringIO(), Left())
    with pytest.raises(BrokenPipeError):
        await asyncio.wrap_future(out.answer("x"))
    assert out.unread
    out.close()


async def test_on_a_shared_terminal_log_lines_wait_for_the_end_of_the_answers_line() -> None:
    screen = Screen()
    out = output(screen, screen)
    await asyncio.wrap_future(out.answer("all "))
    out.say("info", "noise")
    await asyncio.wrap_future(out.answer("is well\nand "))
    await asyncio.wrap_future(out.answer("good\n"))
    assert screen.shows("noise")
    out.close()
    assert screen.getvalue() == "all is well\nand good\nrun: noise\n"


async def test_on_a_shared_terminal_an_answer_that_stalls_is_broken_after_a_while() -> None:
    screen = Screen()
    out = output(screen, screen)
    await asyncio.wrap_future(out.answer("thinking"))
    out.say("info", "noise")
    assert screen.shows("thinking\nrun: noise\n")
    out.close()


@pytest.mark.parametrize(
    ("chosen", "terminal", "environ", "expected"),
    [
        (None, True, {}, "colours"),
        (None, False, {}, "json"),
        ("json", True, {}, "json"),
        ("console", False, {}, "plain"),
        ("console", False, {"FORCE_COLOR": "1"}, "colours"),
        (None, True, {"NO_COLOR": "1"}, "plain"),
        (None, True, {"NO_COLOR": ""}, "colours"),
        (None, True, {"TERM": "dumb"}, "plain"),
        ("console", False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "plain"),
    ],
)
def test_the_log_suits_its_reader(chosen: str | None, terminal: bool, environ: dict[str, str], expected: str) -> None:
    file = Screen() if terminal else io.StringIO()
    render = rendering(chosen, file, environ, ["run"])  # type: ignore[arg-type]
    if expected == "json":
        assert render is render_json
    else:
        assert isinstance(render, Console)
        assert ("\x1b[" in render(RUN, record("x"))) == (expected == "colours")
