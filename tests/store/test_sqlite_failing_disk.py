"""A disk that refuses to write: the store says so, loses nothing and goes on when it can (hazard 62)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_disk_that_fails_is_reported_and_used_again_without_a_restart(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.store.failing", str(tmp_path / "s.db")]
    ended = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["stored"] > 0
    assert all("s.db could not be read or written" in each for each in found["refusals"])
    assert found["lost"] == []
