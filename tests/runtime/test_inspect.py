"""Handlers are imported in a process of their own, and whatever they do there is a finding about them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.runtime.importing import Began, Faulted, Reported, output_mark
from orchestrator.runtime.inspect import _Hearing, inspect_handlers, inspect_topology
from orchestrator.topology.handlers import HandledTask, HandlerFault, HandlerReport, Relation
from orchestrator.topology.load import load_topology
from tests.runtime.processes import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Write = Callable[..., Path]

GOOD = """
from orchestrator import Task, Workers, agent, task

class Add(Task[int]):
    left: int
    right: int

@agent
class Adder:
    @task(idempotent=True)
    async def add(self, job: Add) -> int:
        return job.left + job.right

@agent
class Boss:
    workers: Workers
"""
LONG = 60.0
"""Seconds that no test here comes near."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(**modules: str) -> Path:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def inspected(
    directory: Path, *handlers: str, limit: float = LONG, added: Mapping[str, str] | None = None
) -> dict[str, HandlerReport | HandlerFault]:
    return inspect_handlers(dict.fromkeys(handlers, added or {}), directory, dict(os.environ), limit=limit)


def fault(directory: Path, handler: str = "app:Agent", limit: float = LONG) -> HandlerFault:
    found = inspected(directory, handler, limit=limit)[handler]
    assert isinstance(found, HandlerFault)
    return found


def test_what_handlers_declare_is_reported(write: Write) -> None:
    assert inspected(write(app=GOOD), "app:Adder", "app:Boss") == {
        "app:Adder": HandlerReport("app:Adder", tasks=(HandledTask("Add", "task", "add", "int", idempotent=True),)),
        "app:Boss": HandlerReport("app:Boss", relations=(Relation("workers", "workers"),)),
    }


def test_nothing_is_started_for_no_handlers(tmp_path: Path) -> None:
    assert inspected(tmp_path) == {}


def test_user_code_is_not_imported_here(write: Write) -> None:
    inspected(write(only_in_the_child=GOOD), "only_in_the_child:Adder")
    assert "only_in_the_child" not in sys.modules


def test_what_a_module_prints_is_no_part_of_the_report(write: Write) -> None:
    noise = "import sys, os\nprint('{\"type\":\"reported\"}' * 50_000)\nos.write(2, b'\\xff' * 200_000)\n"
    assert isinstance(inspected(write(app=noise + GOOD), "app:Adder")["app:Adder"], HandlerReport)


def test_a_module_that_is_not_there_is_told_with_the_nearest(write: Write) -> None:
    found = fault(write(app=GOOD), "ap:Adder")
    assert found.sentence.startswith("there is no module 'ap' (did you mean 'app'?)")
    assert found.frames == ()


def test_a_class_that_is_not_there_is_told_with_the_nearest(write: Write) -> None:
    assert fault(write(app=GOOD), "app:Ader").sentence == "module 'app' has no class 'Ader' (did you mean 'Adder'?)"


def test_a_class_that_is_no_agent_is_told(write: Write) -> None:
    assert fault(write(app="class Agent: pass\n")).sentence == "class Agent is no agent: put @agent above it"


def test_an_import_that_raises_is_told_with_the_users_own_frames(write: Write) -> None:
    directory = write(app="import deeper\n", deeper="import json\n\n\ndef read():\n    json.loads('x')\n\n\nread()\n")
    found = fault(directory)
    assert found.sentence.startswith("importing it raised JSONDecodeError: Expecting value")
    assert [frame for frame in found.frames if frame.startswith("File")] == [
        f'File "{directory}/app.py", line 1, in <module>',
        f'File "{directory}/deeper.py", line 8, in <module>',
        f'File "{directory}/deeper.py", line 5, in read',
    ]
    assert "  json.loads('x')" in found.frames
    assert found.frames[-1].startswith("json.decoder.JSONDecodeError")


def test_a_syntax_error_is_told_with_its_line(write: Write) -> None:
    found = fault(write(app="x = 1\ndef f(:\n    pass\n"))
    assert found.sentence.startswith("importing it raised SyntaxError: invalid syntax")
    assert any('app.py", line 2' in frame for frame in found.frames)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise SystemExit(3)", "importing it raised SystemExit: 3"),
        ("raise KeyboardInterrupt", "importing it raised KeyboardInterrupt"),
        ("import no_such_thing", "importing it raised ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import os; os._exit(7)", "the process that imported it exited with code 7 in the middle of the import"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "the process that imported it was killed by SIGSEGV in the middle of the import",
        ),
    ],
)
def test_however_an_import_ends_it_is_told(write: Write, code: str, sentence: str) -> None:
    assert fault(write(app=code)).sentence == sentence


def test_what_a_failing_module_printed_is_shown_and_what_others_printed_is_not(write: Write) -> None:
    directory = write(good=f"print('fine')\n{GOOD}", bad="print('reading the model')\nraise ValueError('no model')\n")
    found = inspected(directory, "good:Adder", "bad:Agent")["bad:Agent"]
    assert isinstance(found, HandlerFault)
    assert found.frames[-2:] == ("it printed:", "  reading the model")
    assert not any("fine" in frame for frame in found.frames)


def test_what_is_printed_belongs_to_the_import_that_printed_it_whenever_it_is_heard() -> None:
    """Output and reports travel separately: here all output is there before the first report is read."""
    ours, theirs = os.pipe()
    os.write(theirs, output_mark(0) + b"fine\n" + output_mark(1) + b"reading\n" + output_mark(2) + b"later\n")
    os.close(theirs)
    hearing = _Hearing(limit=1.0)
    hearing.take(Began("good:A"), ours)
    hearing.take(Reported(HandlerReport("good:A")), ours)
    hearing.take(Began("bad:B"), ours)
    hearing.take(Faulted(HandlerFault("bad:B", "it failed")), ours)
    os.close(ours)
    assert hearing.found["bad:B"] == HandlerFault("bad:B", "it failed", ("it printed:", "  reading"))


