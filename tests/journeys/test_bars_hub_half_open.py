"""Hazard 3: of connections through which nothing gets any more, and of which nobody is told, both sides find out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.journeys.half_open import EACH
from tests.runtime.processes import ENVIRONMENT, ROOT

OWN_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def lacks_a_network_of_its_own() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return True
    return subprocess.run([*OWN_NETWORK, "ip", "link", "set", "lo", "up"], capture_output=True).returncode != 0


@pytest.mark.bars
async def test_hazard_3_a_hub_notices_within_35_seconds_and_a_client_within_60_or_3_and_no_ghost_is_left() -> None:
    if lacks_a_network_of_its_own():
        pytest.skip("this machine gives nobody a network of their own (unshare and ip, as root)")
    process = await asyncio.create_subprocess_exec(
        *OWN_NETWORK,
        *(sys.executable, "-m", "tests.journeys.half_open"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    try:
        async with asyncio.timeout(150):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = json.loads(told)
    print(found)
    assert found["held"] == 2 * EACH
    assert found["hub"] <= 35.5, found
    assert max(found["usual"]) <= 60.5, found
    assert max(found["quick"]) <= 3.5, found
    assert found["listed"] and found["connections"] == 2 * EACH
