"""Which lines `orchestrator logs` shows: since when, how bad, and with what in them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.log_filters import MAX_TEXT, Sieve, pattern, searched, since
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.runtime.operator_wire import LogLine, UpToNow
from orchestrator.runtime.records import Record, Source
from tests.runtime.operated import Beside, beside
from tests.runtime.processes import ENVIRONMENT

Capture = pytest.CaptureFixture[str]
ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 6, 10, 14, 30, tzinfo=ZONE)


def at(*fields: int) -> float:
    return datetime(*fields, tzinfo=ZONE).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("5m", at(2026, 6, 10, 14, 25)),
        ("90s", at(2026, 6, 10, 14, 28, 30)),
        ("2d", at(2026, 6, 8, 14, 30)),
        ("14:30", at(2026, 6, 10, 14, 30)),
        ("9:05", at(2026, 6, 10, 9, 5)),
        ("14:29:59", at(2026, 6, 10, 14, 29, 59)),
        ("14:31", at(2026, 6, 9, 14, 31)),
        ("2026-06-10", at(2026, 6, 10)),
        ("2026-06-10T14:00", at(2026, 6, 10, 14)),
        ("2026-06-10 12:00:00Z", at(2026, 6, 10, 14)),
    ],
)
def test_a_moment_is_read(text: str, moment: float) -> None:
    assert since(text, NOW.timestamp(), ZONE) == moment


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("25:00", "is no time such as"),
        ("yesterday", "is no time such as"),
        ("", "is no time such as"),
        ("-5m", "is no time such as"),
        ("2026-06-10T14:31", "is still to come"),
    ],
)
def test_what_is_no_moment_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        since(text, NOW.timestamp(), ZONE)


@given(st.text(alphabet="0123456789:-TZdmsh. +", max_size=24))
def test_any_text_is_a_moment_of_the_past_or_none(text: str) -> None:
    try:
        assert since(text, NOW.timestamp(), ZONE) <= NOW.timestamp()
    except ValueError as error:
        assert str(error).startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(", "'(' is no regular expression: missing ), unterminated subpattern at character 1"),
        ("a**", "'a**' is no regular expression: multiple repeat at character 3"),
        ("x{99999999999999999999}", "is no regular expression: it is too large"),
    ],
)
def test_what_is_no_pattern_is_told(text: str, says: str) -> None:
    with pytest.raises(ArgumentTypeError) as told:
        pattern(text)
    assert str(told.value).endswith(says)


def line(event: str, exception: str = "", **fields: Any) -> LogLine:
    return LogLine("editor.1", 1.0, "info", event, fields=fields, exception=exception)


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("lost", True),
        ("LOST", False),
        ("(?i)LOST", True),
        ("^because=4001$", True),
        (r'^who=\["a", "b"\]$', True),
        ("ValueError: no$", True),
        ("level", False),
    ],
)
def test_a_pattern_is_looked_for_in_event_fields_and_traceback(wanted: str, there: bool) -> None:
    said = line("the hub is lost", "Traceback\nValueError: no", because=4001, who=["a", "b"])
    assert (pattern(wanted).search(searched(said)) is not None) == there


def test_no_more_than_so_much_of_a_line_is_looked_through() -> None:
    assert len(searched(line("a" * 3 * MAX_TEXT))) == MAX_TEXT


def test_a_sieve_keeps_the_last_of_what_was_said_before_and_lets_the_rest_through() -> None:
    sieve = Sieve(re.compile("yes"), 2)
    said = [line(event) for event in ("yes 1", "no", "yes 2", "yes 3")]
    assert [each for one in said for each in sieve.passed(one)] == []
    assert list(sieve.passed(UpToNow())) == [said[2], said[3]]
    assert [each for one in said for each in sieve.passed(one)] == [said[0], said[2], said[3]]
    assert list(sieve.last()) == []


# -- over the socket of a run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    """A run in the current directory, that has said something every hour, ever worse."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        monkeypatch.chdir(folder)
        Path("farm.yaml").touch()
        with beside(Path("farm.yaml"), {"editor": 1}) as one:
            now = time.time()
            for hours, level in ((3, "debug"), (2, "info"), (1, "warning"), (0, "error")):
                record = Record(now - 3600 * hours - 60, level, f"said {level}", {"hours": hours}, f"Trace {hours}")
                one.run.recent.put(Source("editor.1", "editor", 1), record)
            yield one


