from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from orchestrator.runtime import descendants
from tests.runtime.processes import ENVIRONMENT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

WAITS: Final = "import sys; print('here', flush=True); sys.stdin.read()"


@contextmanager
def waiting(code: str = WAITS, environ: dict[str, str] = ENVIRONMENT) -> Iterator[int]:
    """Have a process that waits, once it has said that it is there."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


def test_children_are_found_also_where_the_kernel_keeps_no_lists_of_them() -> None:
    with waiting() as one, waiting() as other:
        found = descendants.children_of(os.getpid())
        assert {one, other} <= found
        assert descendants._children_by_parents(os.getpid()) == found
        assert descendants.children_of(one) == set()


def test_a_name_with_parentheses_hides_nobody() -> None:
    named = f"from pathlib import Path; Path('/proc/self/comm').write_text(') R 1 (x'); {WAITS}"
    with waiting(named) as pid:
        assert Path(f"/proc/{pid}/comm").read_text() == ") R 1 (x\n"
        assert pid in descendants._children_by_parents(os.getpid())


def test_descendants_are_found_to_the_last_but_for_the_spared_and_theirs() -> None:
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}], check=True)"
    with waiting(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)") as pid:
        [middle] = descendants.children_of(pid)
        [last] = descendants.children_of(middle)
        assert descendants.descendants_of(pid) == {middle, last}
        assert descendants.descendants_of(pid, {middle}) == set()
        assert descendants.descendants_of(last) == set()


@pytest.mark.parametrize("how", ["fork", "exec", "session"])
def test_a_mark_is_kept_whatever_a_process_becomes(how: str) -> None:
    become = {
        "fork": f"pid = os.fork()\nif pid: sys.exit(os.waitpid(pid, 0)[1])\nexec({WAITS!r})",
        "exec": f"os.execve(sys.executable, [sys.executable, '-c', {WAITS!r}], {{}})",
        "session": f"os.setsid()\nos.closerange(3, 100)\nexec({WAITS!r})",
    }[how]
    code = f"import os, sys\nfrom orchestrator.runtime.descendants import mark\nmark(41)\n{become}"
    with waiting(code) as pid:
        assert descendants.mark_of(pid) == 41
        assert {descendants.mark_of(below) for below in descendants.descendants_of(pid)} <= {41}


def test_within_marked_processes_others_are_marked_anew() -> None:
    """As a run within an agent of a run does."""
    inner = f"from orchestrator.runtime.descendants import mark\nmark(2)\n{WAITS}"
    told = (
        "import subprocess, sys\nfrom orchestrator.runtime.descendants import mark, mark_of\nmark(1)\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "assert inner.stdout.readline() == b'here\\n'\nassert mark_of(inner.pid) == 2\n"
        f"{WAITS}\ninner.communicate()"
    )
    with waiting(told) as pid:
        assert descendants.mark_of(pid) == 1


def test_who_is_not_marked_or_is_gone_has_no_mark() -> None:
    with waiting() as pid:
        assert descendants.mark_of(pid) is None
    assert descendants.mark_of(pid) is None


def test_an_item_of_an_environment_is_found_whole() -> None:
    with waiting(environ={**ENVIRONMENT, "ORCHESTRATOR_PEER_ID": "writer.12"}) as pid:
        assert descendants.environment_holds(pid, b"ORCHESTRATOR_PEER_ID=writer.12")
        assert not descendants.environment_holds(pid, b"ORCHESTRATOR_PEER_ID=writer.1")
    assert not descendants.environment_holds(pid, b"ORCHESTRATOR_PEER_ID=writer.12")


def test_nobody_is_sent_a_signal_who_is_gone() -> None:
    with waiting() as pid:
        pass
    descendants.send(pid, 9)
    descendants.send_to_group(pid, 9)
    descendants.kill_all({pid})
