"""`run -d`: the command ends when the run is ready, and the run goes on without its terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from tests.runtime.operated import until
from tests.runtime.processes import ENVIRONMENT, runs

PROGRAM = '''
"""A run that does what it is told by its first argument, once it is detached."""
import os, signal, sys, time
from pathlib import Path
from orchestrator.cli.detach import Detached, detached
from orchestrator.errors import OrchestratorError
from orchestrator.runtime.console import render_json
from orchestrator.runtime.log_files import LogFiles
from orchestrator.runtime.output import Output

how, folder = sys.argv[1], Path(sys.argv[2])
(folder / "logs").mkdir(exist_ok=True)
number = 0

def interrupted(signal_number, frame):
    global number
    number = signal_number

def run(own: Detached) -> int:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupted)
    (folder / "pid").write_text(f"{os.getpid()} {os.getsid(0)} {os.getcwd()}")
    output = Output(render_json, "info", log=sys.stderr, answers=sys.stdout, files=LogFiles(folder / "logs"))
    output.say("info", "begins")
    if how == "refused":
        output.close()
        raise OrchestratorError("another run is alive")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "ended":
        output.close()
        return 3
    if how != "never":
        for each in range(300):
            output.say("info", f"line {each}")
        output.say("info", "ready in 0.1 s")
        own.ready(output)
        own.ready(output)
    if how == "broken":
        own._leaving.join()
        raise ZeroDivisionError("it broke later")
    while not number:
        time.sleep(0.01)
    output.say("info", "after that", descriptors=[os.readlink(f"/proc/self/fd/{each}") for each in range(3)])
    output.close()
    return 128 + number

code = detached(run, Path("my farm.yaml"), folder / "logs")
print("the command goes on", file=sys.stderr)
sys.exit(code)
'''


def command(how: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how, str(folder)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(text: str) -> list[str]:
    return [json.loads(line)["event"] for line in text.splitlines() if line.startswith("{")]


def test_the_command_ends_when_the_run_is_ready_and_the_run_goes_on(tmp_path: Path) -> None:
    process = command("ready", tmp_path)
    out, err = process.communicate(timeout=20)  # and nothing has its output open any more
    pid, session, folder = (tmp_path / "pid").read_text().split()
    try:
        assert process.returncode == ExitCode.DONE
        assert out == (
            f"my farm.yaml runs: process {pid}; its log goes to {tmp_path}/logs\n"
            "  orchestrator ps 'my farm.yaml'    shows it\n"
            "  orchestrator logs 'my farm.yaml'  shows what it says\n"
            "  orchestrator stop 'my farm.yaml'  ends it\n"
        )
        assert events(err) == ["begins", *(f"line {number}" for number in range(300)), "ready in 0.1 s"]
        assert err.splitlines()[-1] == "the command goes on"
        assert (session, folder) == (pid, str(tmp_path))
        assert int(pid) != process.pid
        assert runs(int(pid))
    finally:
        os.kill(int(pid), signal.SIGTERM)
    until(lambda: not runs(int(pid)))
    last = json.loads((tmp_path / "logs" / "run.log").read_text().splitlines()[-1])
    assert last["event"] == "after that"
    assert last["descriptors"] == ["/dev/null"] * 3


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("ended", 3, "begins"),
        ("refused", ExitCode.FAILED, "orchestrator: another run is alive\n"),
        ("killed", 137, "the command goes on"),
    ],
)
def test_a_run_that_ends_before_it_is_ready_ends_the_command_alike(
    how: str, code: int, says: str, tmp_path: Path
) -> None:
    process = command(how, tmp_path)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    assert says in err
    assert err.count("the command goes on") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_that_waits_ends_the_run(number: int, tmp_path: Path) -> None:
    process = command("never", tmp_path)
    assert process.stderr is not None
    assert "begins" in process.stderr.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert events(err) == ["after that"]
    assert not runs(int((tmp_path / "pid").read_text().split()[0]))


def test_what_breaks_a_run_later_is_kept_in_its_log(tmp_path: Path) -> None:
    process = command("broken", tmp_path)
    process.communicate(timeout=20)
    assert process.returncode == ExitCode.DONE
    log = tmp_path / "logs" / "run.log"
    until(lambda: "it broke later" in log.read_text())
    records = map(json.loads, log.read_text().splitlines())
    last = [record for record in records if record["level"] == "critical"][-1]  # those of others may come behind it
    assert (last["level"], last["event"]) == ("critical", "the run broke: ZeroDivisionError")
