"""The suites of the wire, of the clients and stock SDKs, and of the patterns, on two hubs that a real broker joins."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
SUITES: Final = (
    "tests/hub",
    "tests/client",
    "tests/interop",
    "tests/runtime/test_at_least_once.py",
    "tests/runtime/test_choosing.py",
    "tests/runtime/test_claims.py",
    "tests/runtime/test_dispatch_at_scale.py",
    "tests/runtime/test_exact_scopes.py",
    "tests/runtime/test_large_payloads.py",
    "tests/runtime/test_message_budget.py",
    "tests/runtime/test_revised_replica.py",
    "tests/runtime/test_shared_state.py",
    "tests/runtime/test_slow_stream_readers.py",
    "tests/runtime/test_streams_over_cuts.py",
    "tests/runtime/test_user.py",
    "tests/runtime/test_user_left_in_haste.py",
    "tests/runtime/test_user_life.py",
    "tests/runtime/test_user_presence.py",
    "tests/testing/test_every_offset.py",
    "tests/testing/test_frame_rules.py",
    "tests/testing/test_hub.py",
    "tests/testing/test_presence.py",
    "tests/testing/test_shipped.py",
    "tests/testing/test_way_to_store.py",
    "tests/topology/test_part.py",
    "tests/journeys/test_ends.py",
    "tests/journeys/test_topologies.py",
    "tests/test_docs_dispatch.py",
    "tests/test_docs_users.py",
)
LEAST: Final = 1_100
"""Tests that make two hubs; fewer, and they are not made any more."""


@pytest.mark.bars
@pytest.mark.parametrize("broker", ["nats", "redis"])
def test_the_suites_pass_on_two_hubs_with_their_peers_spread_over_both(broker: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "--nodes", broker, "-p", "no:cacheprovider", *SUITES]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3_000, check=False)
    assert said.returncode == 0, said.stdout[-20_000:]
    used = re.search(r"^(\d+) of the tests were run on two hubs", said.stdout, re.MULTILINE)
    assert used is not None and int(used[1]) >= LEAST, said.stdout[-2_000:]
