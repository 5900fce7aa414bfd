"""A file system of 4 MB that fills up: new tasks are refused, nothing that was acknowledged is lost, and then it
goes on (hazard 62).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def namespace() -> list[str]:
    """Return what runs a program that may mount; nothing where this machine has no such thing."""
    unshare = shutil.which("unshare")
    for more in (["--mount"], ["--mount", "--user", "--map-root-user"]):
        if unshare is not None and shutil.which("mount") is not None:
            command = [unshare, *more]
            tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
            if tried.returncode == 0:
                return command
    return []


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = namespace()
    if not command:
        pytest.skip("this machine lets nobody here mount a small file system (unshare --mount)")
    folder = tmp_path_factory.mktemp("small")
    program = [*command, sys.executable, "-m", "tests.store.filling", str(folder)]
    ended = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def test_a_full_disk_is_reported_with_the_file_and_what_to_do(found: dict[str, Any]) -> None:
    assert "s.db has no room to grow" in found["full"]
    assert "free space" in found["full"]
    assert found["again"].startswith("StoreFull: ")


def test_what_is_stored_can_be_read_while_the_disk_is_full(found: dict[str, Any]) -> None:
    assert found["readable"] == 900


def test_a_disk_with_room_again_is_written_without_a_restart(found: dict[str, Any]) -> None:
    assert found["freed"] == "stored"


def test_nothing_that_was_acknowledged_is_lost(found: dict[str, Any]) -> None:
    assert min(found["stored"]) > 100
    assert found["lost_while_open"] == []
    assert found["lost_after"] == []


def test_a_disk_that_is_read_only_is_reported_until_it_is_not(found: dict[str, Any]) -> None:
    assert found["read_only"].startswith("StoreReadOnly: ")
    assert "other.db cannot be written" in found["read_only"]
    assert found["writable"] == "stored"