def shown(capsys: Capture, *words: str) -> list[str]:
    assert main(["logs", "editor", "--json", *words]) == ExitCode.DONE
    return [json.loads(each)["event"].removeprefix("said ") for each in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "levels"),
    [
        (["--level", "warning"], ["warning", "error"]),
        (["--since", "90m"], ["warning", "error"]),
        (["--since", "90m", "-n", "1"], ["error"]),
        (["-n", "2", "--level", "info"], ["warning", "error"]),
        (["--grep", "^hours=[12]$"], ["info", "warning"]),
        (["--grep", "^hours=[12]$", "-n", "1"], ["warning"]),
        (["--grep", "Trace 3", "-n", "1"], ["debug"]),
        (["--grep", "said", "-n", "0"], []),
        (["--grep", "said", "--level", "info", "--since", "150m", "-n", "2"], ["warning", "error"]),
        (["--grep", "nothing of that"], []),
    ],
)
def test_lines_that_pass_are_shown_and_counted(words: list[str], levels: list[str], capsys: Capture) -> None:
    assert shown(capsys, *words) == levels


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--grep", "["], "argument --grep: '[' is no regular expression"),
        (["--since", "soon"], "argument --since: 'soon' is no time such as 5m, 14:30 or 2026-01-31T14:30"),
        (["--level", "loud"], "argument --level: invalid choice: 'loud'"),
    ],
)
def test_what_cannot_be_looked_for_is_told(words: list[str], says: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["logs", *words])
    assert ended.value.code == ExitCode.USAGE
    assert says in capsys.readouterr().err


def test_since_shows_all_lines_of_that_time_where_no_number_is_given(run: Beside, capsys: Capture) -> None:
    for number in range(150):
        run.run.recent.put(Source("editor.1", "editor", 1), Record(time.time(), "info", f"{number}"))
    assert len(shown(capsys)) == 100
    assert len(shown(capsys, "--since", "30s")) == 150


def test_lines_of_several_runs_are_counted_together(run: Beside, capsys: Capture) -> None:
    with beside(Path("farm.yaml"), {"writer": 1}, pid=200) as other:
        now = time.time()
        for number in range(4):
            other.run.recent.put(Source("writer.1", "writer", 1), Record(now - number * 3600, "info", f"said {number}"))
        assert main(["logs", "--json", "--grep", "said", "-n", "3", "--since", "75m"]) == ExitCode.DONE
    events = [json.loads(each)["event"] for each in capsys.readouterr().out.splitlines()]
    assert events == ["said 1", "said error", "said 0"]


def follower(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs", "-f", "--json", *words],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def next_event(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["event"])


def test_what_is_followed_passes_the_same_filters(run: Beside) -> None:
    process = follower("--grep", "said", "--level", "warning", "-n", "1")
    assert next_event(process) == "said error"
    source = Source("editor.1", "editor", 1)
    for level, event in (("info", "said too low"), ("error", "something else"), ("error", "said now")):
        run.loop.call_soon_threadsafe(run.run.recent.put, source, Record(time.time(), level, event))
    assert next_event(process) == "said now"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == ExitCode.DONE


def test_a_pattern_that_takes_for_ever_is_ended_by_an_interrupt(run: Beside) -> None:
    source = Source("editor.1", "editor", 1)
    run.run.recent.put(source, Record(time.time(), "info", "first"))
    process = follower("--grep", "^first$|^(a+)+$", "--since", "30s")
    assert next_event(process) == "first"
    run.loop.call_soon_threadsafe(run.run.recent.put, source, Record(time.time(), "info", "a" * 4_000 + "b"))
    busy = time.process_time()
    while _cpu(process.pid) < 0.5:  # by now it looks for nothing but that
        time.sleep(0.02)
        assert time.process_time() - busy < 10
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (ExitCode.DONE, ExitCode.INTERRUPTED)
    process.communicate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
