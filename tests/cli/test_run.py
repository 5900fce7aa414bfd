"""`orchestrator run`: what is refused before anything is started, and the ends of whole runs of a tiny topology."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.brokers import needs_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANDLERS = '''
"""Handlers that a test's topology names."""

from collections.abc import AsyncIterator

from orchestrator import Context, StreamTask, Workers, agent, task


class Count(StreamTask[str]):
    prompt: str


@agent
class Counter:
    @task
    async def count(self, ask: Count, ctx: Context) -> AsyncIterator[str]:
        """Count up to the number in words that was asked for."""
        print("counting")
        for number in range(int(ask.prompt)):
            yield f"{number + 1} "
'''

TOPOLOGY = """
version: 1
agents:
  counter: {handler: "tiny_handlers:Counter"}
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    (tmp_path / "tiny_handlers.py").write_text(HANDLERS, encoding="utf-8")
    path = tmp_path / "tiny.yaml"
    path.write_text(TOPOLOGY, encoding="utf-8")
    return path


def command(topology: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator", "run", str(topology), *arguments]


def test_waiting_for_tasks_that_nothing_keeps_is_refused(topology: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(topology), "--until-idle"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "orchestrator: --until-idle: this topology needs no store, so there are no tasks to wait for; they are kept for workers with "
        "'tasks: {delivery: at-least-once}'\n"
    )


def test_an_engine_that_is_away_is_told_before_anything_starts(
    topology: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_client("redis", "redis")
    monkeypatch.setenv("ENGINE", "redis://:hunter2@127.0.0.1:1")
    topology.write_text(TOPOLOGY + "store: '${ENGINE}'\nteams: {crew: {members: [counter]}}\n", encoding="utf-8")
    assert main(["run", str(topology)]) == ExitCode.UNREACHABLE
    said = capsys.readouterr().err
    assert "orchestrator: the store redis://127.0.0.1:1/0 cannot be reached" in said
    assert "ready" not in said and "hunter2" not in said


def test_a_hub_that_clients_do_not_connect_to_is_refused(topology: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology.write_text(TOPOLOGY + "hub: {url: 'ws://10.0.0.5:7700', key: '${KEY}'}\n", encoding="utf-8")
    key = f"sk_id_run:sk_secret_{'r' * 40}"
    assert main(["run", str(topology), "--var", f"KEY={key}"]) == ExitCode.INVALID
    assert "hub.url: without TLS a hub is reached on its own machine alone: write wss://…" in capsys.readouterr().err


def records(log: Iterator[str] | list[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in log)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--grace", "soon"], "'soon' is not a number of seconds between 0 and 86400"),
        (["--timeout", "-1"], "'-1' is not a number of seconds"),
        (["--timeout", "nan"], "'nan' is not a number of seconds"),
        (["--ask", "counter"], "expected 2 arguments"),
        (["--log", "xml"], "invalid choice: 'xml'"),
        (["--log-level", "loud"], "invalid choice: 'loud'"),
    ],
)
def test_a_mistake_in_the_arguments_is_said_in_one_sentence(
    topology: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["run", str(topology), *arguments])
    assert exited.value.code == ExitCode.USAGE
    assert sentence in capsys.readouterr().err


def test_a_question_for_nobody_is_refused_before_anything_starts(
    topology: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(topology), "--ask", "conter", "3"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said == "orchestrator: --ask: there is no agent 'conter' in this topology (did you mean 'counter'?)\n"


def test_a_mistake_in_the_file_ends_with_3_and_its_place(topology: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology.write_text(TOPOLOGY.replace("handler:", "handlr:"), encoding="utf-8")
    assert main(["run", str(topology)]) == ExitCode.INVALID
    said = capsys.readouterr().err
    assert f"{topology}:4:" in said
    assert "did you mean 'handler'" in said
    assert "Traceback" not in said


@pytest.mark.journey
def test_an_answer_goes_to_standard_output_and_the_log_to_standard_error(topology: Path) -> None:
    asked = ["--ask", "counter", "3", "--ask", "counter", "5", "--timeout", "40"]
    ended = subprocess.run(command(topology, *asked), capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "1 2 3 \n1 2 3 4 5 \n", ended.stderr
    assert ended.returncode == ExitCode.DONE
    log = list(records(ended.stderr.splitlines()))
    events = [record["event"] for record in log]
    assert any(event.startswith("1 replica ready in ") for event in events)
    assert "all ended cleanly" in events[-1]
    printed = [record for record in log if record["event"] == "counting"]
    assert [(record["peer"], record["stream"]) for record in printed] == [("counter", "stdout")] * 2


@pytest.mark.journey
def test_a_question_that_fails_ends_the_run_with_its_code_and_a_sentence(topology: Path) -> None:
    asked = ["--ask", "counter", "many", "--ask", "counter", "1", "--timeout", "40", "--log", "console"]
    ended = subprocess.run(command(topology, *asked), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == ExitCode.FAILED
    assert ended.stdout == ""
    [said] = [line for line in ended.stderr.splitlines() if " ✗ run " in line]
    assert "ValueError: invalid literal for int()" in said


@pytest.mark.journey
def test_an_answer_that_is_cut_off_by_a_signal_does_not_pass_for_a_whole_one(topology: Path) -> None:
    asked = ["--ask", "counter", "100000000", "--timeout", "40", "--grace", "2"]
    with subprocess.Popen(command(topology, *asked), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        assert run.stdout.read(2) == b"1 "
        run.send_signal(signal.SIGTERM)
        rest = run.stdout.read()
        assert run.wait(30) == ExitCode.TERMINATED
    assert rest


@pytest.mark.journey
def test_a_reader_that_leaves_ends_the_run(topology: Path) -> None:
    asked = ["--ask", "counter", "100000000", "--timeout", "40", "--grace", "2"]
    with subprocess.Popen(command(topology, *asked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.read(2) == "1 "
        run.stdout.close()
        log = list(records(run.stderr))
        assert run.wait(30) == ExitCode.FAILED
    assert "the answer could not be written: broken pipe" in [record["event"] for record in log]


@pytest.mark.journey
def test_one_signal_ends_a_run_cleanly(topology: Path) -> None:
    with subprocess.Popen(command(topology), stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        log = records(run.stderr)
        assert any("1 replica ready in" in record["event"] for record in log)
        run.send_signal(signal.SIGINT)
        assert any("all ended cleanly" in record["event"] for record in log)
        assert run.wait(30) == ExitCode.DONE
