"""Plans across machines: everything in one place, and what is wrong with those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExitCode
from orchestrator.topology.part import part_of
from orchestrator.topology.plan import Plan, make_plan
from orchestrator.topology.plan_machines import Machines, Misplaced, arranged, read_assignment, without_login
from tests.topology.files import read

KEY = "key: '${KEY}'"
FARM = (
    "coordinators:\n  boss: {handler: app:Boss, workers: [ant]}\nworkers:\n"
    "  ant: {handler: app:Ant, replicas: 4TASKS}\nagents:\n  scribe: {external: true}\n"
)


def farm(hub: str = "{backplane: 'nats://me:secret@broker:4222'}", head: str = "", kept: bool = False) -> Plan:
    tasks = ", tasks: {delivery: at-least-once}" if kept else ""
    return make_plan(read(f"version: 1\nname: farm\nhub: {hub}\n{head}{FARM.replace('TASKS', tasks)}"), None)


def placed(plan: Plan, **machines: str) -> Machines:
    return arranged(plan, {name: words.split(",") for name, words in machines.items()}, ["farm.yaml"])


def wrong(plan: Plan, **machines: str) -> list[str]:
    with pytest.raises(Misplaced) as caught:
        placed(plan, **machines)
    assert caught.value.exit_code is ExitCode.INVALID
    return list(caught.value.sentences)


def commands(found: Machines) -> dict[str, str]:
    return {machine.name: " ".join(machine.command) for machine in found.machines}


def test_without_machines_everything_runs_on_one() -> None:
    found = arranged(farm(hub="{}"), {}, ["farm.yaml"])
    assert commands(found) == {"here": "orchestrator run farm.yaml"}
    assert found.machines[0].words == ("boss", "ant")
    assert (found.machines[0].hub, found.hub_url, found.external) == (True, None, ("scribe",))


def test_with_a_backplane_each_machine_has_a_hub_of_its_own() -> None:
    found = placed(farm(), a="boss,ant.1-2", b="ant.3-")
    assert commands(found) == {
        "a": "orchestrator run farm.yaml --only boss,ant.1-2",
        "b": "orchestrator run farm.yaml --only ant.3-4",
    }
    assert [machine.hub for machine in found.machines] == [True, True]
    assert found.backplane == "nats://broker:4222"


def test_a_machine_with_a_hub_alone_joins_it_to_those_of_the_topology_where_others_reach_it() -> None:
    (sentence,) = wrong(farm(), a="boss,ant", b="hub")
    assert "machine 'b' would have a hub that nobody reaches, on 127.0.0.1" in sentence
    where = "listen: '0.0.0.0:7700', tls: {cert: c.pem, key: k.pem}"
    found = placed(farm(f"{{backplane: 'nats://broker:4222', {where}, {KEY}}}"), a="boss,ant", b="hub")
    assert commands(found)["b"].endswith("--backplane nats://broker:4222/farm")
    found = placed(farm(f"{{backplane: 'nats://me:secret@broker:4222', {where}, {KEY}}}"), a="boss,ant", b="hub")
    assert commands(found)["b"].endswith("--backplane-file backplane.txt")


def test_one_hub_is_started_on_its_machine_and_named_to_the_others() -> None:
    plan = farm(hub=f"{{listen: '0.0.0.0:7700', tls: {{cert: c.pem, key: k.pem}}, {KEY}}}")
    found = placed(plan, a="boss", b="ant,hub")
    assert [machine.name for machine in found.machines] == ["b", "a"], "the hub's machine is started first"
    assert commands(found) == {
        "b": "orchestrator run farm.yaml --only ant",
        "a": "orchestrator run farm.yaml --only boss --hub wss://b:7700",
    }
    alone = placed(plan, a="boss,ant", b="hub").machines[0]
    assert alone.command[:5] == ("orchestrator", "hub", "serve", "--listen", "0.0.0.0:7700")
    assert "--tls-cert" in alone.command


def test_a_hub_that_runs_already_is_nobody_s_to_start() -> None:
    plan = farm(hub=f"{{url: 'wss://hub.example', {KEY}}}")
    assert commands(placed(plan, a="boss", b="ant")) == {
        "a": "orchestrator run farm.yaml --only boss",
        "b": "orchestrator run farm.yaml --only ant",
    }
    assert wrong(plan, a="boss,hub", b="ant") == [
        "machine 'a': the hub is at wss://hub.example, and none of these starts it"
    ]


@pytest.mark.parametrize(
    ("machines", "sentences"),
    [
        (
            {"a": "boss,ant.1-3", "b": "ant.3-4"},
            ["'ant.3' is placed twice, on 'a' and 'b': a replica runs in one place"],
        ),
        (
            {"a": "boss,ant.1", "b": "ant.3"},
            ["ant.2,ant.4 runs nowhere: add it to a machine, as in --machine a=…,ant.2,ant.4"],
        ),
        ({"a": "boss", "b": "amt"}, ["machine 'b': there is no agent 'amt' (did you mean 'ant'?)"]),
        (
            {"a": "boss,ant", "b": "scribe"},
            ["machine 'b': 'scribe' is external, so no run starts it, here or elsewhere"],
        ),
    ],
)
def test_what_is_misplaced_is_told(machines: dict[str, str], sentences: list[str]) -> None:
    assert wrong(farm(), **machines) == sentences


def test_a_hub_that_others_cannot_reach_is_told() -> None:
    [listens, key] = wrong(farm(hub="{}"), a="hub,boss", b="ant")
    assert listens.startswith("the hub of 'a' listens on 127.0.0.1, port any, where no other machine finds it")
    assert key.startswith("each machine makes the tokens of its own replicas, from a key that all have")
    assert wrong(farm(hub="{}"), a="boss", b="ant")[0].startswith("the hub runs nowhere")
    assert wrong(farm(hub="{}"), a="boss,hub", b="ant,hub")[0].startswith("the hub is placed on 'a' and 'b'")


def test_a_store_of_one_machine_is_not_shared_and_one_of_an_engine_is() -> None:
    [one, other] = wrong(farm(kept=True), a="boss", b="ant")
    assert one.startswith("machine 'a': 'boss' shares tasks or claims with 'ant'")
    assert other.startswith("machine 'b': 'ant' shares tasks or claims with 'boss'")
    found = placed(farm(head="store: 'redis://:secret@cache/0'\n", kept=True), a="boss,ant.1", b="ant.2-")
    assert found.store == "redis://cache"
    assert [machine.store for machine in found.machines] == [False, False]


@given(st.lists(st.sampled_from("abc"), min_size=5, max_size=5))
def test_every_replica_is_run_by_exactly_the_machine_that_has_it(where: list[str]) -> None:
    plan = farm()
    mine = [replica.peer_id for replica in plan.replicas if not replica.external]
    assigned: dict[str, list[str]] = {}
    for peer, machine in zip(mine, where, strict=True):
        assigned.setdefault(machine, []).append(peer)
    found = arranged(plan, assigned, ["farm.yaml"])
    started = []
    for each in found.machines:
        only = each.command[each.command.index("--only") + 1].split(",") if "--only" in each.command else []
        here = [replica.peer_id for replica in part_of(plan, only=only).here]
        assert here == [replica.peer_id for replica in each.replicas]
        started += here
    assert sorted(started) == sorted(mine)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("nats://broker:4222", "nats://broker:4222"),
        ("nats://me:pass@a:4222,b:4222/space?x=1", "nats://a:4222,b:4222"),
        ("redis://:pa/ss@[::1]:6379/0", "redis://[::1]:6379"),
        ("redis://:pa?ss@host", "redis://…"),
        ("redis://host?password=x@y", "redis://…"),
        ("sqlite:///tasks.db", "sqlite:///tasks.db"),
        ("memory:", "memory:"),
    ],
)
def test_an_address_is_shown_without_its_credentials(address: str, shown: str) -> None:
    assert without_login(address) == shown


def test_an_assignment_is_a_name_and_words() -> None:
    assert read_assignment("desk=hub,ant.1-4, boss") == ("desk", ("hub", "ant.1-4", "boss"))
    for text in ("desk", "=ant", "desk=", "desk=ant,", "a b=ant"):
        with pytest.raises(ValueError, match="places nothing: write MACHINE=AGENT"):
            read_assignment(text)
