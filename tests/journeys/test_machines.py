"""One topology on two machines: folders of their own, and a run in each, which meet at an engine or at one hub."""

from __future__ import annotations

import secrets
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from orchestrator.runtime.operator_wire import Scale
from orchestrator.runtime.run_seat import running as seats
from orchestrator.topology.plan_machines import without_login
from tests.brokers import JETSTREAM, nats_server, needs_client, valkey_server
from tests.journeys.operating import change, command, pids
from tests.journeys.running import Running, running, who
from tests.journeys.test_parts import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.journey

PASSWORD: Final = "hunter2-of-the-broker"
CERTIFICATE: Final = Path(__file__).parents[1] / "hub" / "localhost.pem"
MEETING: Final = '''

from pathlib import Path
import asyncio
import os


@agent
class Meeting:
    """Whose replicas do what they are asked only together."""

    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        me, place = os.environ["ORCHESTRATOR_PEER_ID"], Path(os.environ["PLACE"])
        (place / me).touch()
        while len(list(place.glob("helper.*"))) < 2:
            await asyncio.sleep(0.02)
        return f"{job.word.upper()}@{me}"
'''
JOINED: Final = """\
version: 1
name: farm
hub: {backplane: "${BROKER}"}
store: "${STORE}"
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Meeting", replicas: 2, environment: {PLACE: "${PLACE}"}, tasks: {delivery: at-least-once}}
"""
ONE_HUB: Final = """\
version: 1
name: farm
hub: {key: "${PART_KEY}", listen: "127.0.0.1:${PORT}"}
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 4}
"""


def machine(place: Path, topology: str) -> Path:
    place.mkdir()
    (place / "app.py").write_text(HANDLERS + MEETING)
    (place / "farm.yaml").write_text(topology)
    return place


