"""The engine of a plan: what is asked of it, how it is kept from sight, and how a replica and a run reach it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ExitCode, StoreUnavailable
from orchestrator.runtime.control import Engine, HubSpec, Spec, ToChild, decoder_of, encode_control
from orchestrator.runtime.planned_children import children_of
from orchestrator.runtime.shared_engine import EngineAway, EngineUnfit, engine_of, made, namespace, open_now, unclaimed
from orchestrator.runtime.shared_store import OwnShare
from orchestrator.store.errors import StoreRefused
from orchestrator.store.shared import Needs
from orchestrator.store.tasks import NewTask
from orchestrator.topology.plan import Plan, make_plan
from tests.brokers import nats_broker, needs_client, valkey_broker
from tests.topology.files import read

if TYPE_CHECKING:
    from tests.brokers import Broker

__all__ = ["nats_broker", "valkey_broker"]

SECRET = "hunter2"
AGENTS = (
    "coordinators:\n  boss: {handler: app:Boss, workers: [ant]}\nworkers:\n"
    "  ant: {handler: app:Ant, replicas: 2, tasks: {delivery: at-least-once}}\n"
)
TEAM = "agents:\n  one: {handler: app:One}\nteams:\n  crew: {members: [one]CLAIMS}\n"
NEITHER = Needs(durable=False, strong=False)


def planned(store: str, agents: str = AGENTS, name: str = "farm") -> Plan:
    return make_plan(read(f"version: 1\nname: {name}\nstore: '{store}'\n{agents}"), None)


@pytest.mark.parametrize(
    ("agents", "needs"),
    [
        (AGENTS, Needs(durable=True, strong=False)),
        (TEAM.replace("CLAIMS", ""), Needs(durable=False, strong=True)),
        (TEAM.replace("CLAIMS", ", claims: {allow_unsafe_claims: true}"), NEITHER),
    ],
)
def test_what_is_needed_follows_from_the_plan(agents: str, needs: Needs) -> None:
    plan = planned(f"redis://:{SECRET}@127.0.0.1", agents)
    assert engine_of(plan) == Engine(f"redis://:{SECRET}@127.0.0.1", "farm", needs)


def test_a_store_of_the_run_is_no_engine_and_an_engine_no_process_of_the_run() -> None:
    own, shared = planned("sqlite:///t.db"), planned("nats://127.0.0.1")
    assert engine_of(own) is None
    assert [child.name for child in children_of(own)][:2] == ["(hub)", "(store)"]
    assert [child.name for child in children_of(shared)][:2] == ["(hub)", "ant.1"]


def test_a_long_name_is_cut_to_one_of_its_own() -> None:
    assert namespace("farm") == "farm"
    long, other = namespace("a" * 200), namespace("a" * 201)
    assert len(long) == len(other) == 64
    assert long != other


def test_no_repr_shows_an_address() -> None:
    plan = planned(f"redis://:{SECRET}@127.0.0.1")
    engine = engine_of(plan)
    assert engine is not None
    spec = Spec(plan.replicas[0], "ws://127.0.0.1", "/", "i", engine=engine)
    hub = HubSpec(3, (), backplane=f"nats://me:{SECRET}@127.0.0.1")
    joined = make_plan(read(f"version: 1\nhub: {{backplane: 'nats://me:{SECRET}@127.0.0.1'}}\n{AGENTS}"), None)
    for shown in (plan, engine, spec, hub, joined, joined.hub):
        assert SECRET not in repr(shown)
    assert joined.hub.backplane == f"nats://me:{SECRET}@127.0.0.1/{joined.name}"
    for message in (spec, hub):
        assert decoder_of(ToChild)(encode_control(message)) == message


async def test_an_engine_that_is_away_is_unreachable_and_one_that_is_none_is_invalid() -> None:
    needs_client("redis", "redis")
    with pytest.raises(EngineAway) as away:
        await unclaimed(planned("redis://127.0.0.1:1"))
    assert away.value.exit_code is ExitCode.UNREACHABLE
    with pytest.raises(EngineUnfit) as unfit:
        made(Engine("amqp://127.0.0.1", "farm", NEITHER))
    assert unfit.value.exit_code is ExitCode.INVALID


async def test_a_replica_reaches_its_own_share_and_the_operator_everything(nats_broker: Broker) -> None:
    plan = planned(f"{nats_broker.url}?sync=always", name=f"farm-{secrets.token_hex(4)}")
    engine, boss = engine_of(plan), plan.replicas[0]
    assert engine is not None and boss.store is not None
    share = OwnShare(engine, boss.peer_id, boss.store)
    try:
        await share.tasks.enqueue([NewTask(id="t1", queue="ant", type="T", payload=b"{}", caller="boss")])
        with pytest.raises(StoreRefused, match="boss may not store tasks for 'bee'"):
            await share.tasks.enqueue([NewTask(id="t2", queue="bee", type="T", payload=b"{}", caller="boss")])
    finally:
        await share.close()
    store = await open_now(engine)
    try:
        [queue] = await store.tasks.stats()
        assert (queue.queue, queue.open) == ("ant", 1)
    finally:
        await store.close()
    assert await unclaimed(plan) == []
    other = planned(f"{nats_broker.url}?sync=always", AGENTS.replace("ant", "bee"), plan.name)
    [sentence] = await unclaimed(other)
    assert sentence.startswith("1 task(s) wait for 'ant', which is no at-least-once worker of this topology")


async def test_an_engine_that_cannot_keep_what_is_needed_is_refused(valkey_broker: Broker) -> None:
    with pytest.raises(EngineUnfit) as caught:
        await unclaimed(planned(valkey_broker.url))
    assert caught.value.exit_code is ExitCode.INVALID


async def test_a_share_of_an_engine_that_is_away_is_told_so_each_time() -> None:
    needs_client("redis", "redis")
    boss = planned("redis://127.0.0.1:1").replicas[0]
    assert boss.store is not None
    share = OwnShare(Engine("redis://127.0.0.1:1", "farm", NEITHER), boss.peer_id, boss.store)
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await share.tasks.result("t1")
    finally:
        await share.close()
