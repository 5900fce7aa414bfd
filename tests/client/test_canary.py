"""Hazard 45, the client's side: nothing that a client prints, logs, raises or is made of shows its credential."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 90.0
"""Seconds for the whole program."""
ENDED: Final = "ENDED "
REFUSED: Final = "NotAuthorized " * 4
EXPECTED: Final = {
    "constructed": "ValueError " * 5 + "ValueError",
    **dict.fromkeys(
        [f"http {name}" for name in ("itself", "refusal", "redirect", "no status", "no header", "no accept")]
        + ["http extension", "http nothing", "nobody", "no tls", "junk for tls", "raising", "no welcome"],
        "HubUnreachable",
    ),
    "junk from the provider": "TokenUnavailable " * 3 + "TokenUnavailable",
    "hanging": "TokenUnavailable",
    **{f"closed {code} at once": "HubUnreachable" for code in (1000, 1008, 4002, 4010)},
    **{f"closed {code} later": "done True" for code in (1000, 1008, 4002, 4010)},
    **{f"closed {code} at once": "TerminalDisconnect" for code in (4001, 4003, 4012, 4020)},
    **{f"closed {code} later": "done False" for code in (4001, 4003, 4012, 4020)},
    "talked at": REFUSED + "AckTimeout ConnectionLost NotConnected NotConnected",
    "silent": "done True",
    "flooded": "done True",
    "broken frames": "done True",
    "cancelled": "closed",
    "forgotten": "done",
    "as a user": "TerminalDisconnect TerminalDisconnect",
    "renewal without a token": "connected",
    "renewal refused": "connected",
    "no renewal": "reconnecting",
    "at our hub": "TerminalDisconnect HubUnreachable TerminalDisconnect done done done",
}
"""How each way of failing has to end, so that none of them is left out."""
SAID: Final = ("DEBUG asyncio", "asyncio DEBUG", "token not renewed", "disconnected for good", "Traceback", "<Client")
"""Some of what has to be there, for the program was as talkative as it can be."""


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=pytest.mark.bars)])
async def test_hazard_45_a_client_at_its_most_talkative_shows_no_credential_through_any_failure(
    tmp_path: Path, loop: str
) -> None:
    """Logs at debug level, asyncio's debug mode, every warning, tracebacks with the values of variables, `repr`s."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "always", "-m", "tests.client.canary_program", tmp_path / "used", loop),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = (said.decode() for said in await process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err[-2_000:]
    ended = dict(json.loads(line.removeprefix(ENDED)) for line in out.splitlines() if line.startswith(ENDED))
    assert ended == EXPECTED
    said = out + err
    assert [mark for mark in SAID[2:] if mark not in said] == [] and any(mark in said for mark in SAID[:2])
    used = (tmp_path / "used").read_text().split()
    assert len(used) > 80
    secrets = {"canarykey", "canaryelse"}
    for credential in used:
        secrets.update(credential.split(".")[1:] if "." in credential else [credential])
    assert [secret for secret in secrets if secret in said] == []