@pytest.fixture(params=["nats", pytest.param("redis", marks=pytest.mark.bars)])
def joined(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a topology whose hubs and store are at a broker that wants a password."""
    folder, place = tmp_path / "broker", tmp_path / "place"
    place.mkdir()
    with ExitStack() as stack:
        if request.param == "nats":
            needs_client("nats", "nats-py")
            login = f'authorization: {{ user: "me", password: "{PASSWORD}" }}\n'
            broker = stack.enter_context(nats_server(folder, config=JETSTREAM.format(folder=folder) + login))
            address, option = f"nats://me:{PASSWORD}@127.0.0.1:{broker.port}", "?sync=always"
        else:
            needs_client("redis", "redis[hiredis]")
            keeps = {"requirepass": PASSWORD, "appendonly": "yes", "appendfsync": "always"}
            broker = stack.enter_context(valkey_server(folder, settings={**keeps, "maxmemory-policy": "noeviction"}))
            address, option = f"redis://:{PASSWORD}@127.0.0.1:{broker.port}", "/0"
        yield {"BROKER": address, "STORE": address + option, "PLACE": str(place)}


@pytest.fixture
def one_hub() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {"PART_KEY": f"sk_id_part:sk_secret_{secrets.token_hex(32)}", "PORT": str(port)}


def shown_to_others(run: Running) -> bytes:
    """Return what the user of the processes that a run has started may read of them."""
    own = [pid for record in run.with_event("ready") if (pid := record.get("pid")) is not None]
    return b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in own for what in ("cmdline", "environ"))


async def test_tasks_flow_between_two_machines_that_an_engine_joins(tmp_path: Path, joined: dict[str, str]) -> None:
    desk, farm = machine(tmp_path / "desk", JOINED), machine(tmp_path / "farm", JOINED)
    async with running("farm.yaml", "--only", "helper.2", directory=farm, environ=joined) as second:
        here = await second.until(lambda record: "ready here in" in record["event"])
        assert "1 replica ready here" in here["event"]
        assert "expected elsewhere: boss, helper.1" in here["event"]
        words = ("--only", "boss,helper.1", "--ask", "boss", "a b", "--until-idle")
        async with running("farm.yaml", *words, directory=desk, environ=joined) as first:
            assert await first.ended(60) == 0, first.said() + second.said()
        assert sorted(first.answer.split()) in (["A@helper.1", "B@helper.2"], ["A@helper.2", "B@helper.1"])
        assert first.with_event("nothing is left to do in the store · 2 tasks done")
        assert PASSWORD.encode() not in shown_to_others(second)
        (farm / ".env").touch(0o600)
        (farm / ".env").write_text("".join(f"{name}={value}\n" for name, value in joined.items()))
        code, listed = await command("tasks", "farm.yaml", folder=farm)
        assert (code, listed.splitlines()[-1]) == (0, "2 done")
    assert PASSWORD not in first.said() + second.said() + listed


@pytest.mark.bars
async def test_a_run_whose_backplane_cannot_be_reached_says_so(tmp_path: Path, joined: dict[str, str]) -> None:
    desk = machine(tmp_path / "desk", JOINED)
    wrong = joined["BROKER"].replace(PASSWORD, "another")
    async with running("farm.yaml", "--only", "helper.2", directory=desk, environ={**joined, "BROKER": wrong}) as run:
        assert await run.ended(60) == 5
    assert f"the backplane {without_login(wrong)} " in run.said()
    assert PASSWORD not in run.said()


async def test_a_hub_with_a_certificate_is_trusted_by_the_agents_beside_it(tmp_path: Path) -> None:
    text = ONE_HUB.replace(
        'hub: {key: "${PART_KEY}", listen: "127.0.0.1:${PORT}"}', "hub: {tls: {cert: h.pem, key: h.pem}}"
    )
    desk = machine(tmp_path / "desk", text)
    shutil.copy(CERTIFICATE, desk / "h.pem")
    async with running("farm.yaml", "--ask", "boss", "hello", directory=desk) as run:
        assert await run.ended() == 0, run.said()
        [hub] = [record for record in run.with_event("ready") if who(record) == "hub"]
    assert hub["url"].startswith("wss://127.0.0.1:")
    assert run.answer.split() == ["HELLO"]


@pytest.mark.bars
async def test_a_replica_that_two_machines_run_is_given_up_by_the_first(
    tmp_path: Path, one_hub: dict[str, str]
) -> None:
    desk, farm = machine(tmp_path / "desk", ONE_HUB), machine(tmp_path / "farm", ONE_HUB)
    url = f"ws://127.0.0.1:{one_hub['PORT']}"
    async with running("farm.yaml", "--only", "boss,helper.1-3", directory=desk, environ=one_hub) as first:
        await first.until(lambda record: "ready here in" in record["event"])
        async with running(
            "farm.yaml", "--only", "helper.3-4", "--hub", url, directory=farm, environ=one_hub
        ) as second:
            lost = await first.until(lambda record: "failed for good" in record["event"])
            await second.ready()
    assert who(lost) == "helper.3"
    assert "4020" in lost["event"]
    assert "`--only helper.1-4` on one and `--only helper.5-8` on another" in lost["event"]


@pytest.mark.bars
async def test_each_machine_is_operated_by_itself(tmp_path: Path, one_hub: dict[str, str]) -> None:
    desk, farm = machine(tmp_path / "desk", ONE_HUB), machine(tmp_path / "farm", ONE_HUB)
    url = f"ws://127.0.0.1:{one_hub['PORT']}"
    async with running("farm.yaml", "--only", "boss,helper.1-2", directory=desk, environ=one_hub) as first:
        await first.until(lambda record: record["event"] == "ready" and who(record) == "hub")
        async with running("farm.yaml", "--only", "helper.3-", "--hub", url, directory=farm, environ=one_hub) as second:
            await first.ready()
            assert await change(farm / "farm.yaml", Scale({"helper": 6}))
            assert {*await pids(farm / "farm.yaml")} == {"helper.3", "helper.4", "helper.5", "helper.6"}
            assert await change(desk / "farm.yaml", Scale({"helper": 6}))
            assert {*await pids(desk / "farm.yaml")} == {"(hub)", "boss", "helper.1", "helper.2"}
            assert await change(desk / "farm.yaml", Scale({"helper": 1}))
            assert {*await pids(desk / "farm.yaml")} == {"(hub)", "boss", "helper.1"}
            code, _ = await command("stop", "farm.yaml", folder=farm)
            assert code == 0
            assert await second.ended() == 0
        assert seats(desk / "farm.yaml", {}), "the other machine goes on"


@pytest.mark.bars
async def test_two_runs_on_one_machine_share_an_agent_by_its_replicas(tmp_path: Path, one_hub: dict[str, str]) -> None:
    desk = machine(tmp_path / "desk", ONE_HUB)
    url = f"ws://127.0.0.1:{one_hub['PORT']}"
    async with running("farm.yaml", "--only", "boss,helper.1-2", directory=desk, environ=one_hub) as first:
        await first.until(lambda record: "ready here in" in record["event"])
        async with running(
            "farm.yaml", "--only", "helper.2-3", "--hub", url, directory=desk, environ=one_hub
        ) as second:
            assert await second.ended() == 1
        assert "runs already with 'helper.2-3'" in second.said()
        async with running("farm.yaml", "--only", "helper.3-4", "--hub", url, directory=desk, environ=one_hub):
            assert (await first.ready())["event"].startswith("5 replicas ready in")
