"""Hazard 35 on three hubs: whoever is sent away, or whose key is revoked, is cut off at every one of them in time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final

import pytest

from orchestrator.client.connection import Client
from orchestrator.hub import key_file
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Claims, mint
from tests.journeys.clustering import QUICK, Hubs, Member, joined
from tests.journeys.operating import command

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.hub.key_file import SecretEntry

NAMES: Final = ("n1", "n2", "n3")
AT_MOST: Final = 3.0
"""Seconds from the deed to the last close."""


def holder(hubs: Hubs, entry: SecretEntry, name: str, hub: str) -> Member:
    """Return somebody with a token of a certain key, at a certain hub."""
    token = mint(entry.key(), Claims(sub=name, exp=int(time.time()) + 600, rate="unlimited"))
    host, port = hubs.split.targets[hub]
    return Member(Client(f"ws://{host}:{port}", token=token, reconnect=QUICK), name)


async def closed(members: list[Member], code: CloseCode, since: float) -> float:
    """Wait until all are closed for good; return the seconds that it took."""
    for member in members:
        await member.until(lambda member=member: bool(member.codes), AT_MOST)  # type: ignore[misc]
    assert {tuple(member.codes) for member in members} == {(code,)}
    return max(member.lost_at[0] for member in members) - since


async def known(hubs: Hubs, times: int) -> None:
    """Wait until the file of the keys was read again so often."""
    async with asyncio.timeout(AT_MOST):
        while hubs.said().count("the keys were read again") < times:  # noqa: ASYNC110  # only the log tells
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "engine", [pytest.param("nats", marks=pytest.mark.journey), pytest.param("redis", marks=pytest.mark.bars)]
)
@pytest.mark.shows_secrets("the file of the keys is the tests' own")
async def test_hazard_35_who_is_sent_away_or_loses_its_key_is_cut_off_at_every_hub_in_time(
    tmp_path: Path, engine: str
) -> None:
    keys = tmp_path / "keys.yaml"
    old = key_file.SecretEntry("sk_id_old", "sk_secret_" + "o" * 32, rate="unlimited")
    new = key_file.SecretEntry("sk_id_new", "sk_secret_" + "n" * 32, rate="unlimited")
    admin = key_file.SecretEntry("sk_id_admin", "sk_secret_" + "a" * 32, rate="unlimited")
    with key_file.changed(keys) as content:
        content.secret_keys += [admin, old]
    async with joined(tmp_path, engine, *NAMES) as (hubs, _):
        gone = [holder(hubs, old, "gone", name) for name in NAMES]
        losing = [holder(hubs, old, f"old {name}", name) for name in NAMES]
        await asyncio.gather(*(member.begin("lobby") for member in (*gone, *losing)))
        await hubs.everywhere("lobby", {"gone", *(member.name for member in losing)}, 5.0)

        began = time.monotonic()
        assert await hubs.ask("n3", "DELETE", "peers/gone") == {"peerId": "gone", "closed": len(NAMES)}
        kicked = await closed(gone, CloseCode.ADMIN_DISCONNECT, began)

        with key_file.changed(keys) as content:  # both are good for a while
            content.secret_keys.append(new)
        keeping = [holder(hubs, new, f"new {name}", name) for name in NAMES]
        await known(hubs, len(NAMES))
        await asyncio.gather(*(member.begin("lobby") for member in keeping))
        enough = asyncio.Event()
        talks = [asyncio.create_task(one.talk("new n3", enough, 0.01)) for one in keeping[:2]]
        assert [member.codes for member in losing] == [[], [], []]
        began = time.monotonic()
        assert (await command("keys", "revoke", "sk_id_old", "--keys", str(keys), folder=tmp_path))[0] == 0
        cut = await closed(losing, CloseCode.INVALID_TOKEN, began)
        enough.set()
        await asyncio.gather(*talks)
        await hubs.everywhere("lobby", {member.name for member in keeping}, 2.0)
        assert [member.codes for member in keeping] == [[], [], []]
        assert [member.problems.total() for member in keeping] == [0, 0, 0]
        await asyncio.gather(*(member.end() for member in (*gone, *losing, *keeping)))
    assert max(kicked, cut) <= AT_MOST
    print(json.dumps({"kicked_s": round(kicked, 3), "cut_s": round(cut, 3)}))
