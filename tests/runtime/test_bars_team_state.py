"""A newcomer to a large state has caught up within a second of real time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.bars
def test_ten_thousand_keys_reach_a_newcomer_within_a_second() -> None:
    command = [sys.executable, "-m", "bench.team_state", "--keys", "10000", "--runs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["bars"]["newcomer_s"]["met"], done.stdout
