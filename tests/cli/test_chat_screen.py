"""A chat on a real terminal: answers, notes and what is being typed do not get in each other's way."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.cli.talking import Talked, talked
from tests.runtime.operated import until
from tests.runtime.processes import ENVIRONMENT


@pytest.fixture(scope="module")
def run() -> Iterator[Talked]:
    with talked() as run:
        yield run


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, run: Talked, *words: str, **environment: str) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(run.folder)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "orchestrator", *words],
                {**ENVIRONMENT, "TERM": "xterm", **environment},
            )
        self._shown = ""

    def until(self, text: str, seconds: float = 20.0) -> str:
        """Return what is shown up to a text, which has to come."""
        end = time.monotonic() + seconds
        while text not in self._shown:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} was not shown: {self._shown!r}"
            if select.select([self._end], (), (), left)[0]:
                self._shown += os.read(self._end, 65_536).decode()
        before, _, self._shown = self._shown.partition(text)
        return before + text

    def types(self, text: str) -> None:
        os.write(self._end, text.encode())

    def interrupts(self) -> None:
        """Type ctrl-c once a line is waited for: one that comes a moment before is heeded with the next key alone."""
        until(lambda: Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
        self.types("\x03")

    def ended(self, seconds: float = 20.0) -> tuple[str, int]:
        """Return what was shown last, and the exit code."""
        end = time.monotonic() + seconds
        try:
            while select.select([self._end], (), (), max(end - time.monotonic(), 0))[0]:
                self._shown += os.read(self._end, 65_536).decode()
            os.kill(self.pid, signal.SIGKILL)  # it goes on
        except OSError:  # which is how the end of a terminal is told
            pass
        os.close(self._end)
        return self._shown, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_notes_go_above_the_line_that_is_being_typed(run: Talked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.folder)
    chat = Terminal(run, "chat", "teller", NO_COLOR="1")
    chat.until("teller> ")
    chat.types("half a qu")
    chat.until("half a qu")
    assert main(["restart", "adder.1"]) == ExitCode.DONE
    shown = chat.until("\r\x1b[Jadder.1 joined hall (sums)\r\nteller> half a qu")
    assert "\r\x1b[Jadder.1 left hall: it said goodbye\r\nteller> half a qu" in shown
    chat.types("estion\n")
    chat.until("You said: half a question \r\nteller> ")
    chat.types("\x1b[A")  # the history has it
    chat.until("half a question")
    chat.types("\n")
    chat.until("You said: half a question \r\nteller> ")
    chat.types("\x04")
    shown, code = chat.ended()
    assert code == ExitCode.DONE
    assert "\x1b[2m" not in shown


@pytest.mark.parametrize("stop", ["/cancel\n", "\x03"], ids=["/cancel", "ctrl-c"])
def test_an_answer_is_cancelled_while_it_comes(run: Talked, stop: str) -> None:
    name = f"forever-{len(stop)}"
    chat = Terminal(run, "chat", "teller")
    chat.until("teller> ")
    chat.types(f"{name}\n")
    chat.until("more more ")
    chat.types(stop)
    shown = chat.until("teller> ")
    assert re.search(r"\r\n\x1b\[2mcancelled\x1b\[0m\r\nteller> $", shown)
    until((run.folder / name).exists)
    chat.types("typed ahead\n")
    chat.until("You said: typed ahead")
    chat.until("teller> ")
    chat.types("/quit\n")
    assert chat.ended()[1] == ExitCode.DONE


def test_what_is_typed_while_an_answer_comes_is_asked_after_it(run: Talked) -> None:
    chat = Terminal(run, "chat", "teller")
    chat.until("teller> ")
    chat.types("forever-ahead\n")
    chat.until("more more ")
    chat.types("next one\n/cancel\n")
    chat.until("cancelled")
    chat.until("You said: next one ")
    chat.until("teller> ")
    chat.interrupts()
    chat.until("ctrl-d leaves")
    chat.until("teller> ")
    chat.types("\x04")
    assert chat.ended()[1] == ExitCode.DONE


def test_control_characters_of_an_answer_reach_no_terminal(run: Talked) -> None:
    asking = Terminal(run, "ask", "teller", "red")
    shown, code = asking.ended()
    assert code == ExitCode.DONE
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown
    as_json = Terminal(run, "ask", "teller", "red", "--json")
    assert "\x1b" not in as_json.ended()[0]
