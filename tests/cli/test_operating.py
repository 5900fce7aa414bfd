"""`ps`, `logs`, `scale`, `restart`, `reload` and `stop` on runs that are alive, over their real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.runtime.operator_wire import RunView
from orchestrator.runtime.run_seat import registered
from tests.runtime.operated import BEGAN, Beside, beside, until
from tests.runtime.processes import ENVIRONMENT

REPLICAS = {"editor": 1, "researcher": 2}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A topology in the current directory, whose path is short."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        monkeypatch.chdir(folder)
        Path("farm.yaml").touch()
        yield Path("farm.yaml")


@pytest.fixture
def run(file: Path) -> Iterator[Beside]:
    with beside(file, REPLICAS) as one:
        yield one


@pytest.mark.usefixtures("run")
def test_ps_shows_every_replica_in_a_table(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: BEGAN + 200)
    assert main(["ps", "farm.yaml"]) == ExitCode.DONE
    assert capsys.readouterr().out == (
        "farm: process 4711, ready, up 3m, hub ws://127.0.0.1:7000\n"
        "AGENT       PEER          STATE     PID  READY  RESTARTS  TASKS  MEMORY  DETAIL\n"
        "-           (hub)         ready    4712     3m         0      -     40M\n"
        "editor      editor.1      ready    4713     3m         0    1/4     40M\n"
        "researcher  researcher.1  ready    4713     3m         0    1/4     40M\n"
        "researcher  researcher.2  ready    4713     3m         0    2/4     40M  last: killed by SIGKILL\n"
        "guest       guest         awaited     -      -         0      -       -  external; not seen yet\n"
    )


def test_ps_prints_json_for_programs(run: Beside, capsys: Capture) -> None:
    assert main(["ps", "--json"]) == ExitCode.DONE
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    view = run.run.view()
    assert set(told) == set(RunView.__struct_fields__)
    assert [each["peer"] for each in told["replicas"]] == [each.peer for each in view.replicas]
    assert set(told["replicas"][0]) == set(view.replicas[0].__struct_fields__)


@pytest.mark.parametrize(
    "words",
    [
        ["scale", "farm.yaml", "researcher=5", "editor=0"],
        ["scale", "researcher=5", "./farm.yaml", "editor=0"],
        ["scale", "researcher=5", "editor=0"],
    ],
)
def test_scale_takes_the_file_in_any_position_or_none(words: list[str], run: Beside, capsys: Capture) -> None:
    assert main(words) == ExitCode.DONE
    assert run.run.replicas == {"editor": 0, "researcher": 5}
    assert capsys.readouterr().out == "researcher: 5, editor: 0\n"


def test_restart_tells_what_it_does(run: Beside, capsys: Capture) -> None:
    assert main(["restart", "farm.yaml", "editor", "researcher.2"]) == ExitCode.DONE
    assert capsys.readouterr() == ("2 restarted\n", "editor: restarting\nresearcher.2: restarting\n")
    assert run.run.restarts == {"editor": 1, "researcher": 1}


@pytest.mark.usefixtures("run")
def test_reload_says_what_the_run_says(capsys: Capture) -> None:
    assert main(["reload"]) == ExitCode.DONE
    assert main(["reload", "farm.yaml"]) == ExitCode.FAILED
    assert capsys.readouterr() == (
        "1 replica was added\n",
        "orchestrator: farm.yaml:3:1: it cannot be read; nothing was changed\n",
    )


def test_stop_waits_until_the_run_has_ended(run: Beside, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")  # the run lives in this process, which does not end
    assert main(["stop", "farm.yaml", "--grace", "2.5"]) == ExitCode.DONE
    assert run.run.grace == 2.5
    assert capsys.readouterr().out == f"farm.yaml: process {os.getpid()} has ended\n"
    assert main(["ps", "farm.yaml"]) == ExitCode.FAILED


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["scale", "reseacher=2"], "no agent or replica 'reseacher' in this run (did you mean 'researcher'?)", 2),
        (["logs", "editr"], "no agent or replica 'editr' in this run (did you mean 'editor'?)", 2),
        (["ps", "other.yaml"], "there is no file 'other.yaml', and no run of it", 1),
        (["stop", "./other.yaml"], "there is no file 'other.yaml', and no run of it", 1),
    ],
)
def test_what_there_is_not_is_told(words: list[str], says: str, code: int, capsys: Capture) -> None:
    assert main(words) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ps", "editor"], "unrecognized arguments: editor"),
        (["scale", "farm.yaml"], "name an agent, and how many replicas"),
        (["scale", "editor"], "'editor' is no AGENT=COUNT"),
        (["scale", "editor=many"], "'editor=many' is no AGENT=COUNT"),
        (["scale", "editor=1", "editor=2"], "'editor' is named twice"),
        (["restart", "farm.yaml"], "name an agent or a replica"),
        (["stop", "one.yaml", "two.yaml"], "name one topology file, not one.yaml and two.yaml"),
        (["stop", "--grace", "long"], "'long' is not a number of seconds"),
        (["logs", "-n", "x"], "'x' is no whole number"),
        (["logs", "--folow"], "(did you mean '--follow'?)"),
    ],
)
def test_words_that_are_nearly_right_are_told(words: list[str], says: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == ExitCode.USAGE
    assert says in capsys.readouterr().err


def test_where_nothing_runs_that_is_said(file: Path, capsys: Capture) -> None:
    assert main(["ps"]) == ExitCode.FAILED
    assert main(["logs", "farm.yaml"]) == ExitCode.FAILED
    assert capsys.readouterr().err == (
        "orchestrator: no topology of this folder runs; name the file of one that lies elsewhere\n"
        "orchestrator: nothing runs of farm.yaml\n"
    )


@pytest.mark.usefixtures("run")
def test_of_several_topologies_one_is_to_be_named(capsys: Capture) -> None:
    with registered(Path("other.yaml"), ["a"], {}):
        assert main(["ps"]) == ExitCode.USAGE
    assert "2 topologies of this folder run; name one of them: farm.yaml, other.yaml" in capsys.readouterr().err


def test_a_run_that_does_not_answer_is_told(file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.runtime.operator_client.HELLO", 0.05)
    with registered(file, ["a"], {}) as seat:
        assert main(["ps"]) == ExitCode.FAILED
    assert f"the run, process {seat.pid}, does not answer" in capsys.readouterr().err


# -- the log


def said(run: Beside) -> None:
    for number in range(3):
        run.run.says("editor", f"e{number}")
        run.run.says("researcher", f"r{number}")


def test_logs_shows_the_last_lines(run: Beside, capsys: Capture) -> None:
    said(run)
    assert main(["logs", "farm.yaml", "-n", "2", "--log", "console"]) == ExitCode.DONE
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("  editor.1      e2")
    assert second.endswith("  researcher.1  r2")


def test_logs_of_some_agents_are_given_on_both_sides_of_options(run: Beside, capsys: Capture) -> None:
    said(run)
    assert main(["logs", "farm.yaml", "editor", "-n", "100", "hub"]) == ExitCode.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["listens", "e0", "e1", "e2"]


def follower(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs", "-F", *words],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["event"])


def interrupted(process: subprocess.Popen[str], _run: Beside) -> None:
    process.send_signal(signal.SIGINT)


def the_run_ends(_process: subprocess.Popen[str], run: Beside) -> None:
    run.end()


@pytest.mark.parametrize(("end", "last"), [(interrupted, ""), (the_run_ends, "has ended\n")])
def test_logs_can_be_followed(end: Callable[[subprocess.Popen[str], Beside], None], last: str, run: Beside) -> None:
    run.run.says("editor", "before")
    process = follower("editor")
    assert line(process) == "before"
    run.loop.call_soon_threadsafe(run.run.says, "editor", "now")
    assert line(process) == "now"
    end(process, run)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (ExitCode.DONE, "")
    assert err.endswith(last)
    assert bool(err) == bool(last)


# -- parts of one topology that run by themselves


@pytest.fixture
def parts(file: Path) -> Iterator[tuple[Beside, Beside]]:
    with beside(file, {"editor": 1}, pid=100) as one, beside(file, {"researcher": 2}, pid=200) as other:
        yield one, other


@pytest.mark.usefixtures("parts")
def test_ps_shows_all_parts(capsys: Capture) -> None:
    assert main(["ps"]) == ExitCode.DONE
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith("farm: process 100,")
    assert second.startswith("farm: process 200,")


def test_a_change_goes_to_the_part_that_has_the_agent(parts: tuple[Beside, Beside], capsys: Capture) -> None:
    one, other = parts
    assert main(["scale", "researcher=4", "editor=2"]) == ExitCode.DONE
    assert (one.run.replicas, other.run.replicas) == ({"editor": 2}, {"researcher": 4})
    assert main(["restart", "researcher.1"]) == ExitCode.DONE
    assert (one.run.restarts, other.run.restarts) == ({}, {"researcher": 1})
    assert main(["scale", "reseacher=4"]) == ExitCode.USAGE
    assert "(did you mean 'researcher'?)" in capsys.readouterr().err


def test_logs_of_all_parts_are_shown_in_the_order_of_time(parts: tuple[Beside, Beside], capsys: Capture) -> None:
    for part, agent in zip(parts, ("editor", "researcher"), strict=True):
        part.run.says(agent, f"from the {agent}")
    assert main(["logs"]) == ExitCode.DONE
    events = [json.loads(each)["event"] for each in capsys.readouterr().out.splitlines()]
    assert sorted(events) == ["all ready", "all ready", "from the editor", "from the researcher", "listens", "listens"]
    assert main(["logs", "researcher", "run"]) == ExitCode.DONE
    events = [json.loads(each)["event"] for each in capsys.readouterr().out.splitlines()]
    assert sorted(events) == ["all ready", "all ready", "from the researcher"]


def test_all_parts_are_followed_at_once(parts: tuple[Beside, Beside]) -> None:
    process = follower("-n", "0")
    one, other = parts
    until(lambda: bool(one.run.recent._followers and other.run.recent._followers))
    for part, agent in zip(parts, ("editor", "researcher"), strict=True):
        part.loop.call_soon_threadsafe(part.run.says, agent, f"from the {agent}")
        assert line(process) == f"from the {agent}"
    for part in parts:
        part.end()
    process.communicate(timeout=20)
    assert process.returncode == ExitCode.DONE


def test_stop_ends_all_parts(parts: tuple[Beside, Beside], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert main(["stop"]) == ExitCode.DONE
    assert all(part.run.ended.is_set() for part in parts)
    assert capsys.readouterr().out.count("has ended\n") == 2
