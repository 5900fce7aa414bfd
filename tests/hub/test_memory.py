"""How much memory a process may have, read from what the system says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.hub.memory import available_memory, group_files, limit_of

ROOT = Path("/sys/fs/cgroup")


def test_the_limits_of_a_group_and_of_all_around_it_count() -> None:
    assert [str(file) for file in group_files("0::/user/app.slice\n", ROOT)] == [
        "/sys/fs/cgroup/user/app.slice/memory.max",
        "/sys/fs/cgroup/user/memory.max",
        "/sys/fs/cgroup/memory.max",
    ]


def test_of_the_first_version_of_groups_the_one_for_memory_counts() -> None:
    membership = "12:cpu,cpuacct:/a\n7:memory:/docker/b\n1:name=systemd:/c:d\n"
    assert [str(file) for file in group_files(membership, ROOT)] == [
        "/sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]


@pytest.mark.parametrize(
    ("text", "limit"), [("1048576\n", 1_048_576), ("max\n", None), ("9223372036854771712\n", None)]
)
def test_no_limit_is_no_number(text: str, limit: int | None) -> None:
    assert limit_of(text) == limit


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are asked for on Linux")
def test_a_limit_of_the_process_is_seen() -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
    ask = "from orchestrator.hub.memory import available_memory; print(available_memory())"
    done = subprocess.run([sys.executable, "-c", limited + ask], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2**30
    assert (available_memory() or 0) > 2**30
