from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.processes import ENVIRONMENT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it")

LONG = "a" * 100


@pytest.mark.parametrize(
    ("title", "name", "words"),
    [
        ("writer.1", b"writer.1\n", b"orchestrator: writer.1"),
        (LONG, b"a" * 15 + b"\n", b"orchestrator: " + b"a" * 100),
        ("größe", "größe\n".encode(), "orchestrator: größe".encode()),
    ],
)
def test_lists_of_processes_show_the_title(title: str, name: bytes, words: bytes) -> None:
    code = (
        "import sys\nfrom orchestrator.runtime.title import entitle\nentitle(sys.argv[1])\n"
        "print(sys.argv[1:], flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, title, "more words"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline().decode() == f"{[title, 'more words']}\n", "what the program knows is the same"
        assert Path(f"/proc/{process.pid}/comm").read_bytes() == name
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert shown == words
        process.stdin.close()


def test_one_that_does_not_fit_is_cut_and_nothing_beyond_it_is_touched() -> None:
    code = (
        "import os\nfrom pathlib import Path\nfrom orchestrator.runtime.title import entitle\n"
        "before = Path('/proc/self/environ').read_bytes()\nentitle('x' * 100_000)\n"
        "assert Path('/proc/self/environ').read_bytes() == before\n"
        "print(len(Path('/proc/self/cmdline').read_bytes()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=True).stdout
    assert int(shown) == len(b"\0".join([sys.executable.encode(), b"-c", code.encode()])) + 1