def test_of_endless_output_the_end_is_kept(write: Write) -> None:
    found = fault(write(app="for n in range(100_000): print(n)\nraise ValueError\n"))
    printed = found.frames[found.frames.index("it printed:") + 1 :]
    assert len(printed) == 20
    assert printed[-1] == "  99999"


@pytest.mark.parametrize("hang", ["threading.Event().wait()", "re.match('(a+)+$', 'a' * 40 + 'b')"])
def test_an_import_that_hangs_is_told_with_the_place(write: Write, hang: str) -> None:
    """The second one never lets go of the interpreter's lock."""
    directory = write(app=f"import re, threading\n\ndef wait():\n    {hang}\n\nwait()\n", good=GOOD)
    found = inspected(directory, "good:Adder", "app:Agent", "good:Boss", limit=2.0)
    assert isinstance(found["good:Adder"], HandlerReport)
    assert found["app:Agent"] == HandlerFault(
        "app:Agent",
        "importing it did not end within 2 s; an import is not the place for work",
        (f'File "{directory}/app.py", line 6, in <module>', f'File "{directory}/app.py", line 4, in wait'),
    )
    assert found["good:Boss"] == HandlerFault(
        "good:Boss", "it was not looked at, because the import of app:Agent did not end well"
    )


def test_threads_that_an_import_started_keep_nobody_waiting(write: Write) -> None:
    started = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    before = time.monotonic()
    assert isinstance(inspected(write(app=started + GOOD), "app:Adder")["app:Adder"], HandlerReport)
    assert time.monotonic() - before < LONG / 2


def test_processes_that_an_import_started_are_gone(write: Write, tmp_path: Path) -> None:
    started = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
    )
    inspected(write(app=started + GOOD), "app:Adder")
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def ends(pid: int) -> bool:
    """Wait until a process that is no child of ours has ended; `False` when it does not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 5)[0])
    finally:
        os.close(process)


def test_64_handlers_see_the_environment_less_what_is_ours_or_secret(write: Write, tmp_path: Path) -> None:
    """Hazard 64: the runtime's settings, and what the hub's key came from, reach no user code."""
    write(app=f"import os\nprint(sorted(os.environ))\nassert os.environ['MODEL'] == 'small'\n{GOOD}")
    file = tmp_path / "topology.yaml"
    file.write_text(
        "version: 1\nhub: {key: '${CANARY_KEY:-}'}\n"
        "workers:\n  w: {handler: app:Adder, environment: {MODEL: small}}\n  v: {handler: other:Agent}\n"
    )
    write(other="import os\nraise ValueError(sorted(name for name in os.environ if name.isupper()))\n")
    environ = {**os.environ, "CANARY_KEY": "", "ORCHESTRATOR_CANARY": "x", "PLAIN_CANARY": "y"}
    found = inspect_topology(load_topology(file, environ), environ, limit=LONG)
    assert isinstance(found["app:Adder"], HandlerReport), found["app:Adder"]
    other = found["other:Agent"]
    assert isinstance(other, HandlerFault)
    assert "'PLAIN_CANARY'" in other.frames[-1]
    for name in ("CANARY_KEY", "ORCHESTRATOR_CANARY", "MODEL"):
        assert f"'{name}'" not in other.frames[-1]


def test_66_a_link_out_of_the_directory_is_refused(write: Write, tmp_path: Path) -> None:
    """Hazard 66: a module that only seems to lie beside the topology is no handler of it."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "pyproject.toml").touch()
    (outside / "evil.py").write_text(GOOD)
    (inside / "app.py").symlink_to(outside / "evil.py")
    assert "link out of the topology's directory" in fault(inside, "app:Adder").sentence


def test_66_nothing_in_the_current_directory_shadows_our_own_modules(tmp_path: Path) -> None:
    """Hazard 66: where the command is typed decides nothing about which code runs."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    for name in ("orchestrator", "msgspec", "json", "selectors"):
        (here / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    (there / "app.py").write_text(GOOD)
    (there / "topology.yaml").write_text("version: 1\nagents:\n  w: {handler: app:Adder}\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator", "validate", str(there / "topology.yaml")],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_child_does_not_outlive_the_one_that_asked(write: Write, tmp_path: Path) -> None:
    write(
        app=f"import os, pathlib, threading\npathlib.Path({str(tmp_path / 'fifo')!r}).write_text(str(os.getpid()))\n"
        "threading.Event().wait()\n"
    )
    os.mkfifo(tmp_path / "fifo")
    asking = (
        "import os, pathlib\nfrom orchestrator.runtime.inspect import inspect_handlers\n"
        f"inspect_handlers({{'app:A': {{}}}}, pathlib.Path({str(tmp_path)!r}), dict(os.environ), limit={LONG})\n"
    )
    asker = subprocess.Popen([sys.executable, "-P", "-c", asking])
    pid = int((tmp_path / "fifo").read_text())
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    assert ends(pid)


def test_what_an_import_starts_ends_with_the_inspection(tmp_path: Path) -> None:
    """Also what has a session of its own, and what no longer has a parent."""
    (tmp_path / "app.py").write_text(
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "with subprocess.Popen(['sh', '-c', 'setsid sleep 600 & echo $!'], stdout=subprocess.PIPE, text=True) as shell:\n"
        "    left = shell.stdout.readline()\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{child.pid}} {{left}}')\n"
    )
    reports = inspect_handlers({"app": {}}, tmp_path, dict(os.environ))
    assert isinstance(reports["app"], HandlerReport | HandlerFault)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(map(runs, pids))
